"""The results of a sweep as LaTeX tables (booktabs)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from decodelab.bench.records import CellStats
from decodelab.bench.stats.comparison import Results
from decodelab.bench.stats.winner import Winner
from decodelab.io.text import printable
from decodelab.report.number import p_value, signed
from decodelab.report.sweep.table import forward_tokens, groups, no_answer, title, unread, verdict_of, winner_of

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
_COLUMNS = ("strategy", "score", r"95\,\%", "difference", "$p$", "forward tokens", "seconds", "length", "no answer")


def latex(results: Results) -> str:
    """A table for each task and model; names are printed as they are. It needs the packages booktabs and textcomp.

    The highest means are bold; an asterisk marks those that no other strategy is better than by more than the margin.
    """
    lines = ["% \\usepackage{booktabs,textcomp}", *_glance(results)]
    for number, ((task, model), rows) in enumerate(groups(results), 1):
        winner = winner_of(results, task, model)
        said = "".join(f" {escaped(text)}" for text in (verdict_of(results, task, model, rows), unread(rows)) if text)
        caption = (
            f"{escaped(title(task, model, rows))}. Differences to {escaped(results.baseline)}, paired by item; "
            f"$p$ values by permutation, corrected over all pairs.{said}"
        )
        cells = [_line(_COLUMNS), *(_line(_cells(row, winner)) for row in rows)]
        lines += _table(caption, str(number), "l" + "r" * (len(_COLUMNS) - 1), cells)
    return "\n".join(lines)


def _glance(results: Results) -> list[str]:
    """All mean scores in one table, strategies by tasks and models, where there are several."""
    shown = dict(groups(results))
    if len(shown) < 2:
        return []
    scores = {(*names, r.strategy): r.score for names, rows in shown.items() for r in rows if r.score is not None}
    lines = [_line(["strategy", *(rf"\shortstack{{{escaped(t)}\\{escaped(m)}}}" for t, m in shown)])]
    for strategy in dict.fromkeys(row.strategy for row in results.cells):
        cells = [escaped(strategy)]
        for names in shown:
            score = scores.get((*names, strategy))
            cells.append("" if score is None else _marked(score.value, strategy, winner_of(results, *names)))
        lines.append(_line(cells))
    which = "Mean scores over answered items only" if results.answered_only else "Mean scores"
    said = rf"{which}; bold: the highest of its column; $^*$: as good, no other is better by more than the margin."
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


def _marked(value: float, strategy: str, winner: Winner | None) -> str:
    """A mean, bold if it is the highest, with an asterisk if it is as good."""
    text = f"{value:.3f}"
    if winner is None:
        return text
    text = rf"\textbf{{{text}}}" if strategy in (winner.best, *winner.tied) else text
    return f"{text}$^*$" if strategy in winner.as_good else text


def _cells(row: CellStats, winner: Winner | None) -> list[str]:
    score, difference = row.score, row.difference
    return [
        escaped(row.strategy),
        "" if score is None else _marked(score.value, row.strategy, winner),
        "" if score is None or math.isnan(score.low) else f"{score.low:.2f} to {score.high:.2f}",
        "" if difference is None else f"${signed(difference.value)}$",
        "" if row.p is None else f"${p_value(row.p)}$",
        f"{forward_tokens(row):,.1f}",
        f"{row.seconds:.3g}",
        f"{row.tokens:.1f}",
        escaped(no_answer(row)),
    ]


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
