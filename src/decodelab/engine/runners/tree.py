"""The lane of jobs whose search goes on from nodes at any depth."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from decodelab.core.errors import DecodelabError
from decodelab.core.events import Observer
from decodelab.core.protocols import LanguageModel, TreeSearch
from decodelab.core.values import Generation
from decodelab.engine.job import Job
from decodelab.engine.queue import check_memory, check_rows
from decodelab.engine.runners.runner import Failed
from decodelab.engine.runners.tree_cache import Branches
from decodelab.engine.runners.tree_job import GrowingTree

KEPT_PER_ROW = 16
"""Nodes whose cache is kept for each row that may be computed at once."""

MOST_ROWS = 4096
"""Nodes one pass may have; far above any use, far below what exhausts the memory before a clear error."""


class TreeLane:
    """Runs jobs of tree searches, one after the other.

    Jobs do not share passes: the nodes of one tree have the prompt in common, those of two have nothing. A search
    that asks for several nodes at once fills a pass by itself.

    Args:
        model: the language model.
        max_rows: bounds the nodes that are kept, at `KEPT_PER_ROW` times as many.
        memory: bytes of cache a tree may keep; None for no bound.
        observers: told of every decision.
    """

    def __init__(self, model: LanguageModel, max_rows: int, memory: int | None, observers: Sequence[Observer]) -> None:
        self.model = model
        self.max_rows = max_rows
        self.memory = memory
        self.observers = observers
        self._waiting: deque[tuple[Job, TreeSearch]] = deque()
        self._running: GrowingTree | None = None

    @property
    def busy(self) -> bool:
        """Whether any job is waiting or running."""
        return bool(self._waiting) or self._running is not None

    @property
    def rows(self) -> int:
        """Nodes of the pass that comes next."""
        return len(self._running.asked[0]) if self._running is not None else 0

    def enqueue(self, job: Job) -> None:
        """Put a job in the queue.

        Raises:
            InvalidParameter: if it asks for too many nodes at once.
            TooLarge: if one pass of it does not fit the memory.
        """
        search = job.strategy.search
        assert isinstance(search, TreeSearch)
        check_rows(job, MOST_ROWS)
        needed = self.model.cache_bytes(len(job.tokens), search.peak_rows, job.max_new_tokens)
        check_memory(job, needed, self.memory, what=" for one pass")
        self._waiting.append((job, search))

    def cancel(self, number: int) -> bool:
        """Drop a job; whether there was one of that number, not yet done."""
        for waiting in self._waiting:
            if waiting[0].index == number:
                self._waiting.remove(waiting)
                return True
        if self._running is not None and self._running.job.index == number:
            self._running = None
            return True
        return False

    def step(self, admit: bool = True) -> Iterator[Generation | Failed]:
        """One pass of the job whose turn it is; without `admit` none begins."""
        if self._running is None:
            if not admit:
                return
            job, search = self._waiting.popleft()
            branches = Branches(self.model, job.tokens, KEPT_PER_ROW * self.max_rows, self.memory)
            self._running = GrowingTree(self.model, job, search, branches, self.observers)
        tree = self._running
        try:
            tree.step()
            if not tree.done:
                return
            self._running = None
            yield tree.generation()
        except DecodelabError as error:
            self._running = None
            yield Failed(tree.job.index, error)

    def interrupted(self) -> Iterator[Generation | Failed]:
        """Empty the lane: the job that runs as far as it came."""
        tree, self._running = self._running, None
        self._waiting.clear()
        if tree is not None:
            yield tree.generation()
