"""The mean, with a clustered standard error."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import Floats, cluster_ids, in_unit, numbers
from decodelab.metrics.estimate import Estimate


def mean(values: ArrayLike, clusters: Sequence[Hashable] | None = None, *, level: float = 0.95) -> Estimate:
    """The mean of scores, its clustered standard error and a t interval.

    Samples of one prompt, or questions about one passage, are alike; counted as independent they make the error too
    small. With clusters the standard error is that of their sums, and the t interval has (clusters - 1) degrees of
    freedom; without, this is the textbook s / sqrt(n). Below some 30 clusters, or where a few hold most of the items,
    the interval is somewhat too narrow.

    Args:
        values: scores, [n].
        clusters: what each item belongs to (its prompt); None when items are independent.
        level: confidence level.

    Raises:
        InvalidData: for no values, NaN, or clusters of another length.

    Source: Miller, "Adding Error Bars to Evals", 2024, section 2.2. Differs by the factor clusters / (clusters - 1) on
    the variance, as statsmodels (`cov_type="cluster"`) and Stata have it, which matters for few clusters.

    >>> print(mean([1, 1, 0, 1, 0, 0]))
    0.500 [-0.075, 1.075]
    >>> mean([1, 1, 1, 0, 0, 0], list("aaabbb")).standard_error
    0.5
    """
    x = numbers("values", values)
    ids, count = cluster_ids(clusters, len(x))
    value = float(x.mean())
    error = clustered_error(x - value, ids, count)
    margin = t_quantile(in_unit("level", level), count - 1) * error if count > 1 else math.nan
    return Estimate(value, value - margin, value + margin, error, len(x), count, level)


def positive_mean(values: ArrayLike, clusters: Sequence[Hashable] | None = None, *, level: float = 0.95) -> Estimate:
    """The mean of values that are at least 0, such as lengths, with an interval that is so too.

    The t interval of `mean` on the scale of logarithms: value · exp(±t s.e. / value), by the delta method. Without any
    difference among the values, as where all are 0, it has no width.

    Args and errors: as `mean`.

    Raises:
        InvalidData: for a negative value too.

    >>> print(mean([2, 30, 1]), positive_mean([2, 30, 1]))
    11.000 [-29.894, 51.894] 11.000 [0.267, 452.840]
    """
    found = mean(values, clusters, level=level)
    if float(np.min(numbers("values", values))) < 0:
        raise InvalidData("values must not be negative; use mean")
    if found.value == 0 or not found.high > found.value:
        return found
    factor = math.exp(min(700.0, (found.high - found.value) / found.value))
    return replace(found, low=found.value / factor, high=found.value * factor)


def clustered_error(residuals: Floats, ids: np.ndarray, count: int) -> float:
    """Standard error of a mean from the residuals [n] around it; NaN for a single cluster."""
    if count < 2:
        return math.nan
    sums = np.bincount(ids, weights=residuals, minlength=count)
    return math.sqrt(count / (count - 1) * float(sums @ sums)) / len(residuals)


def t_quantile(level: float, freedom: int) -> float:
    """Half-width of a two-sided t interval in standard errors."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, freedom))


def pooled(values: Sequence[Sequence[float]]) -> tuple[Floats, list[int]]:
    """Scores by prompt, flattened, and the prompt of each: what `mean` takes.

    Raises:
        InvalidData: when there are none.

    >>> pooled([[1, 0], [1]])
    (array([1., 0., 1.]), [0, 0, 1])
    """
    flat = [v for group in values for v in group]
    if not flat:
        raise InvalidData("values must not be empty, got no scores; give at least one")
    return numbers("values", flat), [i for i, group in enumerate(values) for _ in group]
