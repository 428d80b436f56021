"""Ratings: what a selection goes by, one number a candidate.

Those in `RATINGS` follow from what is recorded of a candidate and compute nothing; any scorer is a rating too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np

from decodelab.core.errors import UnsupportedStrategy
from decodelab.core.protocols import AnyScorer, AsksRewardModel, ModelScorer, Question
from decodelab.core.stage import Stage, check_number, value_text
from decodelab.core.values import Candidate, Confidences, Partial
from decodelab.scorers.catalogue import SCORERS, find_scorer
from decodelab.scorers.judging import judged

By = Annotated[
    AnyScorer,
    "mean_logprob, logprob (the sum), mean_probability, probability, entropy, self_certainty, confidence, "
    "lowest_group, bottom_groups, tail, or a scorer",
]
Window = Annotated[int, "tokens of a group, for lowest_group, bottom_groups and tail"]

BOTTOM = 0.1
"""Share of the groups that `bottom_groups` averages."""


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def mean_logprob(candidate: Candidate) -> float:
    """The mean log-probability of a candidate's tokens under the model, in nats; 0 of no tokens."""
    return math.fsum(candidate.token_logprobs) / max(len(candidate.token_logprobs), 1)


def groups(confidence: Sequence[float], window: int) -> list[float]:
    """The mean of every `window` consecutive tokens; of a shorter text, the mean of all.

    >>> groups([1.0, 3.0, 5.0], 2), groups([1.0, 3.0], 9)
    ([2.0, 4.0], [2.0])
    """
    if len(confidence) <= window:
        return [_mean(confidence)]
    return np.lib.stride_tricks.sliding_window_view(np.array(confidence), window).mean(-1).tolist()


def _bottom(confidence: Sequence[float], window: int) -> float:
    found = sorted(groups(confidence, window))
    return _mean(found[: max(1, int(len(found) * BOTTOM))])


_OF_CANDIDATE: dict[str, Callable[[Candidate], float]] = {
    "mean_logprob": mean_logprob,
    "logprob": lambda c: c.logprob,
    "mean_probability": lambda c: math.exp(mean_logprob(c)),
    "probability": lambda c: math.exp(c.logprob),
}
_OF_CONFIDENCES: dict[str, Callable[[Confidences], float]] = {
    "entropy": lambda c: -_mean(c.entropy),
    "self_certainty": lambda c: _mean(c.self_certainty),
    "confidence": lambda c: _mean(c.top),
}
_OF_GROUPS: dict[str, Callable[[Sequence[float], int], float]] = {
    "lowest_group": lambda c, window: min(groups(c, window)),
    "bottom_groups": _bottom,
    "tail": lambda c, window: _mean(c[-window:]),
}
RATINGS = (*_OF_CANDIDATE, *_OF_CONFIDENCES, *_OF_GROUPS)
"""Their names."""


@dataclass(frozen=True)
class Rating:
    """What a stage goes by.

    Attributes:
        stage: the stage, for errors.
        by: a name of `RATINGS`, or a scorer.
        window: tokens of a group.
    """

    stage: Stage
    by: AnyScorer
    window: int

    @property
    def reads_confidences(self) -> bool:
        """Whether it needs the confidences of candidates."""
        return isinstance(self.by, str) and (self.by in _OF_CONFIDENCES or self.by in _OF_GROUPS)

    @property
    def reads_logprobs(self) -> bool:
        """Whether it is made of the log-probabilities of candidates."""
        return isinstance(self.by, str) and self.by in _OF_CANDIDATE

    @property
    def asks_model(self) -> bool:
        """Whether it is a scorer that asks the model; one that asks a reward model needs the texts alone."""
        found = None if self.scorer is None else find_scorer(self.scorer)
        return isinstance(found, ModelScorer) and not isinstance(found, AsksRewardModel)

    @property
    def scorer(self) -> AnyScorer | None:
        """The scorer that it is, if it is one."""
        return None if isinstance(self.by, str) and self.by in RATINGS else self.by

    def check(self) -> None:
        """Refuse what is no rating.

        Raises:
            InvalidParameter: with the nearest name.
        """
        check_number(self.stage, "window", low=1, integer=True, fix="2048 is what the paper takes")
        SCORERS.check_parameter(
            self.stage,
            "by",
            accepts=lambda value: isinstance(value, ModelScorer) or callable(value),
            accepted="a function (prompt, texts) -> numbers",
            fix="mean_logprob does not favour short texts",
            others=RATINGS,
        )

    def of(self, candidates: Sequence[Candidate], question: Question) -> list[float]:
        """The number of each candidate.

        Raises:
            UnsupportedStrategy: if it needs confidences or log-probabilities, and candidates have none.
            ScorerFailed: for a scorer that does not give one finite number each.
        """
        by = self.by
        if isinstance(by, str) and by in _OF_CANDIDATE:
            return [_OF_CANDIDATE[by](with_logprobs(self.stage, c)) for c in candidates]
        if not self.reads_confidences:
            partials = [Partial(question.prompt, question.tokens, c.tokens, c.text) for c in candidates]
            return judged(by, partials, question.model)
        by = cast(str, by)
        recorded = [_confidences(self.stage, by, c) for c in candidates]
        if by in _OF_CONFIDENCES:
            return [_OF_CONFIDENCES[by](c) for c in recorded]
        return [_OF_GROUPS[by](c.top, self.window) for c in recorded]


def with_logprobs(stage: Stage, candidate: Candidate) -> Candidate:
    """A candidate whose log-probabilities are known.

    Raises:
        UnsupportedStrategy: if they are not.
    """
    if math.isnan(candidate.logprob):
        raise UnsupportedStrategy(
            f"{stage} needs log-probabilities, which the server does not show; use a scorer, or another server"
        )
    return candidate


def _confidences(stage: Stage, by: str, candidate: Candidate) -> Confidences:
    if candidate.confidences is None:
        raise UnsupportedStrategy(
            f"{stage.name}: by={value_text(by)} needs how sure the model was at each token, which was not recorded of "
            "these candidates (tree searches and servers do not show it); use sample(n=...), or by=mean_logprob"
        )
    return candidate.confidences
