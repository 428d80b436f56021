"""Progress with the time left, on stderr and only where somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from decodelab.apps.terminal import console, on_terminal

if TYPE_CHECKING:
    from decodelab.core.events import Event

Advance = Callable[[float, str], None]
"""Called with how much is done and what is being done."""


@contextmanager
def progress(total: float, what: str, *, hidden: bool = False) -> Iterator[Advance]:
    """Draw a bar until the block ends; without a terminal on stderr, or hidden, draw nothing."""
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


class TokensDone:
    """An observer that reports how many of the tokens a run may at most generate are done.

    A prompt that ends early counts in full, so the reports end at `prompts * max_new_tokens`.
    """

    def __init__(self, report: Callable[[int], None]) -> None:
        self.report = report
        self.limit = 0
        self.done: dict[int, int] = {}

    def __call__(self, event: Event) -> None:
        """Take an event from the engine."""
        from decodelab.core.events import RunStarted, Step

        if isinstance(event, RunStarted):
            self.limit = event.max_new_tokens
        elif isinstance(event, Step):
            # Some searches go back to a prefix; what was done stays done.
            for generation, position in zip(event.generations.tolist(), event.positions.tolist(), strict=True):
                self.done[generation] = max(self.done.get(generation, 0), position + 1)
        else:
            self.done[event.generation.index] = self.limit
        self.report(sum(self.done.values()))
