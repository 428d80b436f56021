"""Runs a plan: what the journal has is not done again, and what is done goes into it at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from decodelab.bench.journal import Asked, Journal, Record, Scored, Shown, key_of, limits_text
from decodelab.bench.judging import Spent, judge_plan
from decodelab.bench.plan import Cell, Plan, TaskPlan
from decodelab.core.errors import DecodelabError
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Chat, Generation, Limits
from decodelab.engine.job import Job, make_job
from decodelab.engine.lane import Failed
from decodelab.engine.scheduler import Engine
from decodelab.models.loading import load
from decodelab.pocket.item import digest
from decodelab.search.sample import Sample
from decodelab.strategy.strategy import Strategy
from decodelab.tasks.task import Example, Judged, Task


@dataclass(frozen=True)
class Request:
    """One item asked of one model under one strategy: the job, what it is scored by, and the keys of its answers."""

    cell: Cell
    task: Task
    example: Example
    rule: Rule
    job: Job
    keys: tuple[str, ...]

    @property
    def asked(self) -> Asked:
        """What the journal notes of it."""
        return Asked(self.cell.task, self.cell.model, self.cell.strategy, self.example.id, self.keys)


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        asked: answers the plan asks for.
        found: those the journal had.
        made: those that were generated now.
        failures: what failed and why, by cell; it is tried again by the next run.
        judging: what it took to have answers judged.
    """

    asked: int = 0
    found: int = 0
    made: int = 0
    failures: list[tuple[Cell, DecodelabError]] = field(default_factory=list)
    judging: Spent = field(default_factory=Spent)


@dataclass(frozen=True)
class Rule:
    """What an answer is scored by: the task with its parameters, and the digest of these and the item."""

    task: str
    digest: str

    @staticmethod
    def of(plan: TaskPlan, example: Example) -> Rule:
        """The rule of an item of a task."""
        prompt = example.prompt.messages if isinstance(example.prompt, Chat) else example.prompt
        parts = [plan.called, example.id, prompt, example.reference, dict(example.meta)]
        text = json.dumps(parts, sort_keys=True, default=str)
        return Rule(plan.called, blake2b(text.encode(), digest_size=16).hexdigest())


Questions = Sequence[tuple[str, TaskPlan, Task, Sequence[Example]]]
"""What a plan asks, whatever the model: what tables call a task, its plan, the task and its items."""


def questions(plan: Plan) -> Questions:
    """Read or make the items of all tasks, once for all models."""
    return [(name, task, *task.examples()) for name, task in zip(plan.task_names, plan.tasks, strict=True)]


def requests(plan: Plan, asked: Questions, engine: Engine, name: str) -> Iterator[Request]:
    """Everything a plan asks of one model, item by item, so that strategies share a prompt that is computed once."""
    model = engine.model
    strategies = {
        label: _widened(Strategy.of(text).resolve(model), plan.samples) for label, text in plan.strategies.items()
    }
    number = 0
    for label, task_plan, task, examples in asked:
        limits = Limits(max_new_tokens=task_plan.max_new_tokens)
        for example in examples:
            rule = Rule.of(task_plan, example)
            # An item has a seed of its own: two items of one prompt are answered by different draws.
            seed = digest("bench", plan.seed, task_plan.name, example.id) >> 1
            for strategy_name, strategy in strategies.items():
                prompt = _asked(example, task_plan)
                job = make_job(engine.composed(strategy), number, prompt, strategy, limits, seed)
                single = str(_widened(strategy, 1))
                answers = strategy.search.n if isinstance(strategy.search, Sample) and strategy.selection is None else 1
                keys = tuple(key_of(model.digest, single, job.tokens, i, seed, limits) for i in range(answers))
                yield Request(Cell(label, name, strategy_name), task, example, rule, job, keys)
                number += 1


def run(
    plan: Plan,
    journal: Journal,
    progress: Callable[[int, int, str], None] = lambda done, total, doing: None,
    around: Callable[[LanguageModel], AbstractContextManager[None]] = lambda model: nullcontext(),
) -> Outcome:
    """Generate and score what the journal does not have yet.

    On Ctrl-C the jobs that are under way are given up and what is finished is in the journal; so it is after a kill.

    Args:
        plan: what to run.
        journal: open for writing.
        progress: told, now and then, of how many jobs of how many are done, and what is being done.
        around: entered while a model computes, to choose its threads, say.

    Raises:
        ModelError: for a model that cannot be loaded.
        JournalError: if the journal cannot be written.
    """
    outcome = Outcome()
    total = len(plan.models) * len(plan.strategies) * sum(task.items for task in plan.tasks)
    done = 0
    asked = questions(plan)
    journal.begin(plan.model_dump_json(), plan.digest, _shown(asked))
    for name in plan.models:
        model = load(name)
        engine = Engine(model, max_rows=plan.max_rows)
        have = journal.keys()
        waiting: dict[int, Request] = {}
        known: list[Request] = []
        everything = list(requests(plan, asked, engine, name))
        journal.ask(plan.digest, name, [request.asked for request in everything])
        for request in everything:
            outcome.asked += len(request.keys)
            if all(key in have for key in request.keys):
                outcome.found += len(request.keys)
                known.append(request)
                done += 1
            else:
                waiting[request.job.index] = request
        _score_known(journal, plan.digest, known)
        progress(done, total, name)
        for request in waiting.values():
            engine.enqueue(request.job)
        with around(model):
            for finished in engine.run():
                request = waiting.pop(finished.index)
                done += 1
                if isinstance(finished, Failed):
                    outcome.failures.append((request.cell, finished.error))
                elif all(candidate.finish_reason != "interrupted" for candidate in finished.candidates):
                    records = _records(finished, request, model)
                    journal.add(records, _scored(request, records))
                    outcome.made += len(records)
                progress(done, total, f"{name}: {request.cell.task}")
    items = {label: examples for label, _, _, examples in asked}
    outcome.judging, failures = judge_plan(plan, items, journal, progress)
    outcome.failures += failures
    return outcome


def _shown(asked: Questions) -> dict[tuple[str, str], Shown]:
    """The items as readers see them."""
    return {
        (name, example.id): Shown(
            example.prompt if isinstance(example.prompt, str) else str(example.prompt),
            example.reference,
            Rule.of(task, example).digest,
        )
        for name, task, _, examples in asked
        for example in examples
    }


def _asked(example: Example, task: TaskPlan) -> str | Chat:
    """The prompt, as text or as a chat."""
    if isinstance(example.prompt, Chat) or not task.chat:
        return example.prompt  # pyright: ignore[reportReturnType]  (tasks ask in text)
    return Chat.of(str(example.prompt))


def _widened(strategy: Strategy, samples: int) -> Strategy:
    """The strategy with so many samples, if it is one that samples once."""
    if not isinstance(strategy.search, Sample) or strategy.selection is not None:
        return strategy
    stages = [replace(s, n=samples) if isinstance(s, Sample) else s for s in strategy.stages]
    return replace(strategy, stages=tuple(stages))


def _records(found: Generation, request: Request, model: LanguageModel) -> list[Record]:
    """The answers of a generation that the plan asks for, by sample."""
    chosen = [found.best] if len(request.keys) == 1 else sorted(found.candidates, key=lambda c: c.sample)
    cost, limits = found.cost, limits_text(request.job.limits)
    records = []
    for i, (key, candidate) in enumerate(zip(request.keys, chosen, strict=True)):
        spent = (cost.prefill_tokens, cost.decode_tokens, cost.forward_passes, cost.peak_cache_bytes, cost.seconds)
        record = Record(
            key,
            model.name,
            model.digest,
            str(_widened(request.job.strategy, 1)),
            found.prompt,
            i,
            str(found.seed),
            limits,
            candidate.text,
            candidate.tokens,
            candidate.token_logprobs,
            candidate.law_logprobs,
            candidate.finish_reason,
            len(request.job.tokens) if i == 0 else 0,
            *(spent if i == 0 else (0, 0, 0, 0, 0.0)),
        )
        records.append(record)
    return records


def _scored(request: Request, records: Sequence[Record]) -> list[Scored]:
    """The scores of answers; none yet of those that a model judges."""
    if isinstance(request.task, Judged):
        return []
    verdicts = [request.task.judge(request.example, record.text) for record in records]
    rule, name = request.rule, request.example.id
    return [
        Scored(record.key, rule.digest, rule.task, name, verdict.score, verdict.answer)
        for record, verdict in zip(records, verdicts, strict=True)
    ]


def _score_known(journal: Journal, digest: str, known: list[Request]) -> None:
    """Score answers that are there but were made for another task, or scored by other rules."""
    if not known:
        return
    texts = {record.key: record for record in journal.records()}
    fresh: list[Scored] = []
    have: dict[str, dict[tuple[str, str], Scored]] = {}
    for request in known:
        scores = have.setdefault(request.cell.task, journal.scores(digest, request.cell.task))
        for scored in _scored(request, [texts[key] for key in request.keys]):
            if scores.get((scored.key, request.example.id)) != scored:
                fresh.append(scored)
    if fresh:
        journal.score(fresh)
