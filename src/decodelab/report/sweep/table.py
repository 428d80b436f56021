"""The results of a sweep as tables: for the terminal, as Markdown, as data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from decodelab.io.text import printable
from decodelab.report.console import console, one_line

if TYPE_CHECKING:
    from decodelab.bench.records import CellStats
    from decodelab.bench.stats.comparison import Results
    from decodelab.bench.stats.winner import Winner

HEADER = ("strategy", "score", "95 %", "vs base", "p", "forward", "length", "cut off", "loops")
"""Forward: tokens computed an answer, the prompt's included; length: tokens written."""


def print_results(results: Results) -> None:
    """A table for each task and model, and what can be said of it."""
    from rich.table import Table
    from rich.text import Text

    for (task, model), rows in groups(results):
        table = Table(title=one_line(title(task, model, rows)), title_justify="left", box=None, padding=(0, 1, 0, 0))
        for name in HEADER:
            table.add_column(name, justify="left" if name == HEADER[0] else "right", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in _cells(row)))
        console().print(table)
        for row in rows:
            if row.more:
                further = ", ".join(f"{name} {value:.3g}" for name, value in row.more.items())
                typer.echo(printable(f"{row.strategy}: {further}"))
        if odd := odd_lengths(rows, results.baseline):
            typer.echo(printable(odd))
        winner = winner_of(results, task, model)
        if winner is not None:
            typer.echo(printable(verdict(winner)) + "\n")
    if len(results.winners) > 1:
        typer.echo(printable(advice(results)))


def markdown(results: Results) -> str:
    """The same as Markdown."""
    # A paragraph that began with a name might be a list.
    lines = [f"In all: {_escaped(advice(results))}", ""]
    for (task, model), rows in groups(results):
        more = more_of(rows)
        header = [*HEADER, *map(_escaped, more)]
        lines += [f"## {_escaped(title(task, model, rows))}", "", _line(header), _line(["---"] * len(header))]
        for row in rows:
            further = [f"{row.more[name]:.3g}" if name in row.more else "" for name in more]
            lines.append(_line(map(_escaped, [*_cells(row), *further])))
        if odd := odd_lengths(rows, results.baseline):
            lines += ["", _escaped(odd)]
        winner = winner_of(results, task, model)
        lines += ["", f"So: {_escaped(verdict(winner))}", ""] if winner is not None else [""]
    note = f"Differences are to {results.baseline}, paired by item; p by permutation, Holm-corrected."
    return "\n".join([*lines, _escaped(note), ""])


def results_data(results: Results) -> dict[str, Any]:
    """The same as JSON-ready data."""
    return {
        "baseline": results.baseline,
        "advice": advice(results),
        "rows": [asdict(row) for row in results.cells],
        "winners": [asdict(w) | {"says": verdict(w)} for w in results.winners],
        "agreement": [asdict(pair) for pair in results.agreement],
        "calibration": [asdict(cell) for cell in results.calibration],
    }


def verdict(winner: Winner) -> str:
    """What can be said of the strategies of a task and model, in a sentence."""
    others = f" Too little is answered of {', '.join(winner.left_out)}." if winner.left_out else ""
    if not winner.level_with:
        return f"{winner.best} wins: it differs from every other strategy.{others}"
    level = ", ".join(winner.level_with)
    if winner.nearest is None:
        have = "has" if len(winner.level_with) == 1 else "have"
        return f"{winner.best} has the best mean, and so {have} {level}.{others}"
    more = f"; {winner.items_needed:,} items would tell it from {winner.nearest}" if winner.items_needed else ""
    return f"{winner.best} has the best mean, but is not distinguishable from {level}{more}.{others}"


def advice(results: Results) -> str:
    """What to use, as far as all tasks and models together can tell."""
    if not results.winners:
        return "Nothing can be told yet."
    unbeaten: dict[str, int] = {}
    for winner in results.winners:
        for name in (winner.best, *winner.level_with):
            unbeaten[name] = unbeaten.get(name, 0) + 1
    most = max(unbeaten.values())
    names = [name for name, times in unbeaten.items() if times == most]
    of = "everywhere" if most == len(results.winners) else f"in {most} of {len(results.winners)} comparisons"
    if len(names) == 1:
        return f"{names[0]} has the best mean, or is not distinguishable from it, {of}: no other strategy so often."
    cost = {name: sum(forward_tokens(row) for row in results.cells if row.strategy == name) for name in names}
    cheapest = min(names, key=lambda name: cost[name])
    return (
        f"{', '.join(names)} have the best mean, or are not distinguishable from it, {of}; "
        f"{cheapest} computes least of them."
    )


def odd_lengths(rows: Sequence[CellStats], baseline: str) -> str:
    """Which strategies write half as much again as the baseline or more, or two thirds or less; empty if none does."""
    base = next((row.tokens for row in rows if row.strategy == baseline), 0.0)
    ratios = {row.strategy: row.tokens / base for row in rows if base and row.answers}
    odd = [f"{name} ({ratio:.2g} times)" for name, ratio in ratios.items() if not 2 / 3 < ratio < 1.5]
    return f"Much longer or shorter than {baseline}'s are the answers of {', '.join(odd)}." if odd else ""


def forward_tokens(row: CellStats) -> float:
    """What an answer computes, a mean, as if its strategy ran alone."""
    return row.prompt_tokens + row.decode_tokens


def more_of(rows: Sequence[CellStats]) -> list[str]:
    """What the task's own further figures are called."""
    return list(dict.fromkeys(name for row in rows for name in row.more))


def groups(results: Results) -> Iterator[tuple[tuple[str, str], list[CellStats]]]:
    """Tasks and models with their rows, in the plan's order."""
    for name in dict.fromkeys((row.task, row.model) for row in results.cells):
        yield name, [row for row in results.cells if (row.task, row.model) == name]


def winner_of(results: Results, task: str, model: str) -> Winner | None:
    """What can be said of a task and model, if anything can."""
    return next((w for w in results.winners if (w.task, w.model) == (task, model)), None)


def title(task: str, model: str, rows: Sequence[CellStats]) -> str:
    """Task, model and how much is there of them."""
    answered = {row.items for row in rows}
    items = f"{min(answered)}" if len(answered) == 1 else f"{min(answered)} to {max(answered)}"
    missing = f" of {rows[0].asked}" if answered != {rows[0].asked} else ""
    return f"{task}, {model}, {items}{missing} items"


def _cells(row: CellStats) -> list[str]:
    score, difference = row.score, row.difference
    known = score is not None and not math.isnan(score.low)
    return [
        row.strategy,
        f"{score.value:.3f}" if score is not None else "",
        f"{score.low:.2f}–{score.high:.2f}" if score is not None and known else "",
        f"{difference.value:+.3f}" if difference is not None else "",
        "" if row.p is None else f"{row.p:.3f}",
        f"{forward_tokens(row):,.0f}",
        f"{row.tokens:.1f}",
        f"{row.unfinished:.0%}" if row.unfinished else "",
        f"{row.repeated:.0%}" if row.repeated else "",
    ]


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    """Text in a Markdown table: nothing in it is markup."""
    return "".join("\\" + c if c in "\\`*_{}[]<>#|~&" else c for c in printable(text))
