"""What a plan asks, whatever the model: the items of its tasks, each under every strategy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from decodelab.bench.plan import Plan, TaskPlan
from decodelab.bench.store.journal import Shown
from decodelab.core.values import Chat
from decodelab.tasks.task import Costly, Example, Judged, Task


@dataclass(frozen=True)
class Rule:
    """What an answer is scored by.

    Attributes:
        task: the task with its parameters.
        digest: of these and the item; of a task whose judgements are kept, of their version too.
    """

    task: str
    digest: str

    @staticmethod
    def of(plan: TaskPlan, task: Task, example: Example) -> Rule:
        """The rule of an item of a task."""
        prompt = example.prompt.messages if isinstance(example.prompt, Chat) else example.prompt
        version = task.version if isinstance(task, Costly) else 0
        parts = [plan.called, version, example.id, prompt, example.reference, dict(example.meta)]
        text = json.dumps(parts, sort_keys=True, default=str)
        return Rule(plan.called, blake2b(text.encode(), digest_size=16).hexdigest())


@dataclass(frozen=True)
class Posed:
    """A task of a plan with its items.

    Attributes:
        label: what tables call it.
        plan: how it is asked.
        task: what judges the answers.
        examples: the items.
    """

    label: str
    plan: TaskPlan
    task: Task
    examples: Sequence[Example]

    @cached_property
    def at_once(self) -> bool:
        """Whether answers are judged as soon as they are there, each by itself."""
        return not isinstance(self.task, Costly | Judged)

    @cached_property
    def by_id(self) -> dict[str, Example]:
        """The items by id."""
        return {example.id: example for example in self.examples}

    @cached_property
    def rules(self) -> dict[str, Rule]:
        """What answers are scored by, by the item's id."""
        return {example.id: Rule.of(self.plan, self.task, example) for example in self.examples}


@dataclass(frozen=True)
class Question:
    """One item asked under one strategy with one seed.

    Attributes:
        task: its place among the plan's tasks.
        item: its place among the task's items.
        seed: one of the plan's.
        strategy: as tables call it.
    """

    task: int
    item: int
    seed: int
    strategy: str


def posed(plan: Plan) -> list[Posed]:
    """Read or make the items of all tasks, once for all models.

    Raises:
        RequestError, InvalidData: for a task that is none, or a file that cannot be read.
    """
    return [Posed(name, task, *task.examples()) for name, task in zip(plan.task_names, plan.tasks, strict=True)]


def questions(plan: Plan, items: Sequence[int]) -> Iterator[Question]:
    """Every question, in the one order that numbers them: strategies of one item stand together and share its prompt.

    Args:
        plan: of which plan.
        items: how many items each task has.
    """
    for task, count in enumerate(items):
        for item in range(count):
            for seed in plan.all_seeds:
                for strategy in plan.strategies:
                    # Options are scored where there are some, and once: no seed changes what comes out.
                    if not plan.by_likelihood(strategy) or (plan.tasks[task].has_options and seed == plan.all_seeds[0]):
                        yield Question(task, item, seed, strategy)


def shown(asked: Sequence[Posed]) -> dict[tuple[str, str], Shown]:
    """The items as readers see them."""
    return {
        (one.label, example.id): Shown(
            example.prompt if isinstance(example.prompt, str) else str(example.prompt),
            example.reference,
            one.rules[example.id].digest,
        )
        for one in asked
        for example in one.examples
    }
