"""A progress bar with the time left, on stderr and only on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from decodelab.cli.terminal import on_terminal
from decodelab.engine.progress import Advance
from decodelab.report.console import console


@contextmanager
def progress(total: float, what: str, *, hidden: bool = False) -> Iterator[Advance]:
    """Draw a progress bar until the block ends, unless hidden or stderr is no terminal."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        # Names of strategies contain brackets, which are not markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    shows = on_terminal(stderr=True) and not hidden
    with Progress(*columns, console=console(stderr=True), transient=True, disable=not shows) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, doing: bar.update(task, completed=done, description=doing)
