"""An interval for the AUROC by formula, for more items than are practical to bootstrap."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from decodelab.metrics.calibration import auroc
from decodelab.metrics.checks import Floats, cluster_ids, in_unit, judged
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.mean import t_quantile


def auroc_interval(
    confidence: ArrayLike, correct: ArrayLike, clusters: Sequence[Hashable] | None = None, *, level: float = 0.95
) -> Estimate:
    """The AUROC with an interval from its influence on each item, clustered, on the logit scale.

    Args:
        confidence: [n] in [0, 1].
        correct: [n], 0 or 1.
        clusters: what each item belongs to; None when items are independent.
        level: confidence level.

    Returns:
        NaN with one class only. The ends are NaN where there is one cluster, and at 0 and 1, where the error cannot be
        estimated.

    Raises:
        InvalidData: as `decodelab.metrics.calibration.auroc`.

    Source: DeLong et al. 1988; for clusters Obuchowski 1997. Differs by the factor clusters / (clusters - 1) on the
    variance, as in `decodelab.metrics.mean`.

    >>> print(auroc_interval([0.9, 0.8, 0.7, 0.6, 0.55, 0.2], [1, 1, 0, 1, 0, 0]))
    0.889 [0.171, 0.997]
    """
    p, y = judged(confidence, correct)
    ids, count = cluster_ids(clusters, len(p))
    value = auroc(p, y)
    nothing = Estimate(value, math.nan, math.nan, math.nan, len(p), count, in_unit("level", level))
    if math.isnan(value) or count < 2:
        return nothing
    right, wrong = p[y == 1], p[y == 0]
    influence = np.empty(len(p))
    influence[y == 1] = (_placement(right, wrong) - value) / len(right)
    influence[y == 0] = (1 - _placement(wrong, right) - value) / len(wrong)
    sums = np.bincount(ids, weights=influence, minlength=count)
    error = math.sqrt(count / (count - 1) * float(sums @ sums))
    if not 0 < value < 1 or error == 0:
        return nothing
    middle = math.log(value / (1 - value))
    margin = t_quantile(level, count - 1) * error / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-min(max(end, -700.0), 700.0))) for end in (middle - margin, middle + margin))
    return Estimate(value, low, high, error, len(p), count, level)


def _placement(values: Floats, among: Floats) -> Floats:
    """The share of the others that is lower than each value, ties counting half."""
    ordered = np.sort(among)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (2 * len(among))
