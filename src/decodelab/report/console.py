"""Tables on the terminal that take every text literally."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from decodelab.io.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


MOST = 200
"""Characters of a text that a cell of a table shows."""
MOST_ITEMS = 20
"""Items that are listed one by one, where there may be thousands."""


def excerpt(text: str) -> Text:
    """Model-written text for a cell of a table, wrapped, with nothing unseen in it; of a long one the beginning."""
    from rich.text import Text

    shown = printable(text)
    return Text(shown if len(shown) <= MOST else f"{shown[: MOST - 1]}…", overflow="fold")


def console(*, stderr: bool = False) -> Console:
    """A rich console that takes every text literally: no markup, no emoji names, no guessing of colours."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def print_table(table: Table, out: Console | None = None) -> None:
    """Print a table whole, numbers uncut: on a terminal that is too narrow for them, lines are longer than it."""
    from rich.cells import cell_len
    from rich.measure import Measurement

    for column in table.columns:
        if column.no_wrap:
            cells = [str(cell) for cell in (column.header, *column.cells)]
            column.min_width = max(column.min_width or 0, *(cell_len(line) for c in cells for line in c.split("\n")))
    out = console() if out is None else out
    before = out.width
    least = Measurement.get(out, out.options.update(max_width=10_000), table).minimum
    out.width = max(before, least)
    out.print(table)
    out.width = before


def print_first(table: Table, rows: Sequence[Sequence[Text | str]], most: int = MOST_ITEMS) -> None:
    """Print a table of the first rows, one an item, and how many more there are; nothing without any."""
    for row in rows[:most]:
        table.add_row(*row)
    if rows:
        print_table(table)
    if len(rows) > most:
        console().print(f"... and {len(rows) - most:,} more; --json lists all")


def number_table(texts: Iterable[str], numbers: Iterable[str], **of_texts: Any) -> Table:
    """An empty table: columns of text that wraps, with whatever rich takes for a column, then of numbers, never cut."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    for name in texts:
        table.add_column(name, **of_texts)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table
