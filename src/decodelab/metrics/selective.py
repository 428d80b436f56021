"""Selective prediction: answer only if confident."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import Floats, judged


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """What answering only the most confident items costs and gains.

    Attributes:
        coverage: share of items answered, float64 [n]: 1/n, 2/n, ..., 1.
        risk: share of wrong answers among them, float64 [n].
    """

    coverage: Floats
    risk: Floats

    @property
    def area(self) -> float:
        """Mean risk over all coverages (AURC), lower is better."""
        return float(self.risk.mean())


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> RiskCoverage:
    """The risk-coverage curve; items of equal confidence count as answered in random order, in expectation.

    Args:
        confidence: [n]; any increasing function of it gives the same curve.
        correct: [n], 0 or 1.

    Raises:
        InvalidData: for confidences outside [0, 1], outcomes other than 0 and 1, NaN or nothing.

    Source: El-Yaniv and Wiener 2010; area: Geifman and El-Yaniv 2017.

    >>> risk_coverage([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1]).risk.round(3).tolist()
    [0.0, 0.0, 0.333, 0.25]
    """
    p, y = judged(confidence, correct)
    _, member = np.unique(-p, return_inverse=True)
    accuracy = np.bincount(member, weights=y) / np.bincount(member)
    expected = np.sort(member)
    right = np.cumsum(accuracy[expected])
    answered = np.arange(1, len(p) + 1)
    return RiskCoverage(answered / len(p), 1 - right / answered)


def accuracy_at_coverage(confidence: ArrayLike, correct: ArrayLike, coverage: float) -> float:
    """Accuracy when at least this share of the items is answered, the most confident first.

    Args:
        confidence: [n].
        correct: [n], 0 or 1.
        coverage: share of items to answer, in (0, 1].

    Raises:
        InvalidData: for a coverage outside (0, 1], or as `risk_coverage`.

    >>> accuracy_at_coverage([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], 0.5)
    1.0
    """
    curve = risk_coverage(confidence, correct)
    if not 0 < coverage <= 1:
        raise InvalidData(f"coverage must be in (0, 1], got {coverage}")
    answered = math.ceil(coverage * len(curve.risk) - 1e-9)
    return float(1 - curve.risk[answered - 1])


def coverage_at_accuracy(confidence: ArrayLike, correct: ArrayLike, accuracy: float) -> float:
    """The largest share of items, most confident first, that is answered with at least this accuracy; 0 if none is.

    Chosen on the items it is measured on, it promises too much for others: choose the threshold on a validation split.

    Args:
        confidence: [n].
        correct: [n], 0 or 1.
        accuracy: share that must be right, in [0, 1].

    Raises:
        InvalidData: for an accuracy outside [0, 1], or as `risk_coverage`.

    >>> coverage_at_accuracy([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], 0.75)
    1.0
    """
    curve = risk_coverage(confidence, correct)
    if not 0 <= accuracy <= 1:
        raise InvalidData(f"accuracy must be in [0, 1], got {accuracy}")
    enough = np.flatnonzero(1 - curve.risk >= accuracy - 1e-12)
    return float(curve.coverage[enough[-1]]) if len(enough) else 0.0
