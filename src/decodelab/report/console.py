"""Tables on the terminal that take every text literally."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from decodelab.io.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def one_line(text: str) -> Text:
    """Model-written text for a cell of a table that gives way to the numbers: cut to one line, nothing unseen in it."""
    from rich.text import Text

    return Text(printable(text), no_wrap=True, overflow="ellipsis")


def console(*, stderr: bool = False) -> Console:
    """A rich console that takes every text literally: no markup, no emoji names, no guessing of colours."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def print_table(table: Table) -> None:
    """Print a table whole, numbers uncut: on a terminal that is too narrow for them, lines are longer than it."""
    from rich.measure import Measurement

    out = console()
    least = Measurement.get(out, out.options.update(max_width=10_000), table).minimum
    out.width = max(out.width, least)
    out.print(table)


def number_table(texts: Iterable[str], numbers: Iterable[str], **of_texts: Any) -> Table:
    """An empty table: columns of text, with whatever rich takes for a column, then columns of numbers, never cut."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    for name in texts:
        table.add_column(name, **of_texts)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table
