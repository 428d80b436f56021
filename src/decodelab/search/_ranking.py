"""How hypotheses of different lengths are ranked, and when the finished ones end a search: one rule for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

from decodelab.core.stage import Stage, check_choice, check_number

if TYPE_CHECKING:
    from torch import Tensor

EarlyStopping = bool | Literal["never"]
"""When a full pool of finished hypotheses ends a search."""

Normaliser = Literal["length", "gnmt"] | None
"""What the log-probability of a hypothesis is divided by: its length, (5 + length) / 6, or nothing."""

Number = TypeVar("Number", float, "Tensor")
"""A number, or float64 numbers of any shape."""


def check_ranking(stage: Stage, most: int) -> None:
    """Check `length_penalty`, `early_stopping` and `n` of a search that keeps `most` finished hypotheses.

    Raises:
        InvalidParameter: naming the one that is out of its range.
    """
    check_number(stage, "length_penalty", fix="use 0 for plain log-probability, 1.0 for the mean")
    check_choice(stage, "early_stopping", (True, False, "never"), fix="see decodelab strategies")
    check_number(stage, "n", low=1, high=most, integer=True, fix="widen the beam to return more")


def normalised(logprob: Number, length: float | Tensor, penalty: float, by: Normaliser = "length") -> Number:
    """The score that finished hypotheses are ranked by: log-probability over normaliser^penalty.

    >>> normalised(-8.0, 4.0, 1.0), normalised(-8.0, 7.0, 1.0, by="gnmt"), normalised(-8.0, 4.0, 1.0, by=None)
    (-2.0, -4.0, -8.0)
    """
    if by is None:
        return logprob
    size = length if by == "length" else (length + 5) / 6
    return logprob / size**penalty  # pyright: ignore[reportReturnType]  (a float is never given with a tensor)


def bound(
    logprob: Number, length: float | Tensor, limit: float | Tensor, penalty: float, by: Normaliser = "length"
) -> Number:
    """The best score that a hypothesis, or anything that continues it up to `limit` tokens, can have.

    >>> bound(-8.0, 4.0, 16.0, 1.0), bound(-8.0, 4.0, 16.0, -1.0)
    (-0.5, -32.0)
    """
    return normalised(logprob, limit if penalty > 0 else length, penalty, by)


def is_done(early_stopping: EarlyStopping, worst: Number, now: Number, ever: Number) -> bool | Tensor:
    """Whether finished hypotheses end a search.

    Args:
        early_stopping: `True`: as soon as the pool is full; `False`: when the best live hypothesis is no better;
            `never`: when nothing that continues it can be better.
        worst: the score of the last place of the pool, -inf while a place is empty.
        now: the score of the best live hypothesis at its present length.
        ever: the best score that it or anything that continues it can have.

    >>> is_done(False, -2.0, -3.0, -1.0), is_done("never", -2.0, -3.0, -1.0), is_done(True, -float("inf"), -3.0, -1.0)
    (True, False, False)
    """
    full = worst > -float("inf")
    if early_stopping is True:
        return full
    return full & ((ever if early_stopping == "never" else now) <= worst)
