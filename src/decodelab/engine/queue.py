"""`Queue`: the jobs of one runner from submission to outcome: which may begin, which run, which were cancelled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from decodelab.engine.job import Job
from decodelab.engine.runners.runner import Outcome, Runner


class Queue:
    """Jobs in the order they were submitted, and the runner that runs them.

    Nothing overtakes: jobs begin in order, as long as their rows and the bytes their caches may come to hold fit.
    A job too large for that runs alone.

    Args:
        runner: what runs the jobs.
        max_rows: rows that running jobs may have together.
        memory: bytes of cache that running jobs may come to hold; None for no bound.
        deliver: is given each outcome at once, so that none is lost when a step is broken off.

    Attributes:
        running: the jobs that have begun and have no outcome yet, by number.
    """

    def __init__(self, runner: Runner, max_rows: int, memory: int | None, deliver: Callable[[Outcome], None]) -> None:
        self.runner = runner
        self.max_rows = max_rows
        self.memory = memory
        self.deliver = deliver
        self.running: dict[int, Job] = {}
        self._waiting: deque[Job] = deque()
        self._cancelled: set[int] = set()

    @property
    def busy(self) -> bool:
        """Whether any job is waiting or running."""
        return bool(self._waiting or self.running)

    def submit(self, job: Job) -> None:
        """Append a job; the runner refuses with an error what can never run."""
        self.runner.check(job)
        self._waiting.append(job)

    def cancel(self, number: int) -> bool:
        """Drop a job; whether there was one of that number, not yet done."""
        for job in self._waiting:
            if job.index == number:
                self._waiting.remove(job)
                return True
        if number not in self.running or number in self._cancelled:
            return False
        if self.runner.cancel(number):
            del self.running[number]
        else:
            self._cancelled.add(number)
        return True

    def step(self, admit: bool) -> None:
        """One step of the runner; with `admit`, waiting jobs for which there is room begin first."""
        if admit and self._waiting:
            jobs, nbytes = self._next()
            if jobs:
                self.running |= {job.index: job for job in jobs}
                room = None if self.memory is None else max(0, self.memory - nbytes)
                self._take(self.runner.admit(jobs, room))
        self._take(self.runner.step())

    def interrupt(self) -> None:
        """Empty the queue: deliver the jobs that have begun as far as they came, drop those that wait."""
        self._waiting.clear()
        self._take(self.runner.interrupt())
        self.running.clear()
        self._cancelled.clear()

    def _next(self) -> tuple[list[Job], int]:
        """Take the jobs that begin now; they, and the bytes that all running jobs may then come to hold."""
        held, runner = self.running.values(), self.runner
        group = runner.group(self._waiting[0])
        rows = sum(job.rows for job in held)
        # A batch for each job that joins alone would cost more than its rows: wait until a quarter of them is free.
        if held and (group is not None or 4 * (self.max_rows - rows) < self.max_rows):
            return [], 0
        bounded = self.memory is not None
        # Caches hold more than was promised where rows are padded beside longer ones.
        nbytes = max(runner.nbytes, sum(map(runner.bytes_of, held)) if bounded else 0)
        admitted: list[Job] = []
        for job in self._waiting:
            if runner.group(job) != group:
                continue
            rows += job.rows
            more = runner.bytes_of(job) if bounded else 0
            too_many = rows > self.max_rows or (self.memory is not None and nbytes + more > self.memory)
            if too_many and (held or admitted):
                break
            nbytes += more
            admitted.append(job)
        for job in admitted:
            self._waiting.remove(job)
        return admitted, nbytes

    def _take(self, outcomes: Iterable[Outcome]) -> None:
        """Note which jobs are done, and deliver the outcomes of those that were not cancelled."""
        for outcome in outcomes:
            self.running.pop(outcome.index, None)
            if outcome.index in self._cancelled:
                self._cancelled.discard(outcome.index)
            else:
                self.deliver(outcome)
