"""Traces as one self-contained HTML file with interactive plots."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from decodelab.analysis.trace import UNDER, Path, Trace
from decodelab.analysis.trace_results import Result, by_prompt
from decodelab.io.text import printable
from decodelab.report.page import environment, script_digest, template_text
from decodelab.report.trace.curves import curves, logit_steps
from decodelab.report.trace.results import columns, legend, names
from decodelab.report.trace.table import token_name

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_LINE, _OTHERS, _REMOVED, _MARK = "#0b5c8a", "#9db8c9", "#b9b3a8", "#b3471d"
_HEIGHT, _WIDTH = 230, 400
_TITLE = 52
"""Characters of a title that fit over a column."""
# Left to itself, plotly 7 offers a button that uploads the plot to its makers.
_CONFIG = '{displaylogo: false, showSendToCloud: false, plotlyServerURL: ""}'


def to_html(traces: Sequence[Trace]) -> str:
    """Render traces.

    Everything a model or a prompt says is escaped: unseen characters become visible escapes, then the template escapes
    HTML, and the plots' data has no character that could end a script. A content security policy allows the two
    scripts of the page and nothing else.
    """
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    templates = environment()
    library = get_plotlyjs()
    blocks = by_prompt(traces)
    figures = (_script_data(_figure(block)) for block in blocks)
    draw = "\n".join(
        f'Plotly.newPlot("plot-{i}", {{...{figure}, config: {_CONFIG}}});' for i, figure in enumerate(figures, 1)
    )
    results = [Result.of(trace) for trace in traces]
    return templates.get_template("trace.html").render(
        blocks=blocks,
        texts=names(results, [trace.strategy for trace in traces]),
        numbers=columns(results),
        legend=legend(results),
        width=_width(max(map(len, blocks))),
        under=UNDER,
        style=template_text("compare.css"),
        library=Markup(library),
        draw=Markup(draw),
        digests=[script_digest(library), script_digest(draw)],
    )


def _script_data(figure: Figure) -> str:
    """A figure as JSON that cannot close the script element around it."""
    text = str(figure.to_json(engine="json"))
    for unsafe in "<>&\u2028\u2029":
        text = text.replace(unsafe, f"\\u{ord(unsafe):04x}")
    return text


def _hover(text: str) -> str:
    """Model-written text for plotly, which interprets some HTML in labels."""
    return html.escape(printable(text))


def _width(strategies: int) -> int:
    """The width of a figure in pixels."""
    return 60 + _WIDTH * max(2, strategies)


def _figure(traces: Sequence[Trace]) -> Figure:
    """One column per strategy, one row per quantity, then one row per step with requested logits."""
    from plotly.subplots import make_subplots

    steps = logit_steps(traces)
    above = max(len(curves(trace.paths[0])) for trace in traces)
    rows = above + len(steps)
    figure = make_subplots(
        rows,
        len(traces),
        column_titles=[
            "<br>".join(_hover(line) for line in textwrap.wrap(printable(trace.strategy), _TITLE)) for trace in traces
        ],
        vertical_spacing=0.2 / rows,
        horizontal_spacing=0.25 / len(traces),
    )
    for column, trace in enumerate(traces, 1):
        for path in reversed(trace.paths):
            _add_curves(figure, path, column, front=path is trace.paths[0])
        for row, step in enumerate(steps, above + 1):
            _add_histogram(figure, trace.paths[0], step, row, column, first=row == above + 1 and column == 1)
    _share_scales(figure, above, len(traces))
    line = "rgba(128, 128, 128, 0.3)"
    figure.update_xaxes(gridcolor=line, zeroline=False, title_standoff=2)
    figure.update_yaxes(gridcolor=line, zeroline=False, title_standoff=4)
    figure.update_layout(
        template="none",
        height=150 + _HEIGHT * rows,
        width=_width(len(traces)),
        margin={"l": 60, "r": 20, "t": 110, "b": 40},
        showlegend=bool(steps),
        legend={"orientation": "h", "yanchor": "bottom", "y": 1 + 40 / (_HEIGHT * rows), "x": 0},
        barmode="stack",
        bargap=0,
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        font={"color": "#7a766e", "size": 11},
    )
    return figure


def _add_curves(figure: Figure, path: Path, column: int, *, front: bool) -> None:
    from plotly.graph_objects import Scatter

    tokens = [f"step {s.step}: {_hover(token_name(s.token_text))}" for s in path.steps]
    for row, curve in enumerate(curves(path), 1):
        figure.add_trace(
            Scatter(
                x=list(range(1, len(curve.values) + 1)),
                y=list(curve.values),
                text=tokens,
                showlegend=False,
                mode="lines" if len(curve.values) > 1 else "markers",
                line={"color": _LINE if front else _OTHERS, "width": 1.5 if front else 0.7},
                hovertemplate="%{text}<br>%{y:.4g}<extra></extra>",
            ),
            row=row,
            col=column,
        )
        if front:
            kind = "log" if curve.log and any(value > 0 for value in curve.values) else "linear"
            figure.update_yaxes(title_text=_hover(curve.label), type=kind, row=row, col=column)
            # Whole numbers: a tick at 2.5 is no step.
            ticks: dict[str, Any] = {"tickformat": "d", "dtick": 1} if len(curve.values) <= 8 else {"tickformat": "d"}
            figure.update_xaxes(title_text="step", **ticks, row=row, col=column)


def _add_histogram(figure: Figure, path: Path, step: int, row: int, column: int, *, first: bool) -> None:
    """The logits of a step; the first of a page names its colours in the legend."""
    from plotly.graph_objects import Bar, Scatter

    found = next((s for s in path.steps if s.step == step), None)
    if found is None or found.logits is None:
        return
    logits = found.logits
    middle = [(a + b) / 2 for a, b in zip(logits.edges, logits.edges[1:], strict=False)]
    for name, counts, colour in (("removed", logits.removed, _REMOVED), ("kept", logits.kept, _LINE)):
        template = f"%{{y}} {name} about %{{x:.2f}}<extra></extra>"
        bars = Bar(
            x=middle,
            y=list(counts),
            name=name,
            legendgroup=name,
            showlegend=first,
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate=template,
        )
        figure.add_trace(bars, row=row, col=column)
    figure.add_trace(
        Scatter(
            x=[logits.chosen],
            y=[0.7],
            name="chosen",
            legendgroup="chosen",
            showlegend=first,
            mode="markers",
            marker={"color": _MARK, "symbol": "triangle-down", "size": 10},
            text=[_hover(token_name(found.token_text))],
            hovertemplate="chosen: %{text}, logit %{x:.3f}<extra></extra>",
        ),
        row=row,
        col=column,
    )
    if logits.cut_off is not None:
        figure.add_vline(logits.cut_off, line={"color": _MARK, "dash": "dash"}, row=row, col=column)  # pyright: ignore[reportArgumentType]
    # From a half, so that a single token is more than nothing on a logarithmic scale.
    scale = {"type": "log", "range": [math.log10(0.5), math.log10(2 * max(*logits.kept, *logits.removed))]}
    figure.update_yaxes(title_text=f"tokens at step {step}", **scale, row=row, col=column)
    # Plotly ends the axis at the middles of the outermost bars.
    width = logits.edges[1] - logits.edges[0]
    ends = [logits.edges[0] - width, logits.edges[-1] + width]
    figure.update_xaxes(title_text="logit", range=ends, row=row, col=column)


def _share_scales(figure: Figure, rows: int, columns: int) -> None:
    """Use one scale for equal quantities of a row, so that strategies can be compared."""
    for row in range(1, rows + 1):
        first: dict[str, str] = {}
        for column in range(1, columns + 1):
            (axis,) = figure.select_yaxes(row=row, col=column)
            label = axis.title.text
            if label is None:
                continue
            name = axis.plotly_name.replace("axis", "")
            if label in first:
                axis.matches = first[label]
            first.setdefault(label, name)
