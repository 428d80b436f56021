"""Gaps against beam widths as an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decodelab.report.drawing import ascii_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from decodelab.analysis.gap import Gap

_LINE, _OTHERS, _BAND = "#0b5c8a", "#9db8c9", "#dce7ee"


def figure_of(gap: Gap) -> Figure:
    """Draw the gap of every prompt, their mean, and the share of prompts below the optimum, against the width."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), dpi=100, layout="constrained")
    figure.suptitle(ascii_text(title_of(gap)), fontsize=9, parse_math=False)
    left, right = figure.subplots(1, 2)
    _draw_gaps(left, gap)
    _draw_shares(right, gap)
    for axes in (left, right):
        axes.set_xticks(range(len(gap.widths)), ["greedy" if w == 1 else f"beam {w}" for w in gap.widths], fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
    return figure


def title_of(gap: Gap) -> str:
    """A one-line title: model, prompts, limit, proofs."""
    return f"{gap.model}, {len(gap.cases)} prompts, at most {gap.max_new_tokens} tokens, {gap.proved} optima proved"


def _draw_gaps(axes: Axes, gap: Gap) -> None:
    places = range(len(gap.widths))
    for case in gap.cases:
        gaps = [max(o.gap, 0.0) for o in case.outcomes]
        axes.plot(places, gaps, color=_OTHERS, linewidth=0.6, linestyle="-" if case.proved else ":")
    summaries = gap.summaries()
    low = [max(s.mean_gap, 0.0) for s in summaries]
    high = [max(s.mean_gap_bound, 0.0) for s in summaries]
    if gap.proved < len(gap.cases):
        axes.fill_between(places, low, high, color=_BAND, label="mean, bound")
    axes.plot(places, low, color=_LINE, marker="o", markersize=3, label="mean, to the best known sequence")
    axes.set_ylabel("gap to the optimum (nats)", fontsize=8)
    axes.legend(fontsize=7, frameon=False)


def _draw_shares(axes: Axes, gap: Gap) -> None:
    places = range(len(gap.widths))
    summaries = gap.summaries()
    for name, values, style in (
        ("below the best known sequence", [s.below for s in summaries], "-"),
        ("a shorter sequence wins", [s.shorter for s in summaries], "--"),
        ("the empty sequence wins", [s.empty for s in summaries], ":"),
    ):
        shares = [100 * value / len(gap.cases) for value in values]
        axes.plot(places, shares, color=_LINE, linestyle=style, marker="o", markersize=3, label=name)
    axes.set_ylim(-3, 103)
    axes.set_ylabel("share of prompts (%)", fontsize=8)
    axes.legend(fontsize=7, frameon=False)
