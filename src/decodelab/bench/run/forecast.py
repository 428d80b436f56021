"""What a sweep will take, before it runs: missing answers, forward tokens, and memory needed and available."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from decodelab.core.errors import DecodelabError, RequestError

if TYPE_CHECKING:
    from decodelab.bench.plan import Plan
    from decodelab.bench.records import WorkItem
    from decodelab.bench.run.worklist import LoadedTask
    from decodelab.core.protocols import LanguageModel
    from decodelab.engine.job import Job


@dataclass(frozen=True)
class ModelCost:
    """What one model of a plan takes at most.

    Attributes:
        model: its name.
        answers: asked of it.
        missing: those the journal does not have.
        most_forward_tokens: computed for these, if every answer is as long as it may be.
        most_flops: floating-point operations of that; None where they are not known.
        weight_bytes: of the model as it is loaded.
        batch_cache_bytes: of the largest running batch that the plan's `max_rows` admits.
        available_bytes: of memory (the GPU's, where the model is there) before it is loaded; None where not known.
    """

    model: str
    answers: int
    missing: int
    most_forward_tokens: int
    most_flops: int | None
    weight_bytes: int
    batch_cache_bytes: int
    available_bytes: int | None

    @property
    def fits(self) -> bool:
        """Whether weights and the largest batch fit the memory, as far as it is known."""
        return self.available_bytes is None or self.weight_bytes + self.batch_cache_bytes <= self.available_bytes


def model_cost(plan: Plan, tasks: Sequence[LoadedTask], name: str, have: set[str]) -> tuple[ModelCost, list[WorkItem]]:
    """What one model takes, and everything that is asked of it.

    It is loaded for that, as its vocabulary and settings decide what is asked.
    """
    from decodelab.analysis.cost import predict_cost
    from decodelab.backends.catalogue import names_text_model
    from decodelab.bench.run.selecting import selectable
    from decodelab.bench.run.worker import Worker
    from decodelab.bench.run.worklist import missing
    from decodelab.models.memory import available_bytes, weight_bytes
    from decodelab.strategy.strategy import Strategy
    from decodelab.tasks.choices import forward_tokens

    if names_text_model(name):
        return _server_cost(plan, tasks, name, have)
    worker = Worker()
    worker.begin(plan, tasks)
    before = available_bytes()
    model, work = worker.model(name), worker.worklist(name)
    jobs: list[Job] = []
    predict = functools.cache(functools.partial(predict_cost, model))
    tokens, flops = 0, 0
    known = True
    absent = [one for group in selectable(list(missing(work, have)), have)[0] for one in group]
    for one in absent:
        choice = worker.choice(one)
        if choice is not None:
            # As a prompt of that many tokens, after which nothing is generated.
            cost = predict(Strategy.of("greedy"), prompt_tokens=forward_tokens(model, choice), new_tokens=1)
            tokens += cost.cached.forward_tokens
            flops += cost.cached.flops or 0
            continue
        job = worker.job(one)
        try:
            cost = predict(job.strategy, prompt_tokens=len(job.tokens), new_tokens=job.max_new_tokens).cached
        except DecodelabError as error:
            raise RequestError(f"{name} under {one.strategy!r}: {error}") from None
        jobs.append(job)
        tokens += cost.forward_tokens
        known = known and cost.flops is not None
        flops += cost.flops or 0
    answers = sum(len(one.keys) for one in work)
    absent_answers = sum(key not in have for one in work for key in one.keys)
    memory = weight_bytes(model), _largest_batch(model, jobs, plan.max_rows), before
    return ModelCost(name, answers, absent_answers, tokens, flops if known else None, *memory), work


def _server_cost(
    plan: Plan, tasks: Sequence[LoadedTask], name: str, have: set[str]
) -> tuple[ModelCost, list[WorkItem]]:
    """What a server's model takes: new tokens at most, as nobody here knows those of prompts; no memory of ours."""
    from decodelab.bench.run.selecting import selectable
    from decodelab.bench.run.text_worker import TextWorker
    from decodelab.bench.run.worklist import missing

    texts = TextWorker()
    texts.begin(plan, tasks)
    work, limits = texts.worklist(name), {task.label: task.limits.max_new_tokens for task in tasks}
    absent = [one for group in selectable(list(missing(work, have)), have)[0] for one in group]
    tokens = sum(max(len(one.keys), texts.strategy(one).search.n) * limits[one.task] for one in absent)
    missing_answers = sum(key not in have for one in work for key in one.keys)
    return ModelCost(name, sum(len(one.keys) for one in work), missing_answers, tokens, None, 0, 0, None), work


def _largest_batch(model: LanguageModel, jobs: Sequence[Job], max_rows: int) -> int:
    """Bytes that the caches of jobs running together may come to hold, were the worst of them to meet."""
    sizes: list[tuple[float, int, int]] = []
    for job in jobs:
        rows = job.strategy.search.peak_rows
        nbytes = model.cache_bytes(len(job.tokens), rows, job.max_new_tokens)
        sizes.append((nbytes / rows, rows, nbytes))
    room, total = max_rows, 0
    for _, rows, nbytes in sorted(sizes, reverse=True):
        if room <= 0:
            break
        room -= rows
        total += nbytes
    return max(total, *(nbytes for _, _, nbytes in sizes), 0)
