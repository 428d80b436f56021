"""Runs a plan: what the journal has is not done again, and what is done goes into it at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from decodelab.bench.executor import Executor, Local
from decodelab.bench.journal import Asked, Journal, Record, Scored
from decodelab.bench.plan import Cell, Plan
from decodelab.bench.questions import Posed, Question, posed, questions, shown
from decodelab.bench.replica import Refused, Wanted
from decodelab.core.errors import DecodelabError
from decodelab.tasks.task import Costly

SCORED_AT_ONCE = 100
"""Answers that are judged together before their scores are written, where judging takes long."""


@dataclass(frozen=True)
class Failure:
    """An item that came to nothing, and why; the next run tries it again."""

    cell: Cell
    example: str
    error: DecodelabError


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        asked: answers the plan asks for.
        found: those the journal had.
        made: those that were generated now.
        failures: what failed and why.
    """

    asked: int = 0
    found: int = 0
    made: int = 0
    failures: list[Failure] = field(default_factory=list)


Progress = Callable[[int, int, str], None]
"""Told of how many answers of how many are done, and what is being done."""


def run(
    plan: Plan,
    journal: Journal,
    progress: Progress = lambda done, total, doing: None,
    executor: Executor | None = None,
    shuffle: int | None = None,
) -> Outcome:
    """Generate and score what the journal does not have yet.

    On Ctrl-C the jobs that are under way are given up and what is finished is in the journal; so it is after a kill.

    Args:
        plan: what to run.
        journal: open for writing.
        progress: told, now and then, of what is done.
        executor: who computes, entered; None: this process. One that is used again keeps its model.
        shuffle: take the items in an order drawn with this seed, so that what is done is a sample of all; None: in theirs.

    Raises:
        ModelError: for a model that cannot be loaded.
        StrategyError: for a strategy that a model cannot be used with.
        JournalError: if the journal cannot be written.
    """
    asked = posed(plan)
    journal.begin(plan.model_dump_json(), plan.digest, shown(asked))
    outcome = Outcome()
    with executor or Local() as at_work:
        at_work.begin(plan, [one.examples for one in asked])
        for place, name in enumerate(plan.models):
            sweep = _ModelSweep(plan, journal, asked, name, at_work, outcome)
            sweep.run(lambda done, of, doing, place=place: progress(done + place * of, of * len(plan.models), doing), shuffle)
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
        self._score_known()
        progress(done, total, self.model)
        for found in self.executor.run(self.model, groups):
            question = listed[found.wanted.number]
            one = self.asked[question.task]
            done += len(found.wanted.keys)
            if isinstance(found, Refused):
                self._failed(one, question.strategy, one.examples[question.item].id, found.error)
            else:
                example = one.examples[question.item].id
                self.journal.add(found.records, [self._scored(one, example, r) for r in found.records] if one.at_once else [])
                self.outcome.made += len(found.records)
            progress(done, total, f"{self.model}: {one.label}")
        for one in self.asked:
            if not one.at_once:
                self._judge(one)

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
