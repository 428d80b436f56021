"""The results of a sweep as tables: for the terminal, as Markdown, as data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from decodelab.io.text import printable
from decodelab.report.console import print_table
from decodelab.report.number import p_value, signed

if TYPE_CHECKING:
    from decodelab.bench.records import CellStats
    from decodelab.bench.stats.comparison import Results
    from decodelab.bench.stats.winner import Winner

HEADER = ("strategy", "score", "95 %", "vs base", "p", "forward", "length", "no answer", "cut off", "loops")
"""Forward: tokens computed for each answer, with its prompt; length: tokens written; the rest are shares of answers."""


def print_results(results: Results) -> None:
    """Print a table for each task and model, with its verdict."""
    from rich.table import Table
    from rich.text import Text

    for (task, model), rows in groups(results):
        typer.echo(printable(title(task, model, rows)))
        table = Table(box=None, padding=(0, 1, 0, 0))
        # Long strategies wrap; numbers are never cut.
        table.add_column(HEADER[0], overflow="fold", min_width=16)
        for name in HEADER[1:]:
            # On two lines, so that all columns fit in 80 characters.
            heading = name if name == "95 %" else name.replace(" ", "\n")
            table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in _cells(row)))
        print_table(table)
        for row in rows:
            if row.more:
                further = ", ".join(f"{name} {value:.3g}" for name, value in row.more.items())
                typer.echo(printable(f"{row.strategy}: {further}"))
        for odd in (unread(rows), odd_lengths(rows, results.baseline)):
            if odd:
                typer.echo(printable(odd))
        typer.echo(printable(verdict_of(results, task, model, rows)) + "\n")
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
        for odd in (unread(rows), odd_lengths(rows, results.baseline)):
            lines += ["", _escaped(odd)] if odd else []
        lines += ["", f"Verdict: {_escaped(verdict_of(results, task, model, rows))}", ""]
    note = (
        f"Differences are to {results.baseline}, paired by item; p values by permutation, corrected over all pairs of "
        "strategies of a table."
    )
    return "\n".join([*lines, _escaped(note), ""])


def results_data(results: Results) -> dict[str, Any]:
    """The tables and verdicts as JSON-ready data."""
    return {
        "baseline": results.baseline,
        "over": "answered" if results.answered_only else "all",
        "advice": advice(results),
        "rows": [asdict(row) for row in results.cells],
        "winners": [asdict(w) | {"says": verdict(w)} for w in results.winners],
        "agreement": [asdict(pair) for pair in results.agreement],
        "calibration": [asdict(cell) for cell in results.calibration],
    }


ONE_PROMPT = "All answers are to one prompt: nothing beyond it can be concluded."
TOO_FEW = "There are too few answers to compare yet."


def verdict_of(results: Results, task: str, model: str, rows: Sequence[CellStats]) -> str:
    """What can be said of a task and model, in a few sentences."""
    found = winner_of(results, task, model)
    if found is not None:
        return verdict(found)
    return ONE_PROMPT if rows[0].asked == 1 else TOO_FEW


def verdict(winner: Winner) -> str:
    """What can be said of the strategies of a task and model, in a few sentences."""
    good = [name for name in winner.as_good if name != winner.best]
    if not good and not winner.undecided and winner.worse:
        said = [f"{winner.best} wins ({winner.mean:.3f}): every other strategy is significantly worse."]
    else:
        have = "share" if winner.tied else "has"
        said = [f"{joined((winner.best, *winner.tied))} {have} the highest mean ({winner.mean:.3f})."]
        if good:
            said.append(f"As good, within {winner.margin:g}: {joined(good)}.")
        if winner.worse:
            said.append(f"Significantly worse: {joined(winner.worse)}.")
        if winner.undecided:
            said.append(f"Undecided: {joined(winner.undecided)}{_needed(winner)}.")
    if winner.left_out:
        said.append(f"Too few answers to compare: {joined(winner.left_out)}.")
    return " ".join(said)


def _needed(winner: Winner) -> str:
    """How many items would settle the nearest of the undecided."""
    if winner.items_needed is None:
        return ""
    which = f" about {winner.nearest}" if len(winner.undecided) > 1 else ""
    return f"; about {winner.items_needed:,} items would decide{which}"


def advice(results: Results) -> str:
    """What to use, as far as all tasks and models together can tell: never more than the tables show.

    A strategy is recommended where it is shown to be as good as every other, within the margin, on all of them. Only
    among such strategies is the cost a reason.
    """
    return f"Over answered items only: {_advice(results)}" if results.answered_only else _advice(results)


def _advice(results: Results) -> str:
    if not results.winners:
        alone = results.cells and all(cell.asked == 1 for cell in results.cells)
        return ONE_PROMPT if alone else TOO_FEW
    many = len(results.winners)
    margin = f"within {results.winners[0].margin:g}"
    shown = [name for name in results.winners[0].as_good if all(name in winner.as_good for winner in results.winners)]
    where = f"in all {many} tables" if many > 1 else "in the one table"
    if len(shown) == 1:
        return f"{shown[0]} is as good as every other strategy, {margin}, {where}; no other is shown to be."
    if shown:
        cost = {name: sum(forward_tokens(cell) for cell in results.cells if cell.strategy == name) for name in shown}
        cheapest = min(shown, key=lambda name: cost[name])
        return (
            f"{joined(shown)} are as good as every other strategy, {margin}, {where}; "
            f"of these, {cheapest} computes the fewest forward tokens."
        )
    highest: dict[str, int] = {}
    for winner in results.winners:
        highest[winner.best] = highest.get(winner.best, 0) + 1
    named = sorted(highest, key=lambda name: -highest[name])
    if len(named) == 1:
        means = f"{named[0]} has the highest mean {where}"
    else:
        each = joined(f"{name} in {highest[name]}" for name in named)
        means = f"The highest mean is that of {each} of {many} tables"
    open_yet = sum(bool(winner.undecided) for winner in results.winners)
    if not open_yet:
        return f"{means}; no strategy is as good as every other, {margin}, everywhere."
    part = f" in {open_yet} of {many} tables" if many > 1 else ""
    return f"{means}. Undecided{part}: too few items to show which strategies are as good, {margin}."


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


def unread(cells: Sequence[CellStats]) -> str:
    """How many answers of each strategy could not be read, and why; nothing where all are read."""
    said = [f"{cell.strategy} {reasons(cell)}" for cell in cells if any(cell.lacks.values())]
    return f"Answers that were not read: {'; '.join(said)}." if said else ""


def reasons(cell: CellStats) -> str:
    """How many answers of a cell were not read, for what reasons.

    >>> from types import SimpleNamespace
    >>> reasons(SimpleNamespace(answers=50, lacks={"empty": 2, "cut off": 0, "ambiguous": 1}))
    '3 of 50 (empty 2, ambiguous 1)'
    """
    why = ", ".join(f"{name} {count:,}" for name, count in cell.lacks.items() if count)
    return f"{sum(cell.lacks.values()):,} of {cell.answers:,} ({why})"


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
    """Task, model and how many items are answered; items with the same prompt count as one."""
    one = rows[0]
    items = _span(row.items for row in rows)
    missing = f" of {one.asked}" if {row.items for row in rows} != {one.asked} else ""
    noun = "item" if (items, one.asked) == ("1", 1) else "items"
    if one.repeats:
        further = f"{one.repeats:,} further {'items repeat' if one.repeats > 1 else 'item repeats'}"
        which = "1 prompt" if one.asked == 1 else f"{items}{missing} different prompts"
        said = f"{task}, {model}, {which} ({further} {'it' if one.asked == 1 else 'them'})"
    else:
        said = f"{task}, {model}, {items}{missing} {noun}"
    left_out = [row.left_out for row in rows if row.left_out is not None]
    return f"{said}, answered items only ({_span(left_out)} without an answer left out)" if left_out else said


def _span(counts: Iterable[int]) -> str:
    found = sorted(set(counts))
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def no_answer(row: CellStats) -> str:
    """The share of answers that were not read as a cell of a table; nothing of an open-ended task that has them all."""
    return f"{row.unread:.0%}" if row.reads or row.unread else ""


def _cells(row: CellStats) -> list[str]:
    score, difference = row.score, row.difference
    known = score is not None and not math.isnan(score.low)
    return [
        row.strategy,
        f"{score.value:.3f}" if score is not None else "",
        f"{score.low:.2f}–{score.high:.2f}" if score is not None and known else "",
        signed(difference.value) if difference is not None else "",
        "" if row.p is None else p_value(row.p),
        f"{forward_tokens(row):,.0f}",
        f"{row.tokens:.1f}",
        no_answer(row),
        f"{row.unfinished:.0%}" if row.unfinished else "",
        f"{row.repeated:.0%}" if row.repeated else "",
    ]


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    """Text in a Markdown table: nothing in it is markup."""
    return "".join("\\" + c if c in "\\`*_{}[]<>#|~&" else c for c in printable(text))
