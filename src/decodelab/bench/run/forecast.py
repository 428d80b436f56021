"""What a sweep will take, before it runs: answers that are missing, forward tokens, and memory beside what there is."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from decodelab.core.errors import RequestError

if TYPE_CHECKING:
    from decodelab.bench.plan import Plan
    from decodelab.bench.run.questions import Posed
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
        most_flops: operations of that; None where they are not known.
        weight_bytes: of the model as it is loaded.
        batch_cache_bytes: of the largest running batch that the plan's `max_rows` admits.
        available_bytes: of memory (the GPU's, where the model is there) before it is loaded; None where nobody says.
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


def answers_of(
    plan: Plan, asked: Sequence[Posed], keys: Mapping[str, Sequence[tuple[str, ...]]]
) -> dict[str, list[tuple[str, str]]]:
    """Of each task, the item and the key of every answer of every model."""
    from decodelab.bench.run.questions import questions

    found: dict[str, list[tuple[str, str]]] = {one.label: [] for one in asked}
    for of_model in keys.values():
        for question, mine in zip(questions(plan, [len(one.examples) for one in asked]), of_model, strict=True):
            one = asked[question.task]
            found[one.label] += [(one.examples[question.item].id, key) for key in mine]
    return found


def model_cost(
    plan: Plan, asked: Sequence[Posed], name: str, have: set[str], found: dict[str, list[tuple[str, ...]]]
) -> ModelCost:
    """What one model takes; it is loaded for that, as its vocabulary and settings decide what is asked.

    The keys of its answers to each question are left in `found`.
    """
    from decodelab.analysis.cost import predict_cost
    from decodelab.bench.run.questions import questions
    from decodelab.bench.run.replica import Replica, Wanted
    from decodelab.core.errors import DecodelabError
    from decodelab.models.memory import available_bytes, weight_bytes
    from decodelab.strategy.strategy import Strategy
    from decodelab.tasks.choices import forward_tokens

    items = [one.examples for one in asked]
    replica = Replica()
    replica.begin(plan, items)
    before = available_bytes()
    model, keys = replica.model(name), replica.keys(name)
    found[name] = keys
    jobs: list[Job] = []
    predict = functools.cache(functools.partial(predict_cost, model))
    tokens, flops = 0, 0
    known = True
    for number, (question, mine) in enumerate(zip(questions(plan, [len(i) for i in items]), keys, strict=True)):
        missing = [sample for sample, key in enumerate(mine) if key not in have]
        if not missing:
            continue
        choice = replica.choice(question)
        if choice is not None:
            # As a prompt of so many tokens, after which nothing is generated.
            work = predict(Strategy.of("greedy"), prompt_tokens=forward_tokens(model, choice), new_tokens=1)
            tokens += work.cached.forward_tokens
            flops += work.cached.flops or 0
            continue
        job = replica.job(name, Wanted(number, missing[0], tuple(mine[sample] for sample in missing)))
        try:
            work = predict(job.strategy, prompt_tokens=len(job.tokens), new_tokens=job.max_new_tokens).cached
        except DecodelabError as error:
            raise RequestError(f"{name} under {question.strategy!r}: {error}") from None
        jobs.append(job)
        tokens += work.forward_tokens
        known = known and work.flops is not None
        flops += work.flops or 0
    return ModelCost(
        name,
        sum(map(len, keys)),
        sum(key not in have for mine in keys for key in mine),
        tokens,
        flops if known else None,
        weight_bytes(model),
        _largest_batch(model, jobs, plan.max_rows),
        before,
    )


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
