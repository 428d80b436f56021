"""Checkers decide whether a text can still become a valid one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

Verdict = Literal["invalid", "prefix", "complete"]
"""No continuation is valid; some continuation is valid; the text is valid as it stands (and may go on)."""


class Reading(Protocol):
    """A checker's state after reading a text: an immutable value, so that texts can fork."""

    @property
    def invalid(self) -> bool:
        """Whether no continuation makes the text valid."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the text is valid as it stands."""
        ...

    def read(self, text: str) -> Reading:
        """The reading after more text."""
        ...


@runtime_checkable
class ReadingChecker(Protocol):
    """A checker that reads incrementally."""

    def begin(self) -> Reading:
        """The reading of the empty text."""
        ...


AnyChecker = str | Callable[[str], Verdict] | ReadingChecker
"""A checker as a stage's parameter: a name, or in Python the checker itself."""
