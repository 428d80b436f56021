"""Stops: where texts end."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class StopState(Protocol):
    """How far a stop has read a text; never changed, so that rows can fork."""

    @property
    def ended(self) -> bool:
        """Whether the text ends with the token that was read last."""
        ...

    @property
    def kept(self) -> int | None:
        """How many characters stay of a text that ended; None where all do."""
        ...

    @property
    def held(self) -> int | None:
        """From which character on the text that was read may still be cut off; None where none of it can."""
        ...

    def read(self, token: int, text: str) -> StopState:
        """The state after one more token, and the characters (any number) that became final with it."""
        ...


@runtime_checkable
class Stop(Protocol):
    """A stage that ends texts; the prompt is no part of them."""

    def begin(self) -> StopState:
        """The state before a text."""
        ...
