"""A calibration report: all metrics of a set of confidences, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import ArrayLike

from decodelab.metrics.bootstrap import bootstrap
from decodelab.metrics.calibration import (
    Bins,
    BrierParts,
    Equal,
    Expected,
    bin_by_confidence,
    brier_parts,
    calibration_table,
    ece_if_calibrated,
)
from decodelab.metrics.catalogue import confidence_metrics
from decodelab.metrics.checks import Floats, judged
from decodelab.metrics.ece_interval import ece_interval, max_ce_interval
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.mean import mean
from decodelab.metrics.proportion import proportion


@dataclass(frozen=True, eq=False)
class CalibrationReport:
    """The calibration of a set of answers.

    Attributes:
        estimates: every quantity by name, with its interval.
        parts: the Brier score in parts.
        expected: the ECE expected under perfect calibration.
        bins: the reliability diagram.
        low: lower ends of the intervals of the bins' accuracies.
        high: upper ends.
    """

    estimates: dict[str, Estimate]
    parts: BrierParts
    expected: Expected
    bins: Bins
    low: Floats
    high: Floats

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        return {
            "estimates": {name: e.to_dict() for name, e in self.estimates.items()},
            "brier_parts": asdict(self.parts),
            "ece_if_calibrated": asdict(self.expected),
            "bins": calibration_table(self.bins, self.low, self.high),
        }


def calibration_report(
    confidence: ArrayLike,
    correct: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    bins: int = 10,
    equal: Equal = "width",
    size: int | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    advance: Callable[[str], None] | None = None,
) -> CalibrationReport:
    """Measure the calibration of answers: every quantity of this package with its interval.

    Args:
        confidence: [n] in [0, 1].
        correct: [n], 0 or 1.
        clusters: what each item belongs to (its prompt); intervals then resample whole clusters.
        bins: number of bins of the ECE and the diagram.
        equal: bins of equal "width" or "mass".
        size: use bins of this many items each instead.
        level: of the intervals.
        resamples: of the bootstrap.
        seed: of all resampling.
        advance: called with the name of each finished quantity.

    Raises:
        InvalidData: for confidences outside [0, 1], outcomes other than 0 and 1, NaN, nothing, or bad options.

    >>> report = calibration_report([0.9, 0.8, 0.6, 0.7], [1, 1, 0, 1], resamples=100)
    >>> round(report.estimates["brier"].value, 3)
    0.125
    """
    p, y = judged(confidence, correct)
    b = bin_by_confidence(p, y, bins, equal=equal, size=size)
    low, high = b.accuracy_intervals(y, clusters, level=level)
    estimates = {
        "accuracy": proportion(y, clusters, level=level),
        "mean_confidence": mean(p, clusters, level=level),
        "overconfidence": mean(p - y, clusters, level=level),
        "ece": ece_interval(b, p, y, clusters, level=level, resamples=resamples, seed=seed),
        "max_ce": max_ce_interval(b, p, y, clusters, level=level, resamples=resamples, seed=seed),
        "ece_equal_mass": ece_interval(
            bin_by_confidence(p, y, bins, equal="mass"), p, y, clusters, level=level, resamples=resamples, seed=seed
        ),
    }
    for name, metric in confidence_metrics().items():
        estimates[name] = bootstrap(
            metric.statistic, p, y, clusters=clusters, level=level, resamples=resamples, seed=seed
        )
        if advance is not None:
            advance(name)
    return CalibrationReport(
        estimates,
        brier_parts(p, y, bins),
        ece_if_calibrated(p, y, bins, equal=equal, size=size, resamples=resamples, seed=seed),
        b,
        low,
        high,
    )
