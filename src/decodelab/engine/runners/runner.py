"""`Runner`: what runs jobs by one way of making forward passes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from decodelab.core.errors import DecodelabError
from decodelab.core.values import Generation
from decodelab.engine.job import Job


@dataclass(frozen=True)
class Failed:
    """A job that has no generation, and why."""

    index: int
    error: DecodelabError


Outcome = Generation | Failed
"""What becomes of a job."""


def failed(jobs: Iterable[Job], error: DecodelabError) -> list[Failed]:
    """The outcomes of jobs that one error ends."""
    return [Failed(job.index, error) for job in jobs]


class Runner(Protocol):
    """Runs the jobs that its `Queue` admits, one step at a time; every admitted job has one outcome."""

    @property
    def rows(self) -> int:
        """Rows that run, or whose prompt is being computed."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that the caches of running jobs hold now."""
        ...

    def check(self, job: Job) -> None:
        """Raise the error of a job that can never run here."""
        ...

    def group(self, job: Job) -> object:
        """None if the job may join whatever runs; else jobs of equal groups begin together, and only when none runs."""
        ...

    def bytes_of(self, job: Job) -> int:
        """Bytes the cache of a job may come to hold."""
        ...

    def admit(self, jobs: Sequence[Job], room: int | None) -> Iterator[Outcome]:
        """Begin these jobs; yield those that fail at once.

        Args:
            jobs: in order.
            room: bytes of memory left beside what all running jobs may come to hold; None for no bound.
        """
        ...

    def step(self) -> Iterator[Outcome]:
        """Go on by one step; yield the jobs that finish or fail in it."""
        ...

    def cancel(self, number: int) -> bool:
        """Drop a running job: whether it is gone; if not, it ends with the next step, and its outcome is ignored."""
        ...

    def interrupt(self) -> Iterator[Outcome]:
        """Empty the runner: yield the jobs that run as far as they came."""
        ...
