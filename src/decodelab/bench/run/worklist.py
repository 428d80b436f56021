"""What a plan asks: the items of its tasks, each under every strategy and seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from itertools import groupby

from decodelab.bench.plan import Plan, TaskPlan
from decodelab.bench.records import Answer, AnswerView, ItemView, Score, WorkItem
from decodelab.core.protocols import Reader
from decodelab.core.values import Chat, Limits
from decodelab.tasks.response import Response
from decodelab.tasks.task import (
    BatchScored,
    Continued,
    Example,
    ModelGraded,
    Task,
    Verdict,
    judged,
    judged_together,
    prompt_key,
)


@dataclass(frozen=True)
class LoadedTask:
    """A task of a plan with its items.

    Attributes:
        label: what tables call it.
        plan: how it is asked.
        task: what scores the answers; None: nothing does.
        examples: the items.
        given: limits to ask with. Strategies and the seed are then used as they are given, too, which is how `compare`
            asks. None: as a sweep asks. It takes limits from the plan, gives every item a seed of its own, and draws as
            many samples as the plan says under strategies that sample, each an answer.
    """

    label: str
    plan: TaskPlan
    task: Task | None
    examples: Sequence[Example]
    given: Limits | None = None

    @property
    def as_given(self) -> bool:
        """Whether strategies and the seed are used as they are given."""
        return self.given is not None

    @cached_property
    def limits(self) -> Limits:
        """When an answer has to end."""
        if self.given is not None:
            return self.given
        stop = self.task.stop if isinstance(self.task, Continued) and not self.plan.chat else ()
        return Limits(max_new_tokens=self.plan.max_new_tokens, stop=stop)

    @property
    def scored_at_once(self) -> bool:
        """Whether each answer is scored as soon as it is there, by itself."""
        return self.task is not None and not isinstance(self.task, BatchScored | ModelGraded)

    @cached_property
    def by_id(self) -> dict[str, Example]:
        """The items by id."""
        return {example.id: example for example in self.examples}

    @cached_property
    def rules(self) -> dict[str, str]:
        """By the item's id, a digest of what its answers are scored by: the task with its parameters, and the item.

        Of a task whose scores are kept, its version counts too.
        """
        version = self.task.version if isinstance(self.task, BatchScored) else 0
        found = {}
        for example in self.examples:
            prompt = example.prompt.messages if isinstance(example.prompt, Chat) else example.prompt
            parts = [self.plan.called, version, example.id, prompt, example.reference, dict(example.meta)]
            text = json.dumps(parts, sort_keys=True, default=str)
            found[example.id] = blake2b(text.encode(), digest_size=16).hexdigest()
        return found

    @property
    def repeats(self) -> int:
        """How many items have a prompt that an item before them has."""
        return len(self.examples) - len({prompt_key(example) for example in self.examples})

    @property
    def items(self) -> list[ItemView]:
        """The items as the journal stores them."""
        return [
            ItemView(
                example.id,
                prompt_key(example),
                example.reference,
                self.rules[example.id],
            )
            for example in self.examples
        ]

    def responses(self, answers: Sequence[AnswerView]) -> list[tuple[Example, Response]]:
        """Stored answers as the task judges them, each with its item."""
        return [(self.by_id[answer.item], response_of(answer)) for answer in answers]

    def verdicts(self, pairs: Sequence[tuple[Example, Response]]) -> Iterator[Verdict]:
        """Score responses, each with its item, in their order."""
        assert self.task is not None
        if isinstance(self.task, BatchScored):
            return judged_together(self.task, pairs)
        task = self.task
        return (judged(task, *pair) for pair in pairs)

    def reader(self, item: str) -> Reader | None:
        """How the task reads an answer to an item; None where it needs a judge, or runs programs, for that."""
        task, example = self.task, self.by_id[item]
        if task is None or isinstance(task, BatchScored | ModelGraded):
            return None

        def read(text: str) -> str | None:
            answer = judged(task, example, Response(text)).answer
            return None if answer is None else json.dumps(answer, sort_keys=True)

        return read

    def score(self, item: str, key: str, verdict: Verdict) -> Score:
        """A verdict on an answer as the journal stores it."""
        return Score(key, self.rules[item], self.plan.called, item, verdict.score, verdict.answer, verdict.lacks)


def response_of(answer: Answer | AnswerView) -> Response:
    """An answer as a task judges it."""
    return Response(answer.text, answer.finish_reason == "length", answer.prompt)


def same_score(answer: AnswerView, verdict: Verdict) -> bool:
    """Whether a verdict is what the journal has of an answer."""
    return (answer.score, answer.read, answer.lacks) == (verdict.score, verdict.answer, verdict.lacks)


def load_tasks(plan: Plan) -> list[LoadedTask]:
    """Read or generate the items of all tasks, once for all models.

    Raises:
        RequestError, InvalidData: for an unknown task, or a file that cannot be read.
    """
    return [LoadedTask(name, task, *task.examples()) for name, task in zip(plan.task_names, plan.tasks, strict=True)]


def worklist(plan: Plan, tasks: Sequence[LoadedTask], model: str) -> Iterator[WorkItem]:
    """Everything a plan asks of a model, still without keys; the strategies of an item follow one another.

    Args:
        plan: of which plan.
        tasks: the plan's tasks.
        model: as the plan calls it.
    """
    for task in tasks:
        for example in task.examples:
            for seed in plan.all_seeds:
                for strategy in plan.strategies:
                    # Options are scored where there are some, and once: no seed changes the result.
                    if not plan.by_likelihood(strategy) or (task.plan.has_options and seed == plan.all_seeds[0]):
                        yield WorkItem(model, task.label, example.id, strategy, seed)


def missing(work: Sequence[WorkItem], have: set[str]) -> Iterator[list[WorkItem]]:
    """What is not there yet, in groups of one item of a task; consecutive samples stay in one piece.

    Args:
        work: a worklist, with keys.
        have: the keys that are there.
    """
    seen = set(have)
    for _, group in groupby(work, key=lambda one: (one.task, one.item)):
        wanted: list[WorkItem] = []
        for one in group:
            absent = [sample for sample, key in enumerate(one.keys) if key not in seen]
            for _, consecutive in groupby(enumerate(absent), key=lambda pair: pair[1] - pair[0]):
                samples = [sample for _, sample in consecutive]
                wanted.append(replace(one, first=samples[0], keys=one.keys[samples[0] : samples[-1] + 1]))
            seen.update(one.keys)
        if wanted:
            yield wanted
