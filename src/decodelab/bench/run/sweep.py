"""Runs a plan: what the journal has is not done again, and what is done is stored at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property

from decodelab.bench.plan import Plan
from decodelab.bench.records import Answer, AnswerView, Failure, Score, WorkItem
from decodelab.bench.run.executor import Executor, LocalExecutor, WithServers
from decodelab.bench.run.judging import Spent, judge_plan
from decodelab.bench.run.selecting import samples_of, select, selectable
from decodelab.bench.run.worklist import LoadedTask, load_tasks, missing, response_of, same_score
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.bench.stored_texts import Load, reward_models
from decodelab.core.errors import DecodelabError, PromptTooLong
from decodelab.strategy.strategy import Strategy
from decodelab.tasks.task import ModelGraded

SCORED_TOGETHER = 100
"""Answers that are scored before their scores are written, where scoring takes long."""


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        asked: answers the plan asks for.
        reused: those the journal had.
        generated: those that were generated now.
        selected: those that were selected among stored samples, without generating anything.
        failures: what failed and why.
        left_out: what was too long for its model, if the plan says to leave it out.
        judging: what it took to have a model judge answers, by what tables call the task.
    """

    asked: int = 0
    reused: int = 0
    generated: int = 0
    selected: int = 0
    failures: list[Failure] = field(default_factory=list)
    left_out: list[Failure] = field(default_factory=list)
    judging: dict[str, Spent] = field(default_factory=dict)


Progress = Callable[[int, int, str], None]
"""Called with how many answers are done, how many there are, and what is being done."""


def run(
    plan: Plan,
    journal: Journal,
    progress: Progress = lambda done, total, doing: None,
    executor: Executor | None = None,
    shuffle: int | None = None,
    tasks: Sequence[LoadedTask] | None = None,
) -> Outcome:
    """Generate and score what the journal does not have yet.

    On Ctrl-C the jobs under way are abandoned, and what is finished is in the journal; the same holds after a kill.

    Args:
        plan: what to run.
        journal: open for writing.
        progress: called now and then.
        executor: who computes, entered; None: this process. One that is used again keeps its model.
        shuffle: take the items in an order drawn with this seed, so that what is done is a sample of all; None: as they
            come.
        tasks: the plan's tasks with other items than its own.

    Raises:
        ModelError: for a model that cannot be loaded.
        StrategyError: for a strategy that a model cannot be used with.
        JournalError: if the journal cannot be written.
    """
    tasks = load_tasks(plan) if tasks is None else tasks
    journal.begin(plan.model_dump_json(), plan.digest, {task.label: task.items for task in tasks})
    outcome = Outcome()
    with WithServers(LocalExecutor()) if executor is None else nullcontext(executor) as running:
        running.begin(plan, tasks)
        for place, name in enumerate(plan.models):
            part = _part(progress, place, len(plan.models))
            _ModelSweep(plan, journal, tasks, name, running, outcome).run(part, shuffle)
    outcome.judging, failures = judge_plan(plan, tasks, journal, progress)
    outcome.failures += failures
    return outcome


@dataclass
class _ModelSweep:
    """One model's part of a sweep."""

    plan: Plan
    journal: Journal
    tasks: Sequence[LoadedTask]
    model: str
    executor: Executor
    outcome: Outcome

    def run(self, progress: Progress, shuffle: int | None) -> None:
        """Generate what is missing, and score what is not scored by the present rules."""
        work = self.executor.worklist(self.model)
        self.journal.ask(self.plan.digest, self.model, work)
        total = sum(len(one.keys) for one in work)
        have = self.journal.keys(confident=self._confident)
        groups = list(missing(work, have))
        if shuffle is not None:
            random.Random(shuffle).shuffle(groups)
        done = total - sum(len(one.keys) for group in groups for one in group)
        self.outcome.asked += total
        self.outcome.reused += done
        if done:
            self._score_again()
        progress(done, total, self.model)
        generated, later = selectable(groups, have)
        for one, found in self.executor.run(self.model, generated):
            done = self._generated(one, found, done, total, progress)
        incomplete: list[list[WorkItem]] = []
        for one in later:
            if samples := samples_of(self.journal, one):
                found = self._selected(one, samples)
                self.outcome.selected += not isinstance(found, DecodelabError)
                done = self._take(one, found, done, total, progress)
            else:
                incomplete.append([one])
        for one, found in self.executor.run(self.model, incomplete):
            done = self._generated(one, found, done, total, progress)
        for task in self.tasks:
            if task.task is not None and not isinstance(task.task, ModelGraded):
                progress(done, total, f"{self.model}: {task.label}, scores")
                self._score_rest(task)

    def _generated(
        self, one: WorkItem, found: Sequence[Answer] | DecodelabError, done: int, total: int, progress: Progress
    ) -> int:
        """Store what was generated for a piece of work, and count it; how many answers are done then."""
        self.outcome.generated += 0 if isinstance(found, DecodelabError) else len(found)
        return self._take(one, found, done, total, progress)

    def _take(
        self, one: WorkItem, found: Sequence[Answer] | DecodelabError, done: int, total: int, progress: Progress
    ) -> int:
        """Store what came of a piece of work; how many answers are done then."""
        task = self._task(one)
        done += len(one.keys)
        if isinstance(found, DecodelabError):
            too_long = self.plan.skip_too_long and isinstance(found, PromptTooLong)
            kept = self.outcome.left_out if too_long else self.outcome.failures
            kept.append(Failure(one.task, one.model, one.strategy, one.item, found))
        else:
            scores: list[Score] = []
            if task.scored_at_once:
                verdicts = task.verdicts([(task.by_id[one.item], response_of(answer)) for answer in found])
                scores = [task.score(one.item, a.key, v) for a, v in zip(found, verdicts, strict=True)]
            self.journal.add(found, scores, confident=self._confident)
        progress(done, total, f"{self.model}: {one.task}")
        return done

    def _selected(self, one: WorkItem, samples: Sequence[Answer]) -> Sequence[Answer] | DecodelabError:
        """What a strategy selects among stored samples, or why it cannot."""
        try:
            return [select(one, self._strategies[one.strategy], self._task(one), samples, self._load_reward)]
        except DecodelabError as error:
            return error

    @cached_property
    def _load_reward(self) -> Load:
        """Loads the reward models that selections ask, each once."""
        return reward_models()

    @cached_property
    def _confident(self) -> bool:
        """Whether how sure the model was is stored; found out once for all answers."""
        return self.plan.records_confidences

    @cached_property
    def _strategies(self) -> dict[str, Strategy]:
        """The strategies that generate or select, parsed once for all answers."""
        plan = self.plan
        return {name: Strategy.of(text) for name, text in plan.strategies.items() if not plan.by_likelihood(name)}

    def _task(self, one: WorkItem) -> LoadedTask:
        return next(task for task in self.tasks if task.label == one.task)

    def _score_again(self) -> None:
        """Score again what was there, so that changed code shows; where that takes long, a new version must ask it."""
        for task in self.tasks:
            for strategy in self.plan.strategies if task.scored_at_once else ():
                answers = self._answers(task, strategy)
                verdicts = task.verdicts(task.responses(answers))
                changed = [
                    task.score(answer.item, answer.key, verdict)
                    for answer, verdict in zip(answers, verdicts, strict=True)
                    if not same_score(answer, verdict)
                ]
                self.journal.score(changed)

    def _score_rest(self, task: LoadedTask) -> None:
        """Score what has no score yet: where scoring takes long, or the answer was generated for another task."""
        for strategy in self.plan.strategies:
            answers = self._answers(task, strategy, unscored=True)
            verdicts = task.verdicts(task.responses(answers))
            fresh: list[Score] = []
            for answer, verdict in zip(answers, verdicts, strict=True):
                fresh.append(task.score(answer.item, answer.key, verdict))
                if len(fresh) == SCORED_TOGETHER:
                    self.journal.score(fresh)
                    fresh = []
            self.journal.score(fresh)

    def _answers(self, task: LoadedTask, strategy: str, *, unscored: bool = False) -> list[AnswerView]:
        return views.answers(self.journal, self.plan.digest, task.label, self.model, strategy, unscored=unscored)


def _part(progress: Progress, place: int, models: int) -> Progress:
    """Progress of one model as a part of all."""
    return lambda done, total, doing: progress(done + place * total, total * models, doing)
