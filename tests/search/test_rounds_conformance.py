"""`check_rounds` passes ours and catches each kind of broken one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

import decodelab as dl
from decodelab.core.protocols import Draw, Question, Rounds
from decodelab.core.values import Limits
from decodelab.search import ROUND_SEARCHES
from decodelab.testing import check_rounds


def score(prompt: str, texts: Sequence[str]) -> list[float]:
    """A probability."""
    return [(1 + text.count("three")) / (2 + text.count("\n")) for text in texts]


SEARCHED: dict[str, list[Any]] = {
    "step_beam": [dl.StepBeam(1, 1, score), dl.StepBeam(3, 2, score, n=3), dl.StepBeam(4, 4, score, join="mean")],
    "dvts": [dl.DVTS(1, 3, score), dl.DVTS(4, 2, score, join="prod")],
    "rebase": [dl.Rebase(1, score), dl.Rebase(9, score, 0.5, join="min")],
    "step_particles": [dl.StepParticles(1, score), dl.StepParticles(7, score, "odds", threshold=1)],
    "self_refine": [dl.SelfRefine(2), dl.SelfRefine(1, answers=4, drafts=False)],
}


@pytest.mark.parametrize("name", ROUND_SEARCHES)
def test_ours_pass(name):
    assert SEARCHED[name], "a new search must be tried with parameters of its own"
    for search in SEARCHED[name]:
        check_rounds(search)


class Plain:
    """Draws two answers; the broken ones below each break one thing."""

    n = 2
    peak_rows = 2
    draw = Draw(2, 0)

    def rounds(self, question: Question, limits: Limits) -> Rounds:
        (found,) = yield [self.draw]
        return self.ranked([(one.candidate, 0.0) for one in found])

    def ranked(self, found: list[Any]) -> list[Any]:
        return found


class Overdraws(Plain):
    draw = Draw(3, 0)


class ReturnsTheUnfinished(Plain):
    draw = Draw(2, 0, chunk="line")


class ReturnsTooMany(Plain):
    n = 1


class ReturnsTheWorstFirst(Plain):
    def ranked(self, found: list[Any]) -> list[Any]:
        return [(candidate, float(i)) for i, (candidate, _) in enumerate(found)]


class MakesUpAnswers(Plain):
    def ranked(self, found: list[Any]) -> list[Any]:
        return [(replace(candidate, tokens=(9, 9)), score) for candidate, score in found]


class Remembers(Plain):
    def __init__(self) -> None:
        self.calls = 0

    def ranked(self, found: list[Any]) -> list[Any]:
        self.calls += 1
        return [(candidate, 1.0 / self.calls) for candidate, _ in found]


class NeverEnds(Plain):
    def rounds(self, question: Question, limits: Limits) -> Rounds:
        while True:
            yield [Draw(1, 0)]


class GoesOnFromTheFinished(Plain):
    def rounds(self, question: Question, limits: Limits) -> Rounds:
        (found,) = yield [Draw(1, 0)]
        yield [Draw(1, 0, one.candidate) for one in found]
        return []


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (Overdraws(), "must not draw more than peak_rows"),
        (ReturnsTheUnfinished(), "must return finished answers that were drawn"),
        (ReturnsTooMany(), "must return at most n answers"),
        (ReturnsTheWorstFirst(), "must return the best first"),
        (MakesUpAnswers(), "must return finished answers that were drawn"),
        (Remembers(), "must be deterministic"),
        (NeverEnds(), "must come to an end"),
        (GoesOnFromTheFinished(), "must go on from unfinished answers"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Plain) else "",
)
def test_broken_ones_are_caught(broken, promise):
    check_rounds(Plain())
    with pytest.raises(AssertionError, match=promise):
        check_rounds(broken)
