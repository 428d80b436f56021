"""Calibration: are answers with confidence 0.8 right in 80 % of cases?

Throughout, an item is an answer with a confidence (the probability, in [0, 1], that it is right) and whether it was
right (1 or 0). All errors are in units of probability, lower is better.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import Floats, Ints, at_least, distributions, judged, numbers
from decodelab.metrics.proportion import proportion

Equal = Literal["width", "mass"]


@dataclass(frozen=True, eq=False)
class Bins:
    """Items grouped by confidence, empty groups left out; all arrays have one entry per bin, least confident first.

    Attributes:
        low: lower end of the bin (its lowest confidence, when bins are of a fixed size).
        high: upper end.
        count: items.
        confidence: their mean confidence.
        accuracy: their share of right answers.
        member: int64 [n], the bin of each item.
    """

    low: Floats
    high: Floats
    count: Ints
    confidence: Floats
    accuracy: Floats
    member: Ints

    @property
    def gap(self) -> Floats:
        """Accuracy minus confidence: above 0 is underconfident, below 0 overconfident."""
        return self.accuracy - self.confidence

    def accuracy_intervals(
        self, correct: ArrayLike, clusters: Sequence[Hashable] | None = None, *, level: float = 0.95
    ) -> tuple[Floats, Floats]:
        """Wilson intervals of the accuracies: lower and upper ends, one entry a bin."""
        y = np.asarray(correct, dtype=np.float64)
        found = []
        for index in range(len(self.count)):
            rows = np.flatnonzero(self.member == index)
            of = None if clusters is None else [clusters[i] for i in rows.tolist()]
            found.append(proportion(y[rows], of, level=level))
        return np.array([e.low for e in found]), np.array([e.high for e in found])


def bin_by_confidence(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 10, *, equal: Equal = "width", size: int | None = None
) -> Bins:
    """Group items by confidence.

    Args:
        confidence: [n] in [0, 1].
        correct: [n], 0 or 1.
        bins: number of bins; empty ones are left out.
        equal: "width" cuts [0, 1] into intervals (a, b] of equal width, whose edges k/bins are the nearest numbers in
            double precision, so that a confidence written or computed as k/bins is at the edge; "mass" cuts at
            quantiles of the confidences, so that bins hold about equally many items; equal confidences always share a
            bin.
        size: instead, bins of exactly this many items, most confident first (the last may be smaller); of equal
            confidences those given first come first, so the result depends on the order of such items.

    Raises:
        InvalidData: for confidences outside [0, 1], outcomes other than 0 and 1, NaN, nothing, or less than 1 bin.

    >>> b = bin_by_confidence([0.9, 0.9, 0.8, 0.8, 0.6, 0.6], [1, 1, 1, 1, 1, 0], size=3)
    >>> b.confidence.round(3).tolist(), b.accuracy.round(3).tolist()
    ([0.667, 0.867], [0.667, 1.0])
    """
    p, y = judged(confidence, correct)
    if equal not in ("width", "mass"):
        raise InvalidData(f"equal must be 'width' or 'mass', got {equal!r}")
    if size is not None:
        at_least("size", size, 1)
        place = np.empty(len(p), dtype=np.int64)
        place[np.argsort(-p, kind="stable")] = np.arange(len(p)) // size
        member = place.max() - place
        edges = None
    else:
        at_least("bins", bins, 1)
        # k/bins correctly rounded, which linspace is not: a confidence of k/bins is at the edge, not beside it.
        edges = np.arange(bins + 1) / bins if equal == "width" else np.unique(_quantiles(p, bins))
        # A bin is (low, high]; the least confidence belongs to the first.
        member = np.searchsorted(edges[1:-1], p, side="left")
    return _summarise(p, y, member, edges)


def _quantiles(values: Floats, parts: int) -> Floats:
    """The quantiles k/parts, linear between neighbours: where one falls on a value it is that value, unrounded."""
    ordered = np.sort(values)
    place, rest = np.divmod(np.arange(parts + 1) * (len(ordered) - 1), parts)
    low, high = ordered[place], ordered[np.minimum(place + 1, len(ordered) - 1)]
    return low + (high - low) * (rest / parts)


def _summarise(p: Floats, y: Floats, member: Ints, edges: Floats | None) -> Bins:
    used, member = np.unique(member, return_inverse=True)
    count = np.bincount(member)
    if edges is None:
        low = np.array([p[member == b].min() for b in range(len(used))])
        high = np.array([p[member == b].max() for b in range(len(used))])
    else:
        low, high = edges[used], edges[np.minimum(used + 1, len(edges) - 1)]
    return Bins(
        low,
        high,
        count,
        np.bincount(member, weights=p) / count,
        np.bincount(member, weights=y) / count,
        member,
    )


def ece(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 10, *, equal: Equal = "width", size: int | None = None
) -> float:
    """Expected calibration error: the gap between accuracy and confidence of a bin, averaged over items.

    Inside a bin, overconfident and underconfident answers cancel: 0 does not mean that each confidence is right
    (see `macro_ce`). It rises with the number of bins, and even a perfectly calibrated system has an ECE above 0
    on finitely many items (see `ece_if_calibrated`), so compare values with the same bins and number of items only.

    Args and errors: as `bin_by_confidence`.

    Source: Naeini et al. 2015; Guo et al. 2017, equation 3. Boundaries belong to the bin below, as in Guo et al. and
    scikit-learn; torchmetrics puts them into the bin above.

    >>> round(ece([0.9, 0.9, 0.8, 0.8, 0.7, 0.7], [1, 0, 1, 0, 1, 1], size=3), 3)
    0.133
    """
    b = bin_by_confidence(confidence, correct, bins, equal=equal, size=size)
    return float(np.abs(b.gap) @ b.count / b.count.sum())


def max_ce(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 10, *, equal: Equal = "width", size: int | None = None
) -> float:
    """Maximum calibration error: the largest gap of any bin that is not empty.

    A bin of few items easily has a large gap by chance; look at the counts.

    Args and errors: as `bin_by_confidence`.

    Source: Naeini et al. 2015; Guo et al. 2017, equation 5.

    >>> round(max_ce([0.9, 0.9, 0.2, 0.2], [1, 1, 1, 0]), 3)
    0.3
    """
    return float(np.abs(bin_by_confidence(confidence, correct, bins, equal=equal, size=size).gap).max())


def adaptive_ce(probs: ArrayLike, labels: ArrayLike, bins: int = 10) -> float:
    """Adaptive calibration error: over all classes, the mean gap of bins of equal mass.

    Unlike ECE it looks at the probability of every option, not only at that of the answer, and weights each bin
    alike.

    Args:
        probs: probability of each option, [n, options], rows sum to 1.
        labels: the right option, int [n].
        bins: number of bins per class.

    Raises:
        InvalidData: for rows that are not distributions or labels that are no option.

    Source: Nixon et al. 2019, equation 3.

    >>> round(adaptive_ce([[0.8, 0.2], [0.6, 0.4]], [0, 1], bins=1), 3)
    0.2
    """
    p, y = classified(probs, labels)
    gaps = [np.abs(bin_by_confidence(p[:, k], y == k, bins, equal="mass").gap).mean() for k in range(p.shape[1])]
    return float(np.mean(gaps))


def classified(probs: ArrayLike, labels: ArrayLike) -> tuple[Floats, Ints]:
    """Probabilities [n, options] and right options [n], checked.

    Raises:
        InvalidData: for rows that are not distributions or labels that are no option.
    """
    p = distributions("probs", probs)
    if p.ndim != 2:
        raise InvalidData(f"probs must be [items, options], got shape {p.shape}")
    y = np.asarray(labels)
    if y.shape != (len(p),) or len(p) == 0:
        raise InvalidData(f"labels must have one option per item, got shape {y.shape} for {len(p)} items")
    if not np.issubdtype(y.dtype, np.integer) or bool(((y < 0) | (y >= p.shape[1])).any()):
        raise InvalidData(f"labels must be options 0 to {p.shape[1] - 1}, got {y.tolist()[:3]}...; count from 0")
    return p, y.astype(np.int64)


@dataclass(frozen=True)
class MacroCE:
    """Macro-average calibration error with its halves.

    Attributes:
        right: mean of 1 - confidence over right answers (underconfidence); NaN without any.
        wrong: mean confidence over wrong answers (overconfidence); NaN without any.
    """

    right: float
    wrong: float

    @property
    def value(self) -> float:
        """The mean of the two halves; NaN when either is."""
        return (self.right + self.wrong) / 2


def macro_ce(confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> MacroCE:
    """Macro-average calibration error: how far confidence is from 1 when right and from 0 when wrong, averaged.

    No bins, so nothing cancels: every answer counts by its own distance. Right and wrong answers have equal say
    however many there are of each, so a system cannot do well by always stating its average accuracy (it gets 0.5). It
    measures discrimination between right and wrong as much as calibration: even perfectly calibrated confidences
    give 0 only if they are all 0 or 1.

    Args:
        confidence: [n] in [0, 1].
        correct: [n], 0 or 1.
        weights: importance of each item, [n], at least 0; all alike without.

    Raises:
        InvalidData: as `bin_by_confidence`, and for negative weights.

    Source: Si et al. 2022, "Re-Examining Calibration: The Case of Question Answering", section 5.

    >>> m = macro_ce([0.9, 0.9, 0.8, 0.8, 0.6, 0.6], [1, 1, 1, 1, 1, 0])
    >>> round(m.right, 3), round(m.wrong, 3), round(m.value, 3)
    (0.2, 0.6, 0.4)
    """
    p, y = judged(confidence, correct)
    w = np.ones_like(p) if weights is None else checked_weights(weights, len(p))
    right, wrong = float(w @ y), float(w @ (1 - y))
    return MacroCE(
        float(w @ (y * (1 - p))) / right if right > 0 else math.nan,
        float(w @ ((1 - y) * p)) / wrong if wrong > 0 else math.nan,
    )


def checked_weights(weights: ArrayLike, n: int) -> Floats:
    """Weights [n], at least 0 and not all 0.

    Raises:
        InvalidData: otherwise.
    """
    w = numbers("weights", weights)
    if len(w) != n or bool((w < 0).any()) or not w.any():
        raise InvalidData(f"weights must be {n} numbers, at least 0 and not all 0")
    return w


def brier(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Brier score: mean squared distance of confidence from 1 when right and from 0 when wrong.

    A proper score: lowest in expectation for the true probability. It mixes calibration with knowledge (see
    `brier_parts`); a constant 0.5 gives 0.25.

    Args and errors: as `bin_by_confidence`.

    Source: Brier 1950, for two outcomes counted once (his own definition, over both, is twice this).

    >>> round(brier([0.9, 0.9, 0.8, 0.8, 0.7, 0.7], [1, 0, 1, 0, 1, 1]), 3)
    0.28
    """
    p, y = judged(confidence, correct)
    return float(((p - y) ** 2).mean())


@dataclass(frozen=True)
class BrierParts:
    """The Brier score in parts: score = reliability - resolution + uncertainty + within.

    Attributes:
        reliability: mean squared gap between accuracy and confidence of bins (0 when calibrated).
        resolution: variance of the bins' accuracies: how well confidence separates right from wrong.
        uncertainty: accuracy x (1 - accuracy), the score of a constant confidence equal to the accuracy.
        within: what bins hide; 0 when all items of each bin have one confidence.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within: float

    @property
    def score(self) -> float:
        """The Brier score."""
        return self.reliability - self.resolution + self.uncertainty + self.within


def brier_parts(confidence: ArrayLike, correct: ArrayLike, bins: int | None = None) -> BrierParts:
    """Decompose the Brier score; the parts add up to it exactly.

    Args:
        confidence: [n] in [0, 1].
        correct: [n], 0 or 1.
        bins: number of bins of equal width; None puts each different confidence into a bin of its own.

    Raises:
        InvalidData: as `bin_by_confidence`.

    Source: Murphy 1973; the term within bins: Stephenson, Coelho and Jolliffe 2008.

    >>> parts = brier_parts([0.8, 0.8, 0.4, 0.4], [1, 1, 1, 0])
    >>> round(parts.reliability, 4), round(parts.resolution, 4), parts.uncertainty, parts.within
    (0.025, 0.0625, 0.1875, 0.0)
    """
    p, y = judged(confidence, correct)
    if bins is None:
        values, member = np.unique(p, return_inverse=True)
        b = _summarise(p, y, member, np.append(values, values[-1]))
    else:
        b = bin_by_confidence(p, y, bins)
    share = b.count / len(p)
    base = float(y.mean())
    within = 0.0
    if bins is not None:
        off = p - b.confidence[b.member]
        within = float((off**2).mean() - 2 * (off * (y - b.accuracy[b.member])).mean())
    return BrierParts(float(share @ b.gap**2), float(share @ (b.accuracy - base) ** 2), base * (1 - base), within)


def nll(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean negative log-likelihood of what happened, in nats; infinite when a certainty was wrong.

    A proper score like Brier's, but unbounded: one confident error can dominate.

    Args and errors: as `bin_by_confidence`.

    Source: Good 1952. scikit-learn's `log_loss` clips probabilities first and never gives infinity.

    >>> round(nll([0.5, 0.5], [1, 0]), 4), nll([1.0, 0.5], [0, 1])
    (0.6931, inf)
    """
    p, y = judged(confidence, correct)
    with np.errstate(divide="ignore"):
        return float(-np.log(np.where(y == 1, p, 1 - p)).mean())


def auroc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Probability that a right answer has more confidence than a wrong one (ties count half); NaN with one class only.

    It asks whether confidence orders answers, not whether it is calibrated: any increasing function of it
    gives the same value. 0.5 is no information.

    Args and errors: as `bin_by_confidence`.

    Source: Mann and Whitney 1947; Hanley and McNeil 1982.

    >>> auroc([0.9, 0.8, 0.3], [1, 0, 0]), auroc([0.9, 0.8], [1, 1])
    (1.0, nan)
    """
    from scipy.stats import rankdata

    p, y = judged(confidence, correct)
    right = int(y.sum())
    wrong = len(y) - right
    if right == 0 or wrong == 0:
        return math.nan
    return float((rankdata(p) @ y - right * (right + 1) / 2) / (right * wrong))


@dataclass(frozen=True)
class Expected:
    """The result expected of a perfectly calibrated system on these items.

    Attributes:
        mean: its expected ECE.
        p_value: chance that it shows an ECE as large as the observed one.
    """

    mean: float
    p_value: float


def ece_if_calibrated(
    confidence: ArrayLike,
    correct: ArrayLike,
    bins: int = 10,
    *,
    equal: Equal = "width",
    size: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Expected:
    """The ECE to expect from perfect calibration at these confidences, and whether the observed one is larger.

    ECE is never negative, so it is above 0 by chance alone, and no interval around it can hold a truth of 0: this is
    the test to use for "is it calibrated?". Items are taken as independent.

    Args:
        confidence: [n] in [0, 1].
        correct: [n], 0 or 1.
        bins: as `bin_by_confidence`.
        equal: as `bin_by_confidence`.
        size: as `bin_by_confidence`.
        resamples: outcomes drawn with the stated confidences as probabilities.
        seed: of the draws.

    Raises:
        InvalidData: as `bin_by_confidence`.

    Source: Bröcker and Smith 2007 (consistency resampling); Vaicenavicius et al. 2019.

    >>> found = ece_if_calibrated([0.7] * 100, [1] * 70 + [0] * 30)
    >>> found.p_value == 1.0, 0.02 < found.mean < 0.06
    (True, True)
    """
    p, y = judged(confidence, correct)
    b = bin_by_confidence(p, y, bins, equal=equal, size=size)
    at_least("resamples", resamples, 1)
    rng = np.random.default_rng(seed)
    onehot = [np.flatnonzero(b.member == k) for k in range(len(b.count))]
    total = np.zeros(resamples)
    for rows in onehot:
        right = np.zeros(resamples)
        for chunk in np.array_split(rows, max(1, len(rows) // 1000)):
            right += (rng.random((resamples, len(chunk))) < p[chunk]).sum(axis=1)
        total += np.abs(right - p[rows].sum())
    simulated = total / len(p)
    observed = float(np.abs(b.gap) @ b.count / len(p))
    return Expected(float(simulated.mean()), float((1 + (simulated >= observed - 1e-12).sum()) / (1 + resamples)))


def calibration_table(b: Bins, low: Floats, high: Floats) -> list[dict[str, Any]]:
    """Bins with the intervals of their accuracies as JSON-ready rows."""
    columns = {name: getattr(b, name) for name in ("low", "high", "count", "confidence", "accuracy")}
    columns |= {"accuracy_low": low, "accuracy_high": high}
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]
