"""The results of a sweep as tables: for the terminal, as Markdown, as data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from decodelab.apps.terminal import console, one_line, visible

if TYPE_CHECKING:
    from decodelab.bench.comparison import Results, Row, Winner

HEADER = ("strategy", "score", "95 %", "to baseline", "p", "computed", "length", "")
"""Computed: forward tokens; length: tokens an answer; last: what is conspicuous."""


def print_results(results: Results) -> None:
    """A table for each task and model, and what can be said of it."""
    from rich.table import Table
    from rich.text import Text

    for (task, model), rows in _groups(results):
        table = Table(title=one_line(_title(task, model, rows)), title_justify="left", box=None, padding=(0, 1))
        for n, name in enumerate(HEADER):
            table.add_column(
                name, justify="left" if n in (0, len(HEADER) - 1) else "right", no_wrap=n < len(HEADER) - 1
            )
        for row in rows:
            table.add_row(*(Text(visible(cell)) for cell in _cells(row)))
        console().print(table)
        winner = _winner_of(results, task, model)
        if winner is not None:
            typer.echo(visible(verdict(winner)) + "\n")


def markdown(results: Results) -> str:
    """The same as Markdown."""
    lines = []
    for (task, model), rows in _groups(results):
        lines += [f"## {_escaped(_title(task, model, rows))}", "", _line(HEADER), _line(["---"] * len(HEADER))]
        lines += [_line(map(_escaped, _cells(row))) for row in rows]
        winner = _winner_of(results, task, model)
        lines += ["", _escaped(verdict(winner)), ""] if winner is not None else [""]
    note = f"Differences are to {results.baseline}, paired by item; p by permutation, Holm-corrected."
    return "\n".join([*lines, _escaped(note), ""])


def results_data(results: Results) -> dict[str, Any]:
    """The same as JSON-ready data."""
    rows = []
    for row in results.rows:
        data = asdict(row)
        rows.append({**data.pop("cell"), **data})
    return {
        "baseline": results.baseline,
        "rows": rows,
        "winners": [asdict(w) | {"says": verdict(w)} for w in results.winners],
    }


def verdict(winner: Winner) -> str:
    """What can be said of the strategies of a task and model, in a sentence."""
    if not winner.level_with:
        return f"{winner.best} wins: it differs from every other strategy."
    more = f"; {winner.items_to_tell:,} items would tell it from {winner.nearest}" if winner.items_to_tell else ""
    return f"{winner.best} has the best mean, but is not distinguishable from {', '.join(winner.level_with)}{more}."


def _groups(results: Results) -> Iterator[tuple[tuple[str, str], list[Row]]]:
    for name in dict.fromkeys((row.cell.task, row.cell.model) for row in results.rows):
        yield name, [row for row in results.rows if (row.cell.task, row.cell.model) == name]


def _winner_of(results: Results, task: str, model: str) -> Winner | None:
    return next((w for w in results.winners if (w.task, w.model) == (task, model)), None)


def _title(task: str, model: str, rows: Sequence[Row]) -> str:
    answered = {row.items for row in rows}
    items = f"{min(answered)}" if len(answered) == 1 else f"{min(answered)} to {max(answered)}"
    missing = f" of {rows[0].asked}" if answered != {rows[0].asked} else ""
    return f"{task}, {model}, {items}{missing} items"


def _cells(row: Row) -> list[str]:
    score, difference = row.score, row.difference
    known = score is not None and not math.isnan(score.low)
    flags = [f"{row.unfinished:.0%} cut off"] * (row.unfinished > 0) + [f"{row.repeated:.0%} loop"] * (row.repeated > 0)
    return [
        row.cell.strategy,
        f"{score.value:.3f}" if score is not None else "",
        f"{score.low:.2f} to {score.high:.2f}" if score is not None and known else "",
        f"{difference.value:+.3f}" if difference is not None else "",
        "" if row.p is None else f"{row.p:.3f}",
        f"{row.forward_tokens:,}",
        f"{row.tokens:.1f}",
        ", ".join(flags),
    ]


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    """Text in a Markdown table: nothing in it is markup."""
    return "".join("\\" + c if c in "\\`*_{}[]<>#|~" else c for c in visible(text))
