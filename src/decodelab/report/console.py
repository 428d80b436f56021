"""Tables on the terminal that take every text literally."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decodelab.io.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def one_line(text: str) -> Text:
    """Model-written text for a cell of a table that gives way to the numbers: cut to one line, nothing unseen in it."""
    from rich.text import Text

    return Text(printable(text), no_wrap=True, overflow="ellipsis")


def console(*, stderr: bool = False) -> Console:
    """A rich console that takes every text literally: no markup, no emoji names, no guessing of colours."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)
