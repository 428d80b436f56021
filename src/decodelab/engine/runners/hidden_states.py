"""`HiddenStatesRunner`: jobs whose search looks at the hidden states of continuations before it decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from decodelab.core.errors import UnsupportedStrategy
from decodelab.core.events import Observer
from decodelab.core.protocols import Ahead, Cache, HiddenStates, LanguageModel
from decodelab.engine.batch import Batch
from decodelab.engine.failures import forward_failed
from decodelab.engine.faults import stage_failed
from decodelab.engine.job import Job, check_memory
from decodelab.engine.runners.batching import begin
from decodelab.engine.runners.runner import Failed, Outcome, failed

if TYPE_CHECKING:
    from torch import Tensor


class HiddenStatesRunner:
    """Runs jobs of one strategy and the same limits together, to their end.

    A step makes one pass over all continuations that the search looks at. Those it chooses continue from what that
    pass computed.

    Args:
        model: the language model.
        memory: bytes of cache that running jobs may come to hold; None for no bound.
        observers: told of every step.
    """

    def __init__(self, model: LanguageModel, memory: int | None, observers: Sequence[Observer]) -> None:
        self.model = model
        self.memory = memory
        self.observers = observers
        self._batch: Batch | None = None
        self._cache: Cache | None = None
        self._logits = torch.empty(0)  # after the last tokens of the cache
        self._prompts: list[Tensor] = []  # for each job, the hidden states of its prompt
        self._seen: dict[tuple[int, int], int] = {}  # the row that each continuation of the last pass has

    @property
    def rows(self) -> int:
        """Rows that run."""
        return 0 if self._batch is None else len(self._batch)

    @property
    def nbytes(self) -> int:
        """Bytes that the cache of the running rows holds."""
        return 0 if self._cache is None else self._cache.nbytes

    def check(self, job: Job) -> None:
        """Refuse a job that can never fit the memory, and any job if the model does not show hidden states."""
        if not isinstance(self.model, HiddenStates):
            raise UnsupportedStrategy(
                f"{job.strategy.search}: needs hidden states, which {self.model.name} does not expose; "
                "use a transformers model without model stages"
            )
        check_memory(job, self.bytes_of(job), self.memory)

    def group(self, job: Job) -> object:
        """Jobs of one strategy and the same limits run together."""
        return job.strategy, job.limits

    def bytes_of(self, job: Job) -> int:
        """Bytes the cache of a job may come to hold."""
        return self.model.cache_bytes(len(job.tokens), job.rows, job.max_new_tokens)

    def admit(self, jobs: Sequence[Job], room: int | None) -> Iterator[Failed]:
        """Prefill jobs of one group."""
        prompts = list(dict.fromkeys(job.tokens for job in jobs))
        begun = begin(
            jobs, prompts, list(map(len, prompts)), lambda group, paid: Batch(self.model, group, paid, self.observers)
        )
        yield from begun.failed
        if not begun.batches:
            return
        assert isinstance(self.model, HiddenStates)
        try:
            logits, hidden, cache = self.model.prefill_with_hidden_states(prompts, [self.model.depth])
            rows = torch.tensor(begun.rows)
            self._logits, self._cache = logits[rows.to(logits.device)], cache.select(rows)
            self._prompts = [hidden[0, row, -len(prompts[row]) :].float().cpu() for row in begun.rows]
            self._count(begun.batches[0], self._cache, None)
        except Exception as error:  # whatever a model raises: memory, a kernel, its own code
            self._clear()
            yield from failed(jobs, forward_failed(self.model.name, error))
            return
        (self._batch,) = begun.batches

    def step(self) -> Iterator[Outcome]:
        """One pass over the continuations of all rows; yield what finished."""
        batch = self._batch
        if batch is None:
            return
        try:
            advance = batch.step(self._logits, Ahead(self._prompts, self._look))
        except Exception as error:  # whatever its stages raise
            self._clear()
            yield from failed(batch.unfinished(), stage_failed(str(batch.jobs[0].strategy), error))
            return
        yield from batch.newly_done()
        if not len(batch) or self._cache is None:
            self._clear()
            return
        try:
            pairs = zip(advance.parents.tolist(), advance.tokens.tolist(), strict=True)
            rows = torch.tensor([self._seen[pair] for pair in pairs])
            self._logits, self._cache = self._logits[rows.to(self._logits.device)], self._cache.select(rows)
        except Exception as error:  # as in `admit`
            self._clear()
            yield from failed(batch.unfinished(), forward_failed(self.model.name, error))

    def cancel(self, number: int) -> bool:
        """Let a job end with its next token."""
        return self._batch is None or not self._batch.cancel(number)

    def interrupt(self) -> Iterator[Outcome]:
        """Empty the runner: yield the jobs that run as far as they came."""
        batch = self._batch
        self._clear()
        if batch is not None:
            yield from batch.interrupted()

    def _clear(self) -> None:
        """Drop all rows."""
        self._batch, self._cache, self._prompts = None, None, []

    def _look(self, parents: Tensor, tokens: Tensor) -> Tensor:
        """Append these tokens and return the last hidden state of each continuation, float32 [n, width]."""
        assert isinstance(self.model, HiddenStates)
        assert self._batch is not None
        assert self._cache is not None
        try:
            cache = self._cache.select(parents)
            logits, hidden, self._cache = self.model.decode_with_hidden_states(
                cache, tokens[:, None], [self.model.depth]
            )
            self._logits = logits[:, 0]
            self._count(self._batch, self._cache, parents)
            found = hidden[0, :, 0].float().cpu()
        except Exception as error:  # as in `admit`
            raise forward_failed(self.model.name, error) from error
        self._seen = {pair: i for i, pair in enumerate(zip(parents.tolist(), tokens.tolist(), strict=True))}
        return found

    def _count(self, batch: Batch, cache: Cache, parents: Tensor | None) -> None:
        """Count a forward pass over continuations of these rows; None: over the prompts."""
        lengths = cache.lengths
        batch.count(lengths, cache.nbytes / max(sum(lengths), 1), parents is not None, parents)
