"""The results of a sweep as LaTeX tables (booktabs)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from decodelab.apps.bench_table import forward_tokens, groups, title, verdict, winner_of
from decodelab.apps.terminal import visible
from decodelab.bench.comparison import Results, Row

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
    """A table for each task and model; nothing in a name is a command. It needs the packages booktabs and textcomp.

    Best means are bold, and so are those not distinguishable from them.
    """
    lines = ["% \\usepackage{booktabs,textcomp}"]
    for number, ((task, model), rows) in enumerate(groups(results), 1):
        winner = winner_of(results, task, model)
        bold = {winner.best, *winner.level_with} if winner is not None else set()
        said = f" {escaped(verdict(winner))}" if winner is not None else ""
        lines += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(title(task, model, rows))}. Differences to {escaped(results.baseline)}, paired by "
            rf"item; $p$ by permutation, Holm-corrected.{said}}}",
            rf"\label{{tab:decodelab-{number}}}",
            r"\begin{tabular}{lrrrrrrr}",
            r"\toprule",
            _line(_COLUMNS),
            r"\midrule",
            *(_line(_cells(row, row.cell.strategy in bold)) for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    return "\n".join(lines)


def escaped(text: str) -> str:
    r"""Text that LaTeX prints as it is.

    >>> print(escaped(r"50% of_a & \input{x}"))
    50\% of\_a \& \textbackslash{}input\{x\}
    """
    return "".join(_SPECIAL.get(c, c) for c in visible(text))


def _cells(row: Row, bold: bool) -> list[str]:
    score, difference = row.score, row.difference
    value = "" if score is None else f"{score.value:.3f}"
    return [
        escaped(row.cell.strategy),
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
