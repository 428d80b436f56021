"""Work shared out among workers, and done again where one has died."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from decodelab.bench.plan import Plan
from decodelab.bench.records import WorkItem
from decodelab.bench.run.worker import Result, Worker
from decodelab.bench.run.worklist import LoadedTask
from decodelab.core.errors import DecodelabError, WorkerLost
from decodelab.core.notices import ToldOnce, warnings_to_send

PATIENCE = 5
"""This many workers may die in a row, while nothing gets done, before the run is given up."""

TRIES = 3
"""Times that a piece of work is tried alone, if its worker dies each time, before it counts as failed."""


@dataclass(frozen=True)
class Done:
    """A worker has finished what it was sent."""


@dataclass(frozen=True)
class Died:
    """A worker has died, and of what."""

    why: str


@dataclass(frozen=True)
class Noted:
    """What a worker has to tell of the prompts, or of how it did its work."""

    warnings: tuple[ToldOnce, ...]

    def tell(self) -> None:
        """Warn of it here."""
        for each in self.warnings:
            warnings.warn(each, stacklevel=3)


Message = Result | list[WorkItem] | DecodelabError | Done | Died | Noted


def worker_messages(
    worker: Worker, model: str, work: Sequence[WorkItem] | None
) -> Iterator[Noted | list[WorkItem] | Result]:
    """What a worker replies that is sent work, or (None) is asked for the worklist."""
    with warnings_to_send() as said:
        if work is None:
            yield worker.worklist(model)
        else:
            yield from worker.run(model, work)
    one_each = {(type(each), each.kind or str(each)): each for each in reversed(said)}
    if one_each:
        yield Noted(tuple(one_each.values()))


class WorkerPool(Protocol):
    """Workers by number, each with a `Worker` that does one thing after the other."""

    size: int

    def start(self, worker: int, plan: Plan, tasks: Sequence[LoadedTask]) -> None:
        """Start a worker, if it is not there, and let it take up a plan."""
        ...

    def send(self, worker: int, model: str, work: Sequence[WorkItem] | None) -> None:
        """Send a worker work, or (None) ask it for the worklist; its messages end with `Done` or an error."""
        ...

    def receive(self) -> tuple[int, Message]:
        """Wait for a message from any worker."""
        ...

    def close(self) -> None:
        """End all workers at once."""
        ...


@dataclass
class _Chunk:
    """Work sent to a worker whose results are outstanding, in its groups, and how often it was tried."""

    groups: list[list[WorkItem]]
    tries: int = 0

    def remove(self, done: WorkItem) -> None:
        """Take out what is done."""
        self.groups = [rest for group in self.groups if (rest := [one for one in group if one != done])]

    def pieces(self) -> list[_Chunk]:
        """The same in up to four pieces, so that what kills workers is soon isolated; alone it is tried once more."""
        parts = self.groups if len(self.groups) > 1 else [[one] for group in self.groups for one in group]
        if len(parts) == 1:
            return [_Chunk([parts[0]], self.tries + 1)]
        size = -(-len(parts) // 4)
        return [_Chunk(parts[i : i + size]) for i in range(0, len(parts), size)]


class PoolExecutor:
    """Computes with a pool of workers.

    Work goes out in chunks, each half of what every worker would get of the rest (guided self-scheduling,
    Polychronopoulos and Kuck 1987): large ones keep batches full, small ones at the end let all finish together.
    Answers come back one by one. When a worker dies, another takes its place, and its outstanding work is done again in
    smaller pieces.

    Args:
        pool: the workers.

    Raises:
        WorkerLost: when one worker after another dies and nothing gets done.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._lost = 0

    def __enter__(self) -> PoolExecutor:
        """Nothing is started before there is a plan."""
        return self

    def __exit__(self, *raised: object) -> None:
        """End all workers."""
        self._pool.close()

    def begin(self, plan: Plan, tasks: Sequence[LoadedTask]) -> None:
        """Start the workers with a plan."""
        self._plan, self._tasks = plan, tasks
        for worker in range(self._pool.size):
            self._pool.start(worker, plan, tasks)

    def worklist(self, model: str) -> list[WorkItem]:
        """Everything the plan asks of a model, with its keys, as the first worker finds them."""
        found: list[WorkItem] = []
        self._pool.send(0, model, None)
        while True:
            worker, message = self._pool.receive()
            if isinstance(message, list):
                found = message
                self._lost = 0
            elif isinstance(message, Noted):
                message.tell()
            elif isinstance(message, Died):
                self._replace(worker, message)
                if worker == 0:
                    self._pool.send(0, model, None)
            elif isinstance(message, DecodelabError):
                raise message
            elif isinstance(message, Done):
                return found

    def run(self, model: str, groups: Sequence[Sequence[WorkItem]]) -> Iterator[Result]:
        """Do the work."""
        fresh = deque(list(group) for group in groups)
        again: deque[_Chunk] = deque()
        busy: dict[int, _Chunk] = {}
        idle = list(range(self._pool.size))
        while fresh or again or busy:
            while idle and (fresh or again):
                worker = idle.pop(0)
                busy[worker] = again.popleft() if again else self._next(fresh)
                self._pool.send(worker, model, [one for group in busy[worker].groups for one in group])
            worker, message = self._pool.receive()
            if isinstance(message, tuple):
                self._lost = 0
                busy[worker].remove(message[0])
                yield message
            elif isinstance(message, Noted):
                message.tell()
            elif isinstance(message, Done):
                del busy[worker]
                idle.append(worker)
            elif isinstance(message, DecodelabError):
                raise message
            elif isinstance(message, Died):
                self._replace(worker, message)
                if worker in busy:
                    idle.append(worker)
                    for piece in busy.pop(worker).pieces():
                        if piece.tries < TRIES:
                            again.append(piece)
                        else:
                            yield from ((one, _lost(message)) for group in piece.groups for one in group)

    def _next(self, fresh: deque[list[WorkItem]]) -> _Chunk:
        """The next chunk of what has not been sent yet."""
        size = -(-len(fresh) // (2 * self._pool.size))
        return _Chunk([fresh.popleft() for _ in range(size)])

    def _replace(self, worker: int, died: Died) -> None:
        """Start a worker in the place of one that died."""
        self._lost += 1
        if self._lost > PATIENCE:
            raise _lost(died)
        self._pool.start(worker, self._plan, self._tasks)


def _lost(died: Died) -> WorkerLost:
    return WorkerLost(
        f"{PATIENCE + 1} workers died in a row ({died.why}); is there memory for that many? "
        "ask for fewer workers or a smaller max_rows"
    )
