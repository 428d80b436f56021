"""Runs a plan: what the journal has is not done again, and what is done goes into it at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import groupby

from decodelab.bench.plan import Cell, Failure, Plan
from decodelab.bench.run.executor import Executor, Local
from decodelab.bench.run.judging import Spent, judge_plan
from decodelab.bench.run.questions import Posed, Question, posed, questions, shown
from decodelab.bench.run.replica import Refused, Wanted
from decodelab.bench.store.journal import Asked, Journal, Kept, Scored
from decodelab.tasks.task import Costly, Example, Judged, Verdict

SCORED_AT_ONCE = 100
"""Answers that are judged together before their scores are written, where judging takes long."""


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        asked: answers the plan asks for.
        found: those the journal had.
        made: those that were generated now.
        failures: what failed and why.
        judging: what it took to have a model judge answers, by what tables call the task.
    """

    asked: int = 0
    found: int = 0
    made: int = 0
    failures: list[Failure] = field(default_factory=list)
    judging: dict[str, Spent] = field(default_factory=dict)


Progress = Callable[[int, int, str], None]
"""Told of how many answers of how many are done, and what is being done."""


def run(
    plan: Plan,
    journal: Journal,
    progress: Progress = lambda done, total, doing: None,
    executor: Executor | None = None,
    shuffle: int | None = None,
    asked: Sequence[Posed] | None = None,
) -> Outcome:
    """Generate and score what the journal does not have yet.

    On Ctrl-C the jobs that are under way are given up and what is finished is in the journal; so it is after a kill.

    Args:
        plan: what to run.
        journal: open for writing.
        progress: told, now and then, of what is done.
        executor: who computes, entered; None: this process. One that is used again keeps its model.
        shuffle: take the items in an order drawn with this seed, so that what is done is a sample of all; None: as they
            come.
        asked: the plan's tasks with other items than its own.

    Raises:
        ModelError: for a model that cannot be loaded.
        StrategyError: for a strategy that a model cannot be used with.
        JournalError: if the journal cannot be written.
    """
    asked = posed(plan) if asked is None else asked
    journal.begin(plan.model_dump_json(), plan.digest, shown(asked))
    outcome = Outcome()
    with Local() if executor is None else nullcontext(executor) as at_work:
        at_work.begin(plan, [one.examples for one in asked])
        for place, name in enumerate(plan.models):
            sweep = _ModelSweep(plan, journal, asked, name, at_work, outcome)
            sweep.run(_part(progress, place, len(plan.models)), shuffle)
    outcome.judging, failures = judge_plan(plan, asked, journal, progress)
    outcome.failures += failures
    return outcome


@dataclass
class _ModelSweep:
    """The part of a sweep that is one model's."""

    plan: Plan
    journal: Journal
    asked: Sequence[Posed]
    model: str
    executor: Executor
    outcome: Outcome

    def run(self, progress: Progress, shuffle: int | None) -> None:
        """Generate what is missing, and score what is not scored by the present rules."""
        listed = list(questions(self.plan, [len(one.examples) for one in self.asked]))
        keys = self.executor.keys(self.model)
        self.journal.ask(self.plan.digest, self.model, self._asked(listed, keys))
        total = sum(map(len, keys))
        have = self.journal.keys()
        groups = [list(group) for group in self._missing(listed, keys, have)]
        if shuffle is not None:
            random.Random(shuffle).shuffle(groups)
        done = total - sum(len(one.keys) for group in groups for one in group)
        self.outcome.asked += total
        self.outcome.found += done
        if done:
            self._score_again()
        progress(done, total, self.model)
        for found in self.executor.run(self.model, groups):
            question = listed[found.wanted.number]
            one = self.asked[question.task]
            done += len(found.wanted.keys)
            if isinstance(found, Refused):
                cell = Cell(one.label, self.model, question.strategy)
                self.outcome.failures.append(Failure(cell, one.examples[question.item].id, found.error))
            else:
                example = one.examples[question.item]
                scores = [
                    _scored(one, example, r.key, one.task.judge(example, r.text)) for r in found.records if one.at_once
                ]
                self.journal.add(found.records, scores)
                self.outcome.made += len(found.records)
            progress(done, total, f"{self.model}: {one.label}")
        for one in self.asked:
            if not isinstance(one.task, Judged):
                progress(done, total, f"{self.model}: {one.label}, scores")
                self._score_rest(one)

    def _missing(
        self, listed: Sequence[Question], keys: Sequence[tuple[str, ...]], have: set[str]
    ) -> Iterator[list[Wanted]]:
        """What the journal does not have, in groups of one item; of consecutive samples in one piece."""
        seen = set(have)
        numbered = enumerate(zip(listed, keys, strict=True))
        for _, group in groupby(numbered, key=lambda pair: (pair[1][0].task, pair[1][0].item)):
            wanted: list[Wanted] = []
            for number, (_, mine) in group:
                missing = [sample for sample, key in enumerate(mine) if key not in seen]
                for _, run_of in groupby(enumerate(missing), key=lambda pair: pair[1] - pair[0]):
                    samples = [sample for _, sample in run_of]
                    wanted.append(Wanted(number, samples[0], tuple(mine[sample] for sample in samples)))
                seen.update(mine)
            if wanted:
                yield wanted

    def _asked(self, listed: Sequence[Question], keys: Sequence[tuple[str, ...]]) -> list[Asked]:
        """What the journal notes: an item under a strategy, with the answers of all seeds."""
        found: dict[tuple[int, int, str], tuple[str, ...]] = {}
        for question, mine in zip(listed, keys, strict=True):
            place = question.task, question.item, question.strategy
            found[place] = (*found.get(place, ()), *mine)
        return [
            Asked(self.asked[task].label, self.model, strategy, self.asked[task].examples[item].id, mine)
            for (task, item, strategy), mine in found.items()
        ]

    def _score_again(self) -> None:
        """Score again what was there, so that changed code shows; where judging takes long, its version must say so."""
        for one in self.asked:
            for strategy in self.plan.strategies if one.at_once else ():
                fresh = []
                for answer in self.journal.answers(self.plan.digest, one.label, self.model, strategy):
                    verdict = one.task.judge(one.by_id[answer.example], answer.text)
                    if (verdict.score, verdict.answer) != (answer.score, answer.read):
                        fresh.append(_scored(one, one.by_id[answer.example], answer.key, verdict))
                self.journal.score(fresh)

    def _score_rest(self, one: Posed) -> None:
        """Score what has no score yet: where judging takes long, or the answer was made for another task."""
        for strategy in self.plan.strategies:
            answers = self.journal.answers(self.plan.digest, one.label, self.model, strategy, unscored=True)
            fresh: list[Scored] = []
            for answer, verdict in zip(answers, self._verdicts(one, answers), strict=True):
                fresh.append(_scored(one, one.by_id[answer.example], answer.key, verdict))
                if len(fresh) == SCORED_AT_ONCE:
                    self.journal.score(fresh)
                    fresh = []
            self.journal.score(fresh)

    def _verdicts(self, one: Posed, answers: Sequence[Kept]) -> Iterator[Verdict]:
        """Judge answers, in their order."""
        asked = [(one.by_id[answer.example], answer.text) for answer in answers]
        return one.task.judge_all(asked) if isinstance(one.task, Costly) else (one.task.judge(*pair) for pair in asked)


def _scored(one: Posed, example: Example, key: str, verdict: Verdict) -> Scored:
    """A verdict as the journal keeps it."""
    rule = one.rules[example.id]
    return Scored(key, rule.digest, rule.task, example.id, verdict.score, verdict.answer)


def _part(progress: Progress, place: int, models: int) -> Progress:
    """Tell of one model's answers as of a part of all."""
    return lambda done, total, doing: progress(done + place * total, total * models, doing)
