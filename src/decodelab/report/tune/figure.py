"""What was tried, as a picture: quality against compute, or one model against another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from decodelab.report.drawing import ascii_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from decodelab.bench.tune.reversal import Reversal
    from decodelab.bench.tune.tuning import Tuning
    from decodelab.metrics.estimate import Estimate

_LINE, _OTHERS, _MARK, _BASE = "#0b5c8a", "#9db8c9", "#b3471d", "#222222"


def tuning_figure(found: Tuning) -> Figure:
    """Draw the score of every strategy against its cost, with the Pareto front."""
    figure, axes = _empty(f"{found.task}, {found.model}: tuned on {found.items} items")
    for trial in found.trials:
        if trial.refused is None:
            _dot(axes, trial.forward_tokens, trial.score, "o", "none" if trial.stopped else _OTHERS, _OTHERS)
    _dot(axes, found.baseline.forward_tokens, found.baseline.score, "s", _BASE, _BASE, found.baseline.strategy)
    on_front = sorted((t.forward_tokens, t.score) for t in (found.baseline, *found.trials) if t.on_pareto_front)
    if on_front:
        axes.step(*zip(*on_front, strict=True), where="post", color=_LINE, linewidth=1, label="Pareto front")
    if found.best is not None:
        _dot(axes, found.best.forward_tokens, found.best.score, "D", _MARK, _MARK, found.best.strategy)
    axes.set_xscale("log")
    axes.set_xlabel("forward tokens per answer", fontsize=8)
    axes.set_ylabel("score (hollow: stopped early, on fewer items)", fontsize=8)
    axes.legend(fontsize=7, frameon=False)
    return figure


def reversal_figure(found: Reversal) -> Figure:
    """Draw the score of the smaller model against that of the larger, for all settings."""
    title = f"{found.task}, {found.small} against {found.large}: searched on {found.items} items"
    figure, axes = _empty(title)
    axes.plot([0, 1], [0, 1], color=_LINE, linewidth=0.8, linestyle="--", label="equal scores")
    for pair in found.trials:
        if pair.refused is None:
            _dot(axes, pair.large, pair.small, "o", "none" if pair.stopped else _OTHERS, _OTHERS)
    for faced, pair, marker, colour in (
        (found.usual, found.baseline, "s", _BASE),
        (found.checked, found.best, "D", _MARK),
    ):
        if pair is not None:
            _dot(axes, pair.large, pair.small, marker, colour, colour, str(pair.settings))
        if faced is not None:
            _cross(axes, faced.large, faced.small, colour)
    axes.set_xlabel(_plain(f"score of {found.large}"), fontsize=8, parse_math=False)
    axes.set_ylabel(_plain(f"score of {found.small} (crosses: fresh items)"), fontsize=8, parse_math=False)
    axes.legend(fontsize=7, frameon=False)
    return figure


def _empty(title: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.set_title(_plain(title), fontsize=9, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    return figure, axes


def _dot(axes: Axes, x: float, y: float, marker: str, fill: str, edge: str, name: str = "") -> None:
    label = _plain(name).replace("$", r"\$") if name else None
    axes.plot([x], [y], marker, markersize=5, markerfacecolor=fill, markeredgecolor=edge, label=label)


def _cross(axes: Axes, x: Estimate, y: Estimate, colour: str) -> None:
    """A point with its intervals."""
    if not math.isnan(x.low) and not math.isnan(y.low):
        axes.plot([x.low, x.high], [y.value] * 2, color=colour, linewidth=0.8)
        axes.plot([x.value] * 2, [y.low, y.high], color=colour, linewidth=0.8)


def _plain(text: str) -> str:
    """Text that the font can draw, of a length that fits."""
    return ascii_text(text if len(text) <= 70 else text[:67] + "...")
