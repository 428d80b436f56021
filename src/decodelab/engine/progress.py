"""How much of a run is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decodelab.core.events import Event

Advance = Callable[[float, str], None]
"""Called with how much is done and what is being done."""


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
