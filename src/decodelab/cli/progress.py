"""Progress on stderr: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from decodelab.cli.terminal import on_terminal, say
from decodelab.engine.progress import Advance
from decodelab.io.text import printable
from decodelab.report.console import console

FIRST, NEXT = 10.0, 30.0
"""Seconds until the first line, and from one to the next."""


@contextmanager
def progress(total: float, what: str, *, hidden: bool = False) -> Iterator[Advance]:
    """Show how much is done until the block ends, unless hidden; nothing for what takes less than a few seconds."""
    if hidden:
        yield lambda done, doing: None
    elif on_terminal(stderr=True):
        with _bar(total, what) as advance:
            yield advance
    else:
        yield _lines(total)


@contextmanager
def _bar(total: float, what: str) -> Iterator[Advance]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        # Names of strategies contain brackets, which are not markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, doing: bar.update(task, completed=done, description=doing)


def _lines(total: float) -> Advance:
    """A line after some seconds, and again after some more."""
    due = time.monotonic() + FIRST

    def advance(done: float, doing: str) -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due and done < total:
            say(printable(f"{done / total:.0%} {doing}"))
            due = now + NEXT

    return advance
