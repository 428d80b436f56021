"""Traces as one image: for each prompt on each model a block with a column per strategy and a row per quantity."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from decodelab.analysis.trace import Logits, Path, Trace
from decodelab.analysis.trace_results import by_prompt
from decodelab.report.drawing import ascii_text, png_bytes
from decodelab.report.trace.curves import Curve, curves, logit_steps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

_WIDTH, _HEIGHT = 3.4, 1.9
_COLUMNS = 6
"""Columns up to which blocks stand side by side."""
_TITLE = 36
"""Characters of a title that fit over a column."""
_LARGEST = 60_000
"""Largest side in pixels; larger figures are scaled down."""
_LINE, _OTHERS, _REMOVED, _MARK = "#0b5c8a", "#9db8c9", "#c9c4ba", "#b3471d"


def to_png(traces: Sequence[Trace]) -> bytes:
    """Draw traces, with the best candidate of each in front; each prompt on each model is a block of its own."""
    from matplotlib.figure import Figure

    blocks = by_prompt(traces)
    across = max(len(block) for block in blocks)
    beside = min(len(blocks), max(1, _COLUMNS // across))
    down = -(-len(blocks) // beside)
    rows = max(_rows(block) for block in blocks)
    width, height = max(7.0, _WIDTH * across * beside), (0.6 + _HEIGHT * rows) * down
    dpi = min(100.0, _LARGEST / max(width, height))
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    places = figure.subfigures(down, beside, squeeze=False).flat
    for place, block in zip(places, blocks, strict=False):
        _draw_block(place, block, width / beside)
    return png_bytes(figure)


def _rows(block: Sequence[Trace]) -> int:
    """The rows that a block has: of curves, then of logits."""
    return max(len(curves(trace.paths[0])) for trace in block) + len(logit_steps(block))


def _draw_block(figure: SubFigure, traces: Sequence[Trace], width: float) -> None:
    """The traces of one prompt on one model, a column each, in a part of the figure of this width in inches."""
    columns = [[curves(path) for path in trace.paths] for trace in traces]
    steps = logit_steps(traces)
    above = max(len(paths[0]) for paths in columns)
    title = "\n".join(textwrap.wrap(ascii_text(_title(traces)), int(width * 13)))
    figure.suptitle(title, fontsize=9, parse_math=False)
    grid = figure.subplots(above + len(steps), len(traces), squeeze=False)
    for column, (trace, paths) in enumerate(zip(traces, columns, strict=True)):
        for row in range(above):
            axes = grid[row, column]
            if row < len(paths[0]):
                _draw_curve(axes, [path[row] for path in paths if row < len(path)])
            else:
                axes.set_axis_off()
        title = "\n".join(textwrap.wrap(ascii_text(trace.strategy), _TITLE)) or trace.strategy
        grid[0, column].set_title(title, fontsize=9, fontweight="bold", parse_math=False)
        for row, step in enumerate(steps, above):
            _draw_logits(grid[row, column], trace.paths[0], step)
    for row in range(above):
        _share_scales(grid[row])


def _title(traces: Sequence[Trace]) -> str:
    generation = traces[0].generation
    prompt = generation.prompt if len(generation.prompt) <= 60 else generation.prompt[:57] + "..."
    return f"{generation.model}, seed {generation.seed}: {prompt!r}"


def _draw_curve(axes: Axes, same: Sequence[Curve]) -> None:
    """One quantity of all candidates of a strategy, the best on top."""
    from matplotlib.ticker import MaxNLocator

    for rank, curve in reversed(list(enumerate(same))):
        steps = range(1, len(curve.values) + 1)
        front = rank == 0
        axes.plot(steps, curve.values, color=_LINE if front else _OTHERS, linewidth=1.2 if front else 0.6)
    if same[0].log and any(value > 0 for value in same[0].values):
        axes.set_yscale("log")
    axes.set_ylabel(same[0].label, fontsize=8, parse_math=False)
    axes.set_xlabel("step", fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(which="both", labelsize=7)
    axes.grid(alpha=0.25)


def _draw_logits(axes: Axes, path: Path, step: int) -> None:
    """The histogram of a step's logits: kept, removed, the cut-off and the chosen token."""
    found = next((s.logits for s in path.steps if s.step == step), None)
    if found is None:
        axes.set_axis_off()
        axes.text(0.5, 0.5, f"no step {step}", ha="center", va="center", fontsize=8, transform=axes.transAxes)
        return
    _draw_histogram(axes, found)
    axes.set_ylabel(f"tokens at step {step}", fontsize=8)
    axes.set_xlabel("logit", fontsize=7)
    axes.tick_params(labelsize=7)


def _draw_histogram(axes: Axes, logits: Logits) -> None:
    left, width = logits.edges[:-1], logits.edges[1] - logits.edges[0]
    axes.bar(left, logits.removed, width, align="edge", color=_REMOVED, label="removed")
    axes.bar(left, logits.kept, width, bottom=logits.removed, align="edge", color=_LINE, label="kept")
    axes.set_yscale("symlog", linthresh=1)
    if logits.cut_off is not None:
        axes.axvline(logits.cut_off, color=_MARK, linewidth=1, linestyle="--", label="cut-off")
    axes.plot([logits.chosen], [0.5], "v", color=_MARK, markersize=5, label="chosen")
    above = {"loc": "lower left", "bbox_to_anchor": (0.0, 0.98), "ncols": 4, "columnspacing": 1.0}
    axes.legend(fontsize=6, frameon=False, **above)


def _share_scales(row: Sequence[Axes]) -> None:
    """Use one scale for equal quantities of a row, so that strategies can be compared."""
    alike: dict[str, list[Axes]] = {}
    for axes in row:
        alike.setdefault(axes.get_ylabel(), []).append(axes)
    for group in alike.values():
        limits = [axes.get_ylim() for axes in group]
        for axes in group:
            axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
