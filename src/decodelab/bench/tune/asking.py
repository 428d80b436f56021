"""Asks a few strategies some items, step by step, with everything that was answered kept in a journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from decodelab.bench.plan import Plan, TaskPlan
from decodelab.bench.records import WorkItem
from decodelab.bench.run.executor import LocalExecutor, WithServers
from decodelab.bench.run.sweep import run
from decodelab.bench.run.worker import Around, Worker, nothing_around
from decodelab.bench.run.worklist import LoadedTask
from decodelab.bench.store import views
from decodelab.bench.store.cells import read_group
from decodelab.bench.store.journal import Journal
from decodelab.core.errors import DecodelabError, JournalError, ModelError, RequestError
from decodelab.io.text import file_name
from decodelab.metrics.checks import Floats
from decodelab.pocket.item import digest
from decodelab.tasks.task import Example, Task, prompt_key


@dataclass(frozen=True, eq=False)
class Measured:
    """What a model under a strategy made of some items.

    Attributes:
        scores: float64 [items], mean over samples.
        forward_tokens: float64 [items], computed for it as if the strategy ran alone: the prompt once, and all rows of
            its searches; a mean an answer.
        prompt_tokens: float64 [items], those of the prompt.
    """

    scores: Floats
    forward_tokens: Floats
    prompt_tokens: Floats


Ask = Callable[[str, Sequence[str], Sequence[Example]], Mapping[str, Measured | DecodelabError]]
"""Has a model answer items under strategies; of each strategy what came of it, or why nothing did."""


@dataclass(frozen=True)
class Items:
    """Items to choose by, and others to check the choice with.

    Attributes:
        label: what the task is called, with its parameters.
        task: what they are of.
        tuned: to choose by.
        fresh: to check with.
    """

    label: str
    task: Task
    tuned: tuple[Example, ...]
    fresh: tuple[Example, ...]


def draw_items(plan: TaskPlan, tuned: int, fresh: int, seed: int = 0) -> Items:
    """Draw the items to choose by and those to check with, from the task's file in random order, or made anew.

    No two of them have the same prompt: a prompt is one observation, however often it is answered.

    Raises:
        RequestError, InvalidData: for an unknown task, a file that cannot be read, or too few different prompts.
    """
    task = plan.task()
    if plan.file is None:
        examples = plan.model_copy(update={"items": tuned + fresh}).examples()[1]
        where = f"task {plan.name}"
    else:
        examples = list(task.read(plan.file))
        Random(digest("items", seed)).shuffle(examples)
        where = file_name(plan.file)
    different = list({prompt_key(example): example for example in reversed(examples)}.values())[::-1]
    if len(different) < tuned + fresh:
        raise RequestError(
            f"{where} has {len(different)} different prompts, but {tuned} to tune on and {fresh} to check with "
            "are needed; ask for fewer"
        )
    return Items(plan.called, task, tuple(different[:tuned]), tuple(different[tuned : tuned + fresh]))


class Asker:
    """Asks and keeps: what the journal has is not generated again, and each model is loaded once.

    Args:
        journal: open for writing.
        plan: the task, with its limits.
        task: the same, made.
        seed: all draws follow from it; strategies share them item by item.
        samples: answers to an item, for strategies that sample.
        max_rows: rows computed at once.
        around: entered while a model computes.
    """

    def __init__(
        self,
        journal: Journal,
        plan: TaskPlan,
        task: Task,
        *,
        seed: int = 0,
        samples: int = 1,
        max_rows: int = 64,
        around: Around = nothing_around,
    ) -> None:
        self.journal, self.plan, self.task = journal, plan, task
        self.seed, self.samples, self.max_rows, self.around = seed, samples, max_rows, around
        self.generated = 0
        self.reused = 0
        self._executors: dict[str, WithServers] = {}
        self._asked: dict[tuple[str, str, str], WorkItem] = {}

    def __call__(
        self, model: str, strategies: Sequence[str], items: Sequence[Example]
    ) -> dict[str, Measured | DecodelabError]:
        """Have a model answer items under strategies.

        Raises:
            ModelError: for a model that cannot be loaded.
            JournalError: if the journal cannot be written.
        """
        try:
            return self._answers(model, strategies, items)
        except (ModelError, JournalError):
            raise
        except DecodelabError as error:
            # One of them cannot be honoured: the others can.
            if len(strategies) == 1:
                return {strategies[0]: error}
            return {name: found for one in strategies for name, found in self(model, [one], items).items()}

    def keep(self, models: Sequence[str], strategies: Sequence[str], items: Items) -> tuple[Plan, Plan]:
        """Note what was asked of the items tuned on, and of the fresh ones, as a plan each, so that tables can be read.

        The baseline of both is the first strategy.
        """
        tuned = self._plan(models, {text: text for text in dict.fromkeys(strategies)}, len(items.tuned))
        # Named, not only first: as many items of the same would otherwise be the same plan.
        fresh = tuned.model_copy(update={"baseline": tuned.baseline_name})
        for plan, examples in ((tuned, items.tuned), (fresh, items.fresh)):
            self.journal.begin(
                plan.model_dump_json(), plan.digest, {task.label: task.items for task in self._tasks(plan, examples)}
            )
            for model in plan.models:
                cells = ((model, strategy, item.id) for item in examples for strategy in plan.strategies)
                self.journal.ask(plan.digest, model, [self._asked[cell] for cell in cells if cell in self._asked])
        return tuned, fresh

    def _plan(self, models: Sequence[str], strategies: Mapping[str, str], items: int) -> Plan:
        return Plan(
            models=tuple(models),
            strategies=dict(strategies),
            tasks=(self.plan.model_copy(update={"items": items}),),
            samples=self.samples,
            seed=self.seed,
            max_rows=self.max_rows,
        )

    def _tasks(self, plan: Plan, items: Sequence[Example]) -> list[LoadedTask]:
        return [LoadedTask(plan.task_names[0], plan.tasks[0], self.task, items)]

    def _answers(
        self, model: str, strategies: Sequence[str], items: Sequence[Example]
    ) -> dict[str, Measured | DecodelabError]:
        labels = {f"{number}": text for number, text in enumerate(strategies)}
        plan = self._plan([model], labels, len(items))
        with self._noted(plan):
            executor = self._executors.setdefault(model, WithServers(LocalExecutor(Worker(around=self.around))))
            outcome = run(plan, self.journal, executor=executor, tasks=self._tasks(plan, items))
            self.generated += outcome.generated
            self.reused += outcome.reused
            for one in views.work_items(self.journal, plan.digest):
                text = labels[one.strategy]
                self._asked[model, text, one.item] = replace(one, strategy=text)
            group = read_group(self.journal, plan.digest, plan.task_names[0], model, {})
        failures = {labels[failure.strategy]: failure.error for failure in outcome.failures}
        found: dict[str, Measured | DecodelabError] = {}
        place = {example: number for number, example in enumerate(group.first_items)}
        order = [place[item.id] for item in items]
        for label, text in labels.items():
            cell = group.cells[label]
            if text in failures:
                found[text] = failures[text]
            elif not np.isfinite(cell.by_prompt).all():
                found[text] = RequestError(f"{text}: not all answers could be scored; does the task need a judge?")
            else:
                totals = (cell.prompt_tokens + cell.decode_tokens, cell.prompt_tokens)
                sums = [np.bincount(cell.prompt, weights=total, minlength=len(items)) for total in totals]
                forward, prompt = (total / np.bincount(cell.prompt, minlength=len(items)) for total in sums)
                found[text] = Measured(cell.by_prompt[order], forward[order], prompt[order])
        return found

    @contextmanager
    def _noted(self, plan: Plan) -> Iterator[None]:
        """Leave no trace of a plan of a few items in the journal, but the answers."""
        try:
            yield
        finally:
            self.journal.forget(plan.digest)
