"""Checkers: whether a text can still become what it should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

Verdict = Literal["dead", "alive", "complete"]
"""Of a text that may go on: nothing makes it right any more; it is right so far; it is right as it stands."""


class Reading(Protocol):
    """What a checker has read of a text: a value, so that texts can fork."""

    @property
    def dead(self) -> bool:
        """Whether nothing can make the text right any more."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the text is right as it stands."""
        ...

    def read(self, text: str) -> Reading:
        """The reading after some more text."""
        ...


@runtime_checkable
class ReadingChecker(Protocol):
    """A checker that reads on where it stopped."""

    def begin(self) -> Reading:
        """Nothing read yet."""
        ...


AnyChecker = str | Callable[[str], Verdict] | ReadingChecker
"""A checker as a stage names it: by its name, or in Python as what it is."""
