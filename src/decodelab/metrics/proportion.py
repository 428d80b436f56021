"""Proportions with Wilson intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import cluster_ids, in_unit, outcomes
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.mean import clustered_error, t_quantile


def wilson(successes: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion of independent items.

    It stays inside [0, 1] and is right at 0 and at n, where p +/- z s.e. has no width. Both arguments may be effective
    (fractional) numbers.

    Raises:
        InvalidData: if n is not positive or successes are not between 0 and n.

    Source: Wilson 1927; computed by statsmodels (`proportion_confint`).

    >>> [round(x, 4) for x in wilson(0, 10)]
    [0.0, 0.2775]
    """
    if not n > 0 or not 0 <= successes <= n:
        raise InvalidData(f"wilson: needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    from statsmodels.stats.proportion import proportion_confint

    ends: Any = proportion_confint(successes, n, alpha=1 - in_unit("level", level), method="wilson")
    low, high = float(ends[0]), float(ends[1])
    # At 0 and n rounding leaves the end just short of the proportion itself.
    p = successes / n
    return min(max(low, 0.0), p), max(min(high, 1.0), p)


def proportion(correct: ArrayLike, clusters: Sequence[Hashable] | None = None, *, level: float = 0.95) -> Estimate:
    """The share of right answers with a Wilson interval, for independent or clustered items.

    Clustered items carry less information: n is replaced by the effective number of items p (1 - p) / s.e.^2, further
    reduced for having estimated the error from few clusters. Where all are right (or wrong) nothing can be
    estimated and each cluster counts as one item.

    Args:
        correct: 0 or 1, [n].
        clusters: what each item belongs to; None when items are independent.
        level: confidence level.

    Raises:
        InvalidData: for other values, or none.

    Source: Korn and Graubard 1998 (effective sample size), with Wilson's interval as Dean and Pagano 2015 advise.

    >>> print(proportion([1] * 8 + [0] * 2))
    0.800 [0.490, 0.943]
    """
    y = outcomes("correct", correct)
    ids, count = cluster_ids(clusters, len(y))
    n = len(y)
    p = float(y.mean())
    error = clustered_error(y - p, ids, count)
    if clusters is None:
        effective = float(n)
    elif count < 2:
        effective = 1.0
    elif p in (0.0, 1.0):
        effective = float(count)
    elif error == 0:
        # Every cluster has the same share.
        effective = float(n)
    else:
        shrink = (t_quantile(level, n - 1) / t_quantile(level, count - 1)) ** 2
        effective = min(p * (1 - p) / error**2 * shrink, float(n))
    low, high = wilson(p * effective, effective, level=level)
    return Estimate(p, low, high, error, n, count, level)
