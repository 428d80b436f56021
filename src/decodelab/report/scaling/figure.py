"""Quality against compute as curves with their 95 % bands: a row a task, a column a model."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from decodelab.bench.scaling.curves import ALONE
from decodelab.bench.scaling.selecting import ANY
from decodelab.bench.scaling.study import Scaling
from decodelab.report.drawing import ascii_text, png_bytes
from decodelab.report.scaling.table import shown
from decodelab.report.sweep.plot import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#0b5c8a", "#c2571a", "#2f7d4f", "#8a3f8f", "#8a6d1c", "#4a4a8a", "#a33b3b", "#3a8a8a")
_WIDTH, _HEIGHT = 6.4, 3.8
_LARGEST = 60_000
"""Pixels: more than the renderer takes is drawn smaller."""


def to_png(found: Sequence[Scaling]) -> bytes:
    """All tasks and models as one picture."""
    tasks = list(dict.fromkeys(study.task for study in found))
    models = list(dict.fromkeys(study.model for study in found))
    figure, grid = _grid(len(tasks), len(models))
    for axes in grid.flat:
        axes.set_axis_off()
    for study in found:
        _draw(grid[tasks.index(study.task), models.index(study.model)], study)
    return png_bytes(figure)


def to_svg(study: Scaling) -> str:
    """One task and model as an SVG element; the same data give the same text."""
    import matplotlib

    figure, grid = _grid(1, 1)
    _draw(grid[0, 0], study)
    out = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "decodelab", "svg.fonttype": "path"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue().decode()
    return text[text.index("<svg") :]


def _grid(rows: int, columns: int) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    width, height = _WIDTH * max(columns, 1), _HEIGHT * max(rows, 1)
    figure = Figure(figsize=(width, height), dpi=min(130.0, _LARGEST / max(width, height)), layout="constrained")
    return figure, figure.subplots(max(rows, 1), max(columns, 1), squeeze=False)


def _draw(axes: Axes, study: Scaling) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_axis_on()
    axes.set_title(ascii_text(f"{study.task}, {study.model}"), fontsize=9, parse_math=False)
    colours = iter(_COLOURS * (len(study.curves) // len(_COLOURS) + 1))
    drawn = {curve.strategy for curve in study.curves if curve.selection != ALONE}
    for curve in study.curves:
        x = [point.forward_tokens for point in curve.points]
        y = [point.score.value for point in curve.points]
        if curve.selection == ALONE:
            if curve.strategy in drawn:
                continue  # it is where the curves of its samples begin
            colour = next(colours)
            point = curve.points[0]
            axes.plot(x, y, "D", color=colour, markersize=5, label=ascii_text(curve.strategy)[:40])
            axes.plot([x[0], x[0]], [point.score.low, point.score.high], color=colour, linewidth=1, alpha=0.6)
            continue
        colour = "#777777" if curve.selection == ANY else next(colours)
        style = "--" if curve.selection == ANY else "-"
        axes.plot(x, y, style, marker="o", markersize=3.5, color=colour, label=ascii_text(shown(curve))[:56])
        axes.fill_between(
            x,
            [p.score.low for p in curve.points],
            [p.score.high for p in curve.points],
            color=colour,
            alpha=0.09,
            linewidth=0,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.tick_params(labelsize=8)
    axes.set_xlabel("forward tokens of an item", fontsize=8)
    axes.set_ylabel("score", fontsize=8)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
