"""`TreeRunner`: jobs whose search continues from prefixes of any length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from decodelab.core.events import Observer
from decodelab.core.protocols import LanguageModel
from decodelab.engine.faults import stage_failed
from decodelab.engine.job import Job, check_memory, check_rows
from decodelab.engine.runners.runner import Failed, Outcome
from decodelab.engine.runners.tree_cache import TreeCache
from decodelab.engine.runners.tree_job import TreeJob

KEPT_PER_ROW = 16
"""Nodes whose cache is kept for each row that may be computed at once."""

MOST_ROWS = 4096
"""Nodes one pass may have; far above any use, far below what exhausts the memory before a clear error."""


class TreeRunner:
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
        self._running: TreeJob | None = None

    @property
    def rows(self) -> int:
        """Nodes of the next pass."""
        return len(self._running.asked[0]) if self._running is not None else 0

    @property
    def nbytes(self) -> int:
        """Bytes that the cache of the running tree holds."""
        return self._running.cache.nbytes if self._running is not None else 0

    def check(self, job: Job) -> None:
        """Refuse a job that asks for too many nodes at once, or of which one pass does not fit the memory."""
        check_rows(job, MOST_ROWS)
        check_memory(job, self.bytes_of(job), self.memory, " for one pass")

    def group(self, job: Job) -> int:
        """Each job runs alone."""
        return job.index

    def bytes_of(self, job: Job) -> int:
        """Bytes one pass may need; what is kept beyond that goes when memory is short."""
        return self.model.cache_bytes(len(job.tokens), job.rows, job.max_new_tokens)

    def admit(self, jobs: Sequence[Job], room: int | None) -> Iterator[Failed]:
        """Begin the one job; its prompt is computed in the first step."""
        (job,) = jobs
        cache = TreeCache(self.model, job.tokens, KEPT_PER_ROW * self.max_rows, self.memory)
        try:
            self._running = TreeJob(self.model, job, cache, self.observers)
        except Exception as error:  # whatever its stages raise
            yield Failed(job.index, stage_failed(str(job.strategy), error))

    def step(self) -> Iterator[Outcome]:
        """One pass; yield the job if it is done."""
        tree = self._running
        if tree is None:
            return
        try:
            tree.step()
            if not tree.done:
                return
            self._running = None
            yield tree.generation()
        except Exception as error:  # whatever its stages raise
            self._running = None
            yield Failed(tree.job.index, stage_failed(str(tree.job.strategy), error))

    def cancel(self, number: int) -> bool:
        """Drop the job."""
        self._running = None
        return True

    def interrupt(self) -> Iterator[Outcome]:
        """Empty the runner: yield the job that runs as far as it came."""
        tree, self._running = self._running, None
        if tree is not None:
            try:
                yield tree.generation()
            except Exception as error:  # as in `step`
                yield Failed(tree.job.index, stage_failed(str(tree.job.strategy), error))
