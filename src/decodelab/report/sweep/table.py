"""The results of a sweep as tables: for the terminal, as Markdown, as data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
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
"""Forward: tokens computed for each answer, with its prompt; length: tokens written."""


def print_results(results: Results) -> None:
    """Print a table for each task and model, with its verdict."""
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
    """The tables and verdicts as Markdown."""
    # A paragraph that began with a name might be a list.
    lines = [f"Overall: {_escaped(advice(results))}", ""]
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
        lines += ["", f"Verdict: {_escaped(verdict(winner))}", ""] if winner is not None else [""]
    note = f"Differences are to {results.baseline}, paired by item; p values by permutation, Holm-corrected."
    return "\n".join([*lines, _escaped(note), ""])


def results_data(results: Results) -> dict[str, Any]:
    """The tables and verdicts as JSON-ready data."""
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
    few = f" Too few answers to compare: {joined(winner.left_out)}." if winner.left_out else ""
    if not winner.level_with:
        return f"{winner.best} wins: it is significantly different from every other strategy.{few}"
    if winner.nearest is None:
        return f"{joined((winner.best, *winner.level_with))} share the highest mean ({winner.mean:.3f}).{few}"
    differences = "differences to {} are" if len(winner.level_with) > 1 else "difference to {} is"
    need = winner.items_needed
    more = f"; about {need:,} items would be needed to separate it from {winner.nearest}" if need else ""
    noise = f"the {differences.format(joined(winner.level_with))} within noise"
    return f"{winner.best} has the highest mean ({winner.mean:.3f}), but {noise}{more}.{few}"


def advice(results: Results) -> str:
    """What to use, as far as all tasks and models together can tell."""
    if not results.winners:
        return "There are too few answers to compare yet."
    unbeaten: dict[str, int] = {}
    for winner in results.winners:
        for name in (winner.best, *winner.level_with):
            unbeaten[name] = unbeaten.get(name, 0) + 1
    most, all_ = max(unbeaten.values()), len(results.winners)
    names = [name for name, times in unbeaten.items() if times == most]
    what = "task" if len({winner.model for winner in results.winners}) == 1 else "comparison"
    where = ("on " if what == "task" else "in ") + (f"{most} of {all_}" if most < all_ else f"all {all_}")
    where = f"{where} {what}s" if all_ > 1 else f"in the one {what}"
    if len(names) == 1:
        return f"{names[0]} scores best, or ties with the best, {where}; no other strategy does so as often."
    cost = {name: sum(forward_tokens(cell) for cell in results.cells if cell.strategy == name) for name in names}
    cheapest = min(names, key=lambda name: cost[name])
    return (
        f"{joined(names)} score best, or tie with the best, {where}; "
        f"of these, {cheapest} computes the fewest forward tokens."
    )


def odd_lengths(cells: Sequence[CellStats], baseline: str) -> str:
    """Which strategies write half as much again as the baseline or more, or two thirds or less; empty if none does."""
    base = next((cell.tokens for cell in cells if cell.strategy == baseline), 0.0)
    ratios = {cell.strategy: cell.tokens / base for cell in cells if base and cell.answers}
    said = []
    for how, odd in (
        ("longer", {name: ratio for name, ratio in ratios.items() if ratio >= 1.5}),
        ("shorter", {name: ratio for name, ratio in ratios.items() if ratio <= 2 / 3}),
    ):
        if odd:
            times = joined([f"{ratio:.2g}" for ratio in odd.values()])
            said.append(f"Answers of {joined(odd)} are much {how} than {baseline}'s ({times} times as long).")
    return " ".join(said)


def joined(names: Iterable[str]) -> str:
    """Names in a sentence.

    >>> joined(["greedy"]), joined(["a", "b", "c"])
    ('greedy', 'a, b and c')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def forward_tokens(row: CellStats) -> float:
    """Tokens computed for each answer, on average, as if its strategy ran alone."""
    return row.prompt_tokens + row.decode_tokens


def more_of(rows: Sequence[CellStats]) -> list[str]:
    """The names of the task's own further figures."""
    return list(dict.fromkeys(name for row in rows for name in row.more))


def groups(results: Results) -> Iterator[tuple[tuple[str, str], list[CellStats]]]:
    """Tasks and models with their rows, in the plan's order."""
    for name in dict.fromkeys((row.task, row.model) for row in results.cells):
        yield name, [row for row in results.cells if (row.task, row.model) == name]


def winner_of(results: Results, task: str, model: str) -> Winner | None:
    """What can be said of a task and model, if anything."""
    return next((w for w in results.winners if (w.task, w.model) == (task, model)), None)


def title(task: str, model: str, rows: Sequence[CellStats]) -> str:
    """Task, model and how many items are answered."""
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
