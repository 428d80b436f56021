"""Sample sizes and minimum detectable differences."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import in_unit, numbers


@dataclass(frozen=True)
class Spread:
    """The variance components of a paired difference.

    Attributes:
        between: variance over questions of the difference of the two systems' expected scores (omega squared).
        within_a: mean variance of one sample's score given the question, first system (sigma squared); 0 if
            deterministic.
        within_b: the same for the second.
    """

    between: float
    within_a: float = 0.0
    within_b: float = 0.0

    def __post_init__(self) -> None:
        """Check the variances."""
        for name in ("between", "within_a", "within_b"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise InvalidData(f"{name} must be a variance, at least 0, got {value}")

    def variance(self, samples_a: int = 1, samples_b: int = 1) -> float:
        """Variance of one question's difference when each system's score is the mean of this many samples."""
        return self.between + self.within_a / samples_a + self.within_b / samples_b


def spread(a: ArrayLike, b: ArrayLike) -> Spread:
    """Estimate the variances from a pilot: scores [questions, samples] of both systems on the same questions.

    With one sample a question the noise within questions cannot be told from that between, and all of it counts as
    `between`: right for studies with one sample a question, too large for studies with more.

    Raises:
        InvalidData: for fewer than 2 questions, other shapes, or different questions.

    >>> spread([[1, 0], [1, 1], [0, 0]], [[0, 0], [0, 0], [0, 0]]).within_a.__round__(4)
    0.1667
    """
    x, y = numbers("a", a, ndim=2), numbers("b", b, ndim=2)
    if len(x) != len(y) or len(x) < 2:
        raise InvalidData(f"spread: needs the same questions, at least 2, got {len(x)} and {len(y)}")
    within = [float(s.var(axis=1, ddof=1).mean()) if s.shape[1] > 1 else 0.0 for s in (x, y)]
    observed = float((x.mean(axis=1) - y.mean(axis=1)).var(ddof=1))
    between = observed - within[0] / x.shape[1] - within[1] / y.shape[1]
    return Spread(max(between, 0.0), within[0], within[1])


def sample_size(
    difference: float,
    noise: Spread,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    samples_a: int = 1,
    samples_b: int = 1,
    step: float = 0.0,
) -> int:
    """Questions needed to find a true difference with the given power in a two-sided paired test at level alpha.

    Args:
        difference: the true difference of mean scores.
        noise: the variances, known or from `spread`.
        power: chance of finding it.
        alpha: chance of finding one that is not there.
        samples_a: samples a question of the first system.
        samples_b: samples a question of the second.
        step: for an exact test, the least by which a question's two scores differ if they do (1 for right or wrong):
            its p values come in steps too, and reach the level later than a t test's. 0 for a t test.

    Raises:
        InvalidData: for a difference of 0, a level or power outside (0, 1), or a negative step.

    Source: Miller 2024, equation 9; with a step, a continuity correction after Fleiss, Tytun and Ury 1980.

    >>> sample_size(0.03, Spread(1 / 9)), sample_size(0.03, Spread(1 / 9), step=1)
    (969, 1035)
    """
    if difference == 0 or not math.isfinite(difference):
        raise InvalidData(
            f"difference must not be 0, got {difference}; no number of items can detect a difference of 0"
        )
    if not 0 <= step < math.inf:
        raise InvalidData(f"step must be at least 0, got {step}; it is 1 for right or wrong")
    z = _z(power, alpha)
    n = z * z * noise.variance(samples_a, samples_b) / difference**2
    if n > 0:
        n *= ((1 + math.sqrt(1 + 4 * step / (n * abs(difference)))) / 2) ** 2
    return math.ceil(n)


def equivalence_sample_size(
    difference: float, margin: float, noise: Spread, *, power: float = 0.8, alpha: float = 0.05
) -> int:
    """Questions needed to show that two systems differ by no more than a margin, by `bounded_difference`.

    Args:
        difference: the true difference of mean scores, smaller than the margin.
        margin: the difference that does not matter.
        noise: the variances, known or from `spread`.
        power: chance of showing it.
        alpha: 1 - level of the two-sided interval.

    Raises:
        InvalidData: for a difference of the margin or more, or a level or power outside (0, 1).

    Source: the normal approximation of two one-sided tests, with one more question of difference 1 as the interval has
    it; where no question makes a difference, the questions that leave open no more than the margin.

    >>> equivalence_sample_size(0.0, 0.05, Spread(0.1)), equivalence_sample_size(0.0, 0.05, Spread(0.0))
    (353, 72)
    """
    room = margin - abs(difference)
    if not 0 < room < math.inf:
        raise InvalidData(f"difference must be less than the margin {margin}, got {difference}")
    width = _z(power, alpha) * math.sqrt(noise.variance())
    usual = ((width + math.sqrt(width**2 + 4 * room)) / (2 * room)) ** 2
    return math.ceil(max(usual, math.log(alpha / 2) / math.log1p(-min(room, 1 - 1e-9))))


def minimum_detectable_difference(
    n: int,
    noise: Spread,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    samples_a: int = 1,
    samples_b: int = 1,
) -> float:
    """The smallest true difference that n questions find with the given power; arguments as for `sample_size`.

    Raises:
        InvalidData: for fewer than 1 question, or a level or power outside (0, 1).

    Source: Miller 2024, equation 10.

    >>> round(minimum_detectable_difference(969, Spread(1 / 9)), 3)
    0.03
    """
    if n < 1:
        raise InvalidData(f"n must be at least 1, got {n}")
    return _z(power, alpha) * math.sqrt(noise.variance(samples_a, samples_b) / n)


def _z(power: float, alpha: float) -> float:
    from scipy.stats import norm

    in_unit("power", power)
    in_unit("alpha", alpha)
    return float(norm.isf(alpha / 2) + norm.ppf(power))
