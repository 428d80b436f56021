"""Which jobs may begin: what can never run is refused, and what waits joins in order as far as there is room."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from decodelab.core.errors import InvalidParameter, TooLarge
from decodelab.engine.job import Job

MOST_ROWS = 65_536
"""Rows one job may have; far above any use, far below what exhausts the memory before a clear error."""


def check_rows(job: Job, most: int = MOST_ROWS) -> None:
    """Refuse a job that asks for too many rows.

    Raises:
        InvalidParameter: saying how many are possible.
    """
    rows = job.strategy.search.peak_rows
    if rows > most:
        raise InvalidParameter(
            f"{job.strategy}: asks for {rows} rows at once, at most {most} are possible; ask for fewer"
        )


def check_memory(
    job: Job, needed: int, memory: int | None, *, what: str = "", fix: str = "ask for fewer rows or new tokens"
) -> None:
    """Refuse a job whose cache can never fit.

    Args:
        job: the job.
        needed: bytes its cache may come to hold.
        memory: bytes that are allowed; None for any.
        what: for what it needs them, if not for all of it.
        fix: what to do besides allowing more.

    Raises:
        TooLarge: saying how much is needed and allowed.
    """
    if memory is not None and needed > memory:
        raise TooLarge(
            f"{job.name} under {job.strategy} may need {needed:,} bytes of cache{what}, "
            f"memory allows {memory:,}; {fix}, or allow more"
        )


def next_in_line(
    waiting: deque[Job],
    held: Sequence[Job],
    max_rows: int,
    memory: int | None,
    bytes_of: Callable[[Job], int],
    cached: int = 0,
) -> tuple[list[Job], int]:
    """Take the jobs for which there is room from the queue, in order; one that is too large for it runs alone.

    Args:
        waiting: the queue.
        held: jobs that run or begin already.
        max_rows: rows at once.
        memory: bytes of cache that jobs may come to hold; None for any.
        bytes_of: how many a job may.
        cached: bytes that caches hold by now, if that is more than the jobs promised.

    Returns:
        The jobs, and the bytes that all may come to hold, as far as `memory` bounds them.
    """
    rows = sum(job.strategy.search.peak_rows for job in held)
    nbytes = max(cached, 0 if memory is None else sum(map(bytes_of, held)))
    admitted: list[Job] = []
    # A batch for each job that joins alone would cost more than its rows: wait until there is room for several.
    if held and 4 * (max_rows - rows) < max_rows:
        return admitted, nbytes
    while waiting:
        job = waiting[0]
        rows += job.strategy.search.peak_rows
        nbytes += 0 if memory is None else bytes_of(job)
        too_many = rows > max_rows or (memory is not None and nbytes > memory)
        if too_many and (held or admitted):
            break
        admitted.append(waiting.popleft())
    return admitted, nbytes
