"""Means of scores in [0, 1], with intervals that are valid near 0 and 1 and where systems rarely differ."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from decodelab.metrics.checks import Floats, cluster_ids, confidences, in_unit, same_length
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.mean import clustered_error, t_quantile
from decodelab.metrics.proportion import wilson
from decodelab.metrics.saddlepoint import gamma_sum_tail

_MOST_KINDS = 512
"""With more different clusters than this, those that are most alike are merged."""


def bounded_mean(values: ArrayLike, clusters: Sequence[Hashable] | None = None, *, level: float = 0.95) -> Estimate:
    """The mean of scores in [0, 1] with Wilson's interval at their effective number.

    A t interval for 20 of 20 right answers has no width, and for 19 of 20 it exceeds 1. Wilson's interval does
    neither. It is for binary scores; for other scores, the effective number of binary scores with the same
    standard error is used: m (1 - m) / s.e.^2, reduced if the error is estimated from few clusters. If all
    scores are equal the error cannot be estimated, and each cluster counts as one.

    Args:
        values: scores in [0, 1], [n].
        clusters: what each item belongs to (its prompt); None when items are independent.
        level: confidence level.

    Raises:
        InvalidData: for values outside, NaN, or nothing.

    Source: Wilson 1927; Korn and Graubard 1998 (effective sample size), here for any scores in [0, 1]; coverage by
    simulation in docs/bench-statistics.md. `decodelab.metrics.proportion` is the same for right and wrong, but for
    rounding.

    >>> print(bounded_mean([1.0] * 20), bounded_mean([0, 0.5, 1, 1, 0.5, 1]))
    1.000 [0.820, 1.000] 0.667 [0.265, 0.917]
    """
    x = confidences("values", values)
    ids, count = cluster_ids(clusters, len(x))
    value = float(x.mean())
    error = clustered_error(x - value, ids, count)
    effective = value * (1 - value) / error**2 if error > 0 else float(count)
    if count > 1:
        effective *= (t_quantile(level, 10**9) / t_quantile(level, count - 1)) ** 2
    low, high = wilson(value * effective, effective, level=level)
    return Estimate(value, low, high, error, len(x), count, level)


def bounded_difference(
    a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable] | None = None, *, level: float = 0.95
) -> Estimate:
    """The mean of a - b over the same items, scores in [0, 1], with an interval that allows for unseen differences.

    Two systems that differ on 2 items of 50 may well differ on none or on 5, and a t interval then is too narrow,
    without any width where they did not differ at all. This one is for any number of items: an end is the quantile of
    the mean of the differences and one more, at the worst value (1 or -1), under random weights that are uniform over
    all weights with sum 1. Without a difference in n items the upper end x solves (1 - x)^n = (1 - level) / 2.

    Args:
        a: scores of one system in [0, 1], [n].
        b: scores of the other on the same items, [n].
        clusters: what each item belongs to; a cluster has one weight.
        level: confidence level.

    Returns:
        The plain mean with these ends; NaN ends for a single cluster.

    Raises:
        InvalidData: for different lengths, values outside, NaN, or nothing.

    Source: Learned-Miller and Thomas 2020, which is Clopper and Pearson's interval for binary values; the quantile by
    `gamma_sum_tail`; coverage by simulation in docs/bench-statistics.md.

    >>> print(bounded_difference([1, 1, 1, 0], [1, 1, 1, 0]), bounded_difference([1, 1, 1, 0] * 9, [1, 0, 0, 0] * 9))
    0.000 [-0.605, 0.605] 0.500 [0.283, 0.671]
    """
    found, paired = _paired(a, b, clusters)
    if found.clusters < 2:
        return replace(found, low=math.nan, high=math.nan, level=level)
    alpha = (1 - in_unit("level", level)) / 2
    return replace(found, low=-paired.flipped.end(alpha), high=paired.end(alpha), level=level)


def bounded_difference_p(a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable] | None = None) -> float:
    """The two-sided p value that belongs to `bounded_difference`: its interval at level 1 - p just reaches 0.

    Args:
        a: scores of one system in [0, 1], [n].
        b: scores of the other on the same items, [n].
        clusters: what each item belongs to.

    Raises:
        InvalidData: for different lengths, values outside, NaN, or nothing.

    Source: as `bounded_difference`. For right or wrong answers it is that of McNemar's exact test (up to the
    approximation), which is that of the permutation test.

    >>> round(bounded_difference_p([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]), 3), 2 * 0.5**5
    (0.064, 0.0625)
    """
    _, paired = _paired(a, b, clusters)
    return min(1.0, 2 * min(paired.above(0.0), paired.flipped.above(0.0)))


@dataclass(frozen=True, eq=False)
class _Weighted:
    """Clusters of items under random weights; equal ones are kept once.

    Attributes:
        total, size: float64 [kinds], sum of the differences of a cluster, and its items.
        clusters: float64 [kinds], how many are equal.
    """

    total: Floats
    size: Floats
    clusters: Floats

    @property
    def flipped(self) -> _Weighted:
        """The same with all signs changed."""
        return replace(self, total=-self.total)

    def above(self, value: float) -> float:
        """Probability that the weighted mean is at least a value, a cluster of differences of 1 having been seen too.

        Exponential variables, divided by their sum, are such weights.
        """
        usual = self.size @ self.clusters / self.clusters.sum()
        excess = np.append(self.total - self.size * value, usual * (1 - value))
        return gamma_sum_tail(excess, np.append(self.clusters, 1.0))

    def end(self, alpha: float) -> float:
        """The value that the weighted mean exceeds with probability alpha, at least the plain mean."""
        from scipy.optimize import brentq

        plain = float(self.total @ self.clusters / (self.size @ self.clusters))
        if plain > 1 - 1e-9 or self.above(plain) <= alpha:
            return min(plain, 1.0)
        return float(brentq(lambda value: self.above(value) - alpha, plain, 1.0, xtol=1e-9))  # pyright: ignore[reportArgumentType]


def _paired(a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable] | None) -> tuple[Estimate, _Weighted]:
    """The mean difference with its standard error, and the clusters it is made of."""
    x, y = confidences("a", a), confidences("b", b)
    same_length(a=x, b=y)
    ids, count = cluster_ids(clusters, len(x))
    value = float((x - y).mean())
    error = clustered_error(x - y - value, ids, count)
    sums = np.stack([np.bincount(ids, weights=x - y), np.bincount(ids)])
    kinds, counts = np.unique(sums, axis=1, return_counts=True)
    weights = counts.astype(np.float64)
    if len(weights) > _MOST_KINDS:
        # np.unique has sorted them: neighbours are merged into their mean, which keeps the work small.
        starts = np.linspace(0, len(weights), _MOST_KINDS, endpoint=False).astype(np.int64)
        merged = np.add.reduceat(weights, starts)
        kinds, weights = np.add.reduceat(kinds * weights, starts, axis=1) / merged, merged
    found = Estimate(value, math.nan, math.nan, error, len(x), count)
    return found, _Weighted(kinds[0], kinds[1], weights)
