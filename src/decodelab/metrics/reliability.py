"""Reliability diagrams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from decodelab.metrics.calibration import Bins
from decodelab.metrics.checks import Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability_diagram(
    bins: Bins,
    low: Floats,
    high: Floats,
    *,
    title: str = "",
    after: tuple[Bins, Floats, Floats] | None = None,
) -> Figure:
    """Accuracy against confidence, bin by bin, with intervals; below, how many items each bin has.

    Perfect calibration is the diagonal: points above it are underconfident, below it overconfident. A bin whose
    interval holds the diagonal may be calibrated.

    Args:
        bins: from `decodelab.metrics.calibration.bin_by_confidence`.
        low: lower ends of the accuracies' intervals (`Bins.accuracy_intervals`).
        high: upper ends.
        title: stands above, literally.
        after: the same after recalibration, drawn beside it.

    Returns:
        A matplotlib Figure that belongs to no window: `figure.savefig("diagram.png")`.

    Source: DeGroot and Fienberg 1983; Niculescu-Mizil and Caruana 2005.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 6.0), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="perfect")
    shown = [("as given", "C0", -1, (bins, low, high))]
    if after is not None:
        shown.append(("recalibrated", "C1", 1, after))
    for name, colour, side, (b, lower, upper) in shown:
        errors = np.clip(np.stack([b.accuracy - lower, upper - b.accuracy]), 0, None)
        top.errorbar(b.confidence, b.accuracy, yerr=errors, fmt="o", markersize=5, capsize=3, color=colour, label=name)
        width = 0.03 if after is not None else 0.05
        offset = side * width / 2 if after is not None else 0.0
        bars = bottom.bar((b.low + b.high) / 2 + offset, b.count, width=width, color=colour, alpha=0.7)
        bottom.bar_label(bars, labels=[str(c) for c in b.count], fontsize=7)
    top.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), ylabel="accuracy")
    top.legend(loc="upper left", frameon=False)
    top.set_title(title, fontsize=10, parse_math=False)
    bottom.set(xlabel="confidence", ylabel="items")
    bottom.margins(y=0.2)
    return figure
