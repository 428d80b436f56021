"""Work shared out among workers, and done again where one has died."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from decodelab.bench.plan import Plan
from decodelab.bench.run.replica import Answered, Items, Outcome, Refused, Wanted
from decodelab.core.errors import DecodelabError, WorkerLost

PATIENCE = 5
"""So many workers may die one after the other, while none gets anything done, before the run is given up."""

TRIES = 3
"""Times that an answer is tried alone, if its worker dies each time, before it counts as failed."""


@dataclass(frozen=True)
class Done:
    """A worker has done what it was told."""


@dataclass(frozen=True)
class Died:
    """A worker has died, and of what."""

    why: str


Message = Outcome | list[tuple[str, ...]] | DecodelabError | Done | Died


class Crew(Protocol):
    """Workers by number, each with a `Replica` that does one thing after the other."""

    size: int

    def start(self, worker: int, plan: Plan, items: Items) -> None:
        """Start a worker, if it is not there, and let it take up a plan."""
        ...

    def tell(self, worker: int, model: str, wanted: Sequence[Wanted] | None) -> None:
        """Tell a worker to generate, or (None) to say the keys; what it says ends with `Done` or an error."""
        ...

    def hear(self) -> tuple[int, Message]:
        """Wait for what any worker says."""
        ...

    def close(self) -> None:
        """End all workers at once."""
        ...


@dataclass
class _Chunk:
    """What a worker has been told to generate and has not said yet, in its groups, and how often that was tried."""

    groups: list[list[Wanted]]
    tries: int = 0

    def strike(self, wanted: Wanted) -> None:
        """Take out what has been said."""
        self.groups = [rest for group in self.groups if (rest := [one for one in group if one != wanted])]

    def pieces(self) -> list[_Chunk]:
        """The same in up to four pieces, so that what kills workers is soon alone; alone it is tried once more."""
        parts = self.groups if len(self.groups) > 1 else [[one] for group in self.groups for one in group]
        if len(parts) == 1:
            return [_Chunk([parts[0]], self.tries + 1)]
        size = -(-len(parts) // 4)
        return [_Chunk(parts[i : i + size]) for i in range(0, len(parts), size)]


class Workers:
    """Computes with a crew.

    Work goes out in chunks, each half of what every worker would get of the rest (guided self-scheduling,
    Polychronopoulos and Kuck 1987): large ones keep batches full, small ones at the end let all finish together.
    Answers come back one by one. When a worker dies, another takes its place, and what it had not said is done again
    in smaller pieces.

    Args:
        crew: the workers.

    Raises:
        WorkerLost: when one worker after the other dies and nothing gets done.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._lost = 0

    def __enter__(self) -> Workers:
        """Nothing is started before there is a plan."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all workers."""
        self._crew.close()

    def begin(self, plan: Plan, items: Items) -> None:
        """Start the workers with a plan."""
        self._plan, self._items = plan, items
        for worker in range(self._crew.size):
            self._crew.start(worker, plan, items)

    def keys(self, model: str) -> list[tuple[str, ...]]:
        """The keys of the answers to each question of the plan, as the first worker finds them."""
        found: list[tuple[str, ...]] = []
        self._crew.tell(0, model, None)
        while True:
            worker, message = self._crew.hear()
            if isinstance(message, list):
                found = message
                self._lost = 0
            elif isinstance(message, Died):
                self._replace(worker, message)
                if worker == 0:
                    self._crew.tell(0, model, None)
            elif isinstance(message, DecodelabError):
                raise message
            elif isinstance(message, Done):
                return found

    def run(self, model: str, groups: Sequence[Sequence[Wanted]]) -> Iterator[Outcome]:
        """Generate what is wanted."""
        fresh = deque(list(group) for group in groups)
        again: deque[_Chunk] = deque()
        busy: dict[int, _Chunk] = {}
        idle = list(range(self._crew.size))
        while fresh or again or busy:
            while idle and (fresh or again):
                worker = idle.pop(0)
                busy[worker] = again.popleft() if again else self._next(fresh)
                self._crew.tell(worker, model, [one for group in busy[worker].groups for one in group])
            worker, message = self._crew.hear()
            if isinstance(message, Answered | Refused):
                self._lost = 0
                busy[worker].strike(message.wanted)
                yield message
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
                            yield from (Refused(one, _lost(message)) for group in piece.groups for one in group)

    def _next(self, fresh: deque[list[Wanted]]) -> _Chunk:
        """The next chunk of what nobody has been told yet."""
        size = -(-len(fresh) // (2 * self._crew.size))
        return _Chunk([fresh.popleft() for _ in range(size)])

    def _replace(self, worker: int, died: Died) -> None:
        """Start a worker in the place of one that died."""
        self._lost += 1
        if self._lost > PATIENCE:
            raise _lost(died)
        self._crew.start(worker, self._plan, self._items)


def _lost(died: Died) -> WorkerLost:
    return WorkerLost(
        f"{PATIENCE + 1} workers died one after the other ({died.why}); is there memory for so many? "
        "ask for fewer workers or a smaller max_rows"
    )
