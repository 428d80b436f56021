"""The pictures of `engine.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from contest import Result
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

_OURS, _THEIRS = "#0b5c8a", "#b3471d"

AXES = {
    "width": "beams of a prompt",
    "prompt": "tokens of the prompt",
    "prompts": "prompts at once",
}
"""What grows, by the attribute of a case."""


def draw_growth(title: str, results: dict[str, Sequence[Result]], file: Path) -> None:
    """Draw seconds and cache bytes of both as each of `AXES` grows.

    Args:
        title: above all of it.
        results: by what grows in them.
        file: the PNG to write.
    """
    figure = Figure(figsize=(10, 6), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(2, len(results), squeeze=False, sharey="row")
    for column, (attribute, found) in enumerate(results.items()):
        ordered = sorted(found, key=lambda r: getattr(r.case, attribute))
        at = [getattr(r.case, attribute) for r in ordered]
        fixed = ", ".join(f"{name} {getattr(ordered[0].case, name)}" for name in AXES if name != attribute)
        upper, lower = grid[0, column], grid[1, column]
        upper.set_title(fixed, fontsize=8)
        _line(upper, at, [r.theirs for r in ordered], "transformers", _THEIRS)
        _line(upper, at, [r.ours for r in ordered], "decodelab", _OURS)
        _line(lower, at, [r.their_bytes / 1e6 for r in ordered], "transformers", _THEIRS)
        # Ours are for one prompt; this many ran side by side.
        _line(lower, at, [r.our_bytes * r.case.prompts / 1e6 for r in ordered], "decodelab", _OURS)
        for r, x in zip(ordered, at, strict=True):
            upper.annotate(f"{r.ratio:.1f}x", (x, r.ours), (0, -11), textcoords="offset points", ha="center", size=7)
        for axes in (upper, lower):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xticks(at, [str(n) for n in at])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.grid(alpha=0.25)
            axes.tick_params(labelsize=8)
        lower.set_xlabel(AXES[attribute], fontsize=9)
    grid[0, 0].set_ylabel("seconds", fontsize=9)
    grid[1, 0].set_ylabel("cache, MB", fontsize=9)
    grid[0, 0].legend(fontsize=8)
    _save(figure, file)


def draw_memory(title: str, points: Sequence[tuple[int, float]], file: Path) -> None:
    """Draw resident megabytes against jobs done."""
    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    axes.plot([jobs for jobs, _ in points], [megabytes for _, megabytes in points], color=_OURS)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("jobs done", fontsize=9)
    axes.set_ylabel("resident memory, MB", fontsize=9)
    axes.grid(alpha=0.25)
    _save(figure, file)


def _line(axes: Axes, at: Sequence[int], values: Sequence[float], label: str, colour: str) -> None:
    axes.plot(at, values, color=colour, marker="o", markersize=3, linewidth=1.3, label=label)


def _save(figure: Figure, file: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(file, metadata={"Software": "decodelab"})
