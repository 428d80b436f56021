"""The results of a sweep as LaTeX tables (booktabs)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from decodelab.bench.records import CellStats
from decodelab.bench.stats.comparison import Results
from decodelab.io.text import printable
from decodelab.report.sweep.table import forward_tokens, groups, title, verdict, winner_of

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    # After \\ these would be its argument.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    # Two of them would be one longer stroke.
    "-": "{-}",
} | {c: f"\\{c}" for c in "{}$&#_%"}
_COLUMNS = ("strategy", "score", r"95\,\%", "difference", "$p$", "forward tokens", "seconds", "length")


def latex(results: Results) -> str:
    """A table for each task and model; names are printed as they are. It needs the packages booktabs and textcomp.

    Best means are bold, and so are those that are not significantly different from them.
    """
    lines = ["% \\usepackage{booktabs,textcomp}", *_glance(results)]
    for number, ((task, model), rows) in enumerate(groups(results), 1):
        winner = winner_of(results, task, model)
        bold = {winner.best, *winner.level_with} if winner is not None else set()
        said = f" {escaped(verdict(winner))}" if winner is not None else ""
        caption = (
            f"{escaped(title(task, model, rows))}. Differences to {escaped(results.baseline)}, paired by item; "
            f"$p$ values by permutation, Holm-corrected.{said}"
        )
        cells = [_line(_COLUMNS), *(_line(_cells(row, row.strategy in bold)) for row in rows)]
        lines += _table(caption, str(number), "l" + "r" * (len(_COLUMNS) - 1), cells)
    return "\n".join(lines)


def _glance(results: Results) -> list[str]:
    """All mean scores in one table, strategies by tasks and models, where there are several."""
    shown = dict(groups(results))
    if len(shown) < 2:
        return []
    scores = {(*names, r.strategy): r.score for names, rows in shown.items() for r in rows if r.score is not None}
    good = {(*names, name) for names in shown if (w := winner_of(results, *names)) for name in (w.best, *w.level_with)}
    lines = [_line(["strategy", *(rf"\shortstack{{{escaped(t)}\\{escaped(m)}}}" for t, m in shown)])]
    for strategy in dict.fromkeys(row.strategy for row in results.cells):
        cells = [escaped(strategy)]
        for names in shown:
            score = scores.get((*names, strategy))
            value = "" if score is None else f"{score.value:.3f}"
            cells.append(rf"\textbf{{{value}}}" if value and (*names, strategy) in good else value)
        lines.append(_line(cells))
    said = "Mean scores; bold: the best of its column, and those not significantly different from it."
    return _table(said, "glance", "l" + "r" * len(shown), lines)


def _table(caption: str, label: str, columns: str, lines: Sequence[str]) -> list[str]:
    return [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:decodelab-{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        lines[0],
        r"\midrule",
        *lines[1:],
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]


def escaped(text: str) -> str:
    r"""Text that LaTeX prints as it is.

    >>> print(escaped(r"50% of_a & \input{x}"))
    50\% of\_a \& \textbackslash{}input\{x\}
    """
    return "".join(_SPECIAL.get(c, c) for c in printable(text))


def _cells(row: CellStats, bold: bool) -> list[str]:
    score, difference = row.score, row.difference
    value = "" if score is None else f"{score.value:.3f}"
    return [
        escaped(row.strategy),
        rf"\textbf{{{value}}}" if bold else value,
        "" if score is None or math.isnan(score.low) else f"{score.low:.2f} to {score.high:.2f}",
        "" if difference is None else f"${difference.value:+.3f}$",
        "" if row.p is None else f"{row.p:.3f}",
        f"{forward_tokens(row):,.1f}",
        f"{row.seconds:.3g}",
        f"{row.tokens:.1f}",
    ]


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
