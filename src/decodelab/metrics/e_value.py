"""E-values: evidence that is valid at any stopping time (testing by betting)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import numbers

BETS = np.linspace(0.05, 0.95, 19)
"""Shares of the stake that are bet on every difference; the evidence is the mean of what they come to."""


def e_value(differences: ArrayLike, *, most: float = 1.0) -> float:
    """The e-value of differences against a mean of at least 0.

    A gambler who starts with 1 and bets on each difference being negative, at odds that are fair if its mean is 0, has
    this much in the end. If the mean is 0 or more, the chance that he ever has 1 / alpha or more is at most alpha,
    however often one looks and whenever one stops (Ville's inequality): stop at 1 / alpha, and the error rate is
    alpha. Nothing is assumed of the differences but that they come in random order and that none can exceed `most`.

    Args:
        differences: in the order in which they came, [n].
        most: the largest there can be.

    Raises:
        InvalidData: for no difference, NaN, one above `most`, or a `most` that is not positive.

    Source: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting", with constant bets
    averaged over a grid. One-sided, and bounded on one side only, which is all that a bet needs.

    >>> e_value([0.0] * 100)
    1.0
    >>> e_value([-1.0] * 7) > 20
    True
    """
    x = numbers("differences", differences)
    if not (0 < most < math.inf):
        raise InvalidData(f"most must be a positive number, got {most}; it is the largest possible difference")
    if float(x.max()) > most * (1 + 1e-9):
        raise InvalidData(
            f"differences must be at most {most:g}, got {x.max():g}; set most to their largest possible value"
        )
    gains = np.log1p(-np.outer(BETS, x / most)).sum(axis=1)
    largest = float(gains.max())
    return math.exp(min(largest, 700.0)) * float(np.exp(gains - largest).mean())
