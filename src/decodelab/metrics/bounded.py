"""Means of scores in [0, 1], with intervals that are valid near 0 and 1 and where systems rarely differ."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from decodelab.metrics.checks import cluster_ids, confidences, same_length
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.mean import clustered_error, t_quantile
from decodelab.metrics.proportion import wilson


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

    Two systems that differ on 2 items of 50 may well have differed on none or on 5, and a t interval then is too
    narrow, without any width where they did not differ at all. As if four more half items had been seen, one better,
    one worse and two equal, the interval widens by what matters only when differences are few; they are as large as the
    seen ones are in the root mean square (1, where there is none).

    Args:
        a: scores of one system in [0, 1], [n].
        b: scores of the other on the same items, [n].
        clusters: what each item belongs to.
        level: confidence level.

    Returns:
        The plain mean; only the ends are of the items with the additional ones. NaN ends for a single cluster.

    Raises:
        InvalidData: for different lengths, values outside, NaN, or nothing.

    Source: Agresti and Min 2005 (half an observation more in each cell of the table of two binary answers), here for
    any scores in [0, 1], with t and clusters; coverage by simulation in docs/bench-statistics.md.

    >>> print(bounded_difference([1, 1, 1, 0], [1, 1, 1, 0]), bounded_difference([1, 1, 1, 0] * 9, [1, 0, 0, 0] * 9))
    0.000 [-0.581, 0.581] 0.500 [0.298, 0.649]
    """
    x, y = confidences("a", a), confidences("b", b)
    same_length(a=x, b=y)
    differences = x - y
    n = len(differences)
    ids, count = cluster_ids(clusters, n)
    value = float(differences.mean())
    error = clustered_error(differences - value, ids, count)
    if count < 2:
        return Estimate(value, math.nan, math.nan, error, n, count, level)
    seen = differences[differences != 0]
    size = math.sqrt(float(seen @ seen) / len(seen)) if len(seen) else 1.0
    middle = float(differences.sum()) / (n + 2)
    sums = np.bincount(ids, weights=differences - middle, minlength=count)
    squares = float(sums @ sums) + size**2 + 2 * middle**2
    margin = t_quantile(level, count - 1) * math.sqrt((count + 2) / (count + 1) * squares) / (n + 2)
    return Estimate(value, max(-1.0, middle - margin), min(1.0, middle + margin), error, n, count, level)
