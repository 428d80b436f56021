"""Quality against compute as one picture: a row a task, a column a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from decodelab.bench.records import CellStats
from decodelab.bench.stats.comparison import Results
from decodelab.report.drawing import ascii_text, png_bytes
from decodelab.report.sweep.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, plot, points_of
from decodelab.report.sweep.table import forward_tokens, groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FRONT, _BEHIND = "#0b5c8a", "#8fa9b8"
_WIDTH, _HEIGHT = 4.6, 3.2
_LARGEST = 60_000
"""Pixels: more than the renderer takes is drawn smaller."""


def to_png(results: Results) -> bytes:
    """Draw every strategy's score with its interval over the tokens that an answer computes; the front is joined."""
    from matplotlib.figure import Figure

    shown = dict(groups(results))
    tasks = list(dict.fromkeys(task for task, _ in shown))
    models = list(dict.fromkeys(model for _, model in shown))
    width, height = _WIDTH * max(len(models), 1), _HEIGHT * max(len(tasks), 1)
    figure = Figure(figsize=(width, height), dpi=min(130.0, _LARGEST / max(width, height)), layout="constrained")
    grid = figure.subplots(max(len(tasks), 1), max(len(models), 1), squeeze=False)
    for i, task in enumerate(tasks):
        for j, model in enumerate(models):
            _draw(grid[i, j], f"{task}, {model}", shown.get((task, model), ()))
    return png_bytes(figure)


def _draw(axes: Axes, title: str, rows: Sequence[CellStats]) -> None:
    """The report's plot; matplotlib is but the canvas, so that both are alike."""
    axes.set_title(ascii_text(title), fontsize=9, parse_math=False)
    drawn = plot("forward tokens per answer", points_of(rows, forward_tokens))
    if drawn is None:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing to compare yet", ha="center", fontsize=8, transform=axes.transAxes)
        return
    axes.set_xlim(LEFT, WIDTH - RIGHT)
    axes.set_ylim(HEIGHT - BOTTOM, TOP)
    axes.set_xticks([x for x, _ in drawn.xticks], [text for _, text in drawn.xticks], fontsize=8)
    axes.set_yticks([y for y, _ in drawn.yticks], [text for _, text in drawn.yticks], fontsize=8)
    axes.set_xlabel(drawn.title, fontsize=8)
    axes.set_ylabel("score", fontsize=8)
    axes.grid(alpha=0.25)
    axes.plot(*zip(*drawn.front, strict=True), color=_FRONT, linestyle="--", linewidth=0.8)
    for point in drawn.points:
        colour = _FRONT if point.front else _BEHIND
        if point.low is not None and point.high is not None:
            axes.plot([point.x, point.x], [point.low, point.high], color=colour, linewidth=1.2, alpha=0.6)
        axes.plot([point.x], [point.y], "o", color=colour, markersize=5, fillstyle="full" if point.front else "none")
        if point.label is not None:
            x, y, side = point.label
            place = {"ha": {"start": "left", "middle": "center", "end": "right"}[side], "fontsize": 7}
            axes.text(x, y, ascii_text(point.point.name)[:24], parse_math=False, **place)
