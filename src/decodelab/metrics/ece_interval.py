"""Intervals for calibration errors, which a plain bootstrap gets wrong.

An ECE is a sum of absolute values. Chance alone makes it positive, resampling adds chance once more, and so percentile
and BCa intervals lie too high: with 10 bins and some hundred items they can miss the truth more often than not.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from decodelab.metrics.calibration import Bins
from decodelab.metrics.checks import Floats, at_least, cluster_ids, in_unit, judged
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.mean import t_quantile


def ece_interval(
    bins: Bins,
    confidence: ArrayLike,
    correct: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """The ECE over given bins with an interval that allows for its bias.

    The value is the plain ECE. A cluster bootstrap gives its bias; the interval reaches from the smaller of the plain
    and the bias-corrected ECE, less t clustered standard errors (of the sum with its signs held), to the larger, plus
    as much. Where the ECE is no larger than chance would make it were all gaps 0, the interval begins at 0.

    Args:
        bins: of these items.
        confidence: [n] in [0, 1].
        correct: [n], 0 or 1.
        clusters: what each item belongs to; None when items are independent.
        level: confidence level.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        InvalidData: as `decodelab.metrics.calibration.bin_by_confidence`, and for fewer than 100 resamples.

    Source: our own; coverage by simulation in docs/metrics.md and the tests.

    >>> from decodelab.metrics.calibration import bin_by_confidence
    >>> p, y = [0.9] * 50 + [0.6] * 50, [1] * 30 + [0] * 20 + [1] * 30 + [0] * 20
    >>> print(ece_interval(bin_by_confidence(p, y), p, y))
    0.150 [0.020, 0.252]
    """
    sums, sizes, count = _by_cluster(bins, confidence, correct, clusters)
    n = float(sizes.sum())
    observed = float(np.abs(sums.sum(axis=0)).sum()) / n
    at_least("resamples", resamples, 100)
    in_unit("level", level)
    if count < 2:
        return Estimate(observed, math.nan, math.nan, math.nan, int(n), count, level)
    weights = _weights(count, resamples, seed)
    resampled = np.abs(weights @ sums).sum(axis=1) / (weights @ sizes.sum(axis=1))
    corrected = 2 * observed - float(resampled.mean())
    # With the signs of the gaps held, the ECE is a ratio of sums over clusters.
    residual = sums @ np.sign(sums.sum(axis=0)) - observed * sizes.sum(axis=1)
    error = math.sqrt(count / (count - 1) * float(residual @ residual)) / n
    margin = t_quantile(level, count - 1) * error
    chance = np.abs((weights - 1) @ sums).sum(axis=1) / n
    low = 0.0 if observed <= np.quantile(chance, level) else max(0.0, min(observed, corrected) - margin)
    return Estimate(observed, low, min(1.0, max(observed, corrected) + margin), error, int(n), count, level)


def max_ce_interval(
    bins: Bins,
    confidence: ArrayLike,
    correct: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """The maximum CE over given bins with a conservative interval.

    The largest gap is off by no more than the worst gap is; the interval is as wide as the worst error of any bin is
    in the bootstrap, and so holds the truth more often than its level says. A bin of few items makes it wide,
    rightly.

    Args and errors: as `ece_interval`.
    """
    sums, sizes, count = _by_cluster(bins, confidence, correct, clusters)
    gaps = sums.sum(axis=0) / sizes.sum(axis=0)
    observed = float(np.abs(gaps).max())
    at_least("resamples", resamples, 100)
    in_unit("level", level)
    n = int(sizes.sum())
    if count < 2:
        return Estimate(observed, math.nan, math.nan, math.nan, n, count, level)
    weights = _weights(count, resamples, seed)
    items = weights @ sizes
    with np.errstate(invalid="ignore"):
        # A bin that is not drawn at all says nothing.
        off = np.where(items > 0, (weights @ sums) / items - gaps, 0.0)
    worst = float(np.quantile(np.abs(off).max(axis=1), level))
    return Estimate(observed, max(0.0, observed - worst), min(1.0, observed + worst), math.nan, n, count, level)


def _by_cluster(
    bins: Bins, confidence: ArrayLike, correct: ArrayLike, clusters: Sequence[Hashable] | None
) -> tuple[Floats, Floats, int]:
    """Sums of outcome - confidence, and numbers of items, of each cluster in each bin, [clusters, bins]."""
    p, y = judged(confidence, correct)
    ids, count = cluster_ids(clusters, len(p))
    shape = (count, len(bins.count))
    sums, sizes = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (ids, bins.member), y - p)
    np.add.at(sizes, (ids, bins.member), 1.0)
    return sums, sizes, count


def _weights(count: int, resamples: int, seed: int) -> Floats:
    """How often each cluster is drawn in each resample, float64 [resamples, clusters]."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
