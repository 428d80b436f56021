"""Answers that grow step by step: what the searches over chunks share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Literal

from decodelab.core.chunks import CHUNKS, Chunk
from decodelab.core.protocols import AnyScorer, Draw, Drawn, Question
from decodelab.core.stage import Stage, check_choice
from decodelab.core.values import Candidate, Partial, Tokens
from decodelab.scorers.catalogue import check_scorer
from decodelab.scorers.judging import judged

Key = tuple[Tokens, str]
Join = Literal["last", "min", "prod", "mean"]

StepScorer = Annotated[
    AnyScorer, "scores the text so far after each step: logprob, entropy, self_eval, path_cost or a function"
]
Every = Annotated[Chunk, "what a step is: a line, what ends with an empty line (step), or a sentence"]
JoinedBy = Annotated[
    Join, "the value of an answer from its steps' scores: the last, the lowest, the product or the mean"
]

_JOINS: dict[Join, Callable[[Sequence[float]], float]] = {
    "last": lambda scores: scores[-1],
    "min": min,
    "prod": math.prod,
    "mean": fmean,
}


@dataclass(frozen=True)
class Steps:
    """An answer so far.

    Attributes:
        candidate: its text; None before the first step.
        scores: what the scorer gave it after each step.
        finished: whether it is whole.
    """

    candidate: Candidate | None = None
    scores: tuple[float, ...] = ()
    finished: bool = False

    @property
    def key(self) -> Key:
        """What equal answers have in common: their tokens, and their text where a server gives no tokens."""
        return ((), "") if self.candidate is None else (self.candidate.tokens, self.candidate.text)

    def value(self, join: Join) -> float:
        """Its scores as one number; 0 before the first step.

        >>> [Steps(scores=(0.5, 0.25, 0.75)).value(join) for join in ("last", "min", "prod", "mean")]
        [0.75, 0.25, 0.09375, 0.5]
        """
        return _JOINS[join](self.scores) if self.scores else 0.0

    def draw(self, n: int, first: int, every: Chunk) -> Draw:
        """The next step, drawn n times under sample indices from `first` on."""
        return Draw(n, first, self.candidate, every)


def check_steps(stage: Stage) -> None:
    """Check the parameters that all searches over chunks have: `scorer` and `every`.

    Raises:
        InvalidParameter: if one is none of those allowed.
    """
    check_scorer(stage, "scorer")
    check_choice(stage, "every", CHUNKS, fix="use step where steps are separated by empty lines")


def check_join(stage: Stage) -> None:
    """Check the parameter `join`.

    Raises:
        InvalidParameter: if it is none of those allowed.
    """
    check_choice(stage, "join", tuple(_JOINS), fix="last takes the score of the whole text so far")


def scored(
    before: Sequence[Steps], drawn: Sequence[Sequence[Drawn]], scorer: AnyScorer, question: Question
) -> list[list[Steps]]:
    """What was drawn after each answer, with one more score each; the scorer is asked once.

    What only ends an answer, and adds no text, is no step: it has no score of its own.

    Raises:
        ScorerFailed: if it does not give one finite number each.
    """
    new = [one for found in drawn for one in found]
    old = [steps for steps, found in zip(before, drawn, strict=True) for _ in found]
    adds = [_text(steps.candidate) != one.candidate.text for steps, one in zip(old, new, strict=True)]
    partials = [_partial(one.candidate, question) for one, more in zip(new, adds, strict=True) if more]
    scores = iter(judged(scorer, partials, question.model))
    grown = iter([
        Steps(one.candidate, (*steps.scores, next(scores)) if more else steps.scores, one.finished)
        for steps, one, more in zip(old, new, adds, strict=True)
    ])  # fmt: skip
    return [[next(grown) for _ in found] for found in drawn]


def different(answers: Iterable[Steps]) -> Iterator[Steps]:
    """The first of those that say the same in the same tokens."""
    seen: set[tuple[Key, bool]] = set()
    for answer in answers:
        key = answer.key, answer.finished
        if key not in seen:
            seen.add(key)
            yield answer


def ranked(answers: Iterable[Steps], join: Join) -> list[Steps]:
    """The answers by value, highest first; of equal ones the first stays first."""
    return sorted(answers, key=lambda answer: -answer.value(join))


def results(answers: Iterable[Steps], join: Join) -> list[tuple[Candidate, float]]:
    """Finished answers with their values, best first."""
    best = ranked((answer for answer in answers if answer.finished), join)
    return [(answer.candidate, answer.value(join)) for answer in best if answer.candidate is not None]


def _text(candidate: Candidate | None) -> str | None:
    """The text so far; None before the first step."""
    return None if candidate is None else candidate.text


def _partial(candidate: Candidate, question: Question) -> Partial:
    """A candidate as scorers see it."""
    return Partial(question.prompt, question.tokens, candidate.tokens, candidate.text)
