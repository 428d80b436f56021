"""Lanes: jobs that cannot share one running batch, because each pass of theirs is made differently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from decodelab.core.errors import DecodelabError
from decodelab.core.values import Generation
from decodelab.engine.job import Job


@dataclass(frozen=True)
class Failed:
    """A job that came to nothing, and why."""

    index: int
    error: DecodelabError


class Lane(Protocol):
    """Runs its own jobs, one step at a time. The engine gives one lane after the other the turn."""

    @property
    def busy(self) -> bool:
        """Whether any job is waiting or running."""
        ...

    @property
    def rows(self) -> int:
        """Rows that run."""
        ...

    def enqueue(self, job: Job) -> None:
        """Take a job; refuse with an error what can never run."""
        ...

    def cancel(self, number: int) -> bool:
        """Drop a job; whether there was one of that number, not yet done."""
        ...

    def step(self, admit: bool = True) -> Iterator[Generation | Failed]:
        """Go on by one step: what finished with it, or failed in it; without `admit` no job that waits may begin."""
        ...

    def interrupted(self) -> Iterator[Generation | Failed]:
        """Empty the lane: what has begun as far as it came, of what waits nothing."""
        ...
