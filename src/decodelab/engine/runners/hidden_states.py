"""The lane of jobs whose search looks at continuations before it decides."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from decodelab.core.errors import DecodelabError, UnsupportedStrategy
from decodelab.core.events import Observer
from decodelab.core.protocols import Ahead, Cache, HiddenStates, LanguageModel, LooksAhead
from decodelab.core.values import Generation
from decodelab.engine.batch import Batch
from decodelab.engine.job import Job
from decodelab.engine.queue import check_memory
from decodelab.engine.refusals import forward_failed
from decodelab.engine.runners.runner import Failed


class AheadLane:
    """Runs jobs of searches that look ahead: jobs of one strategy and the same limits together, to their end.

    A step makes one pass, over all continuations that the search looks at; those it takes go on from what that pass has
    computed.

    Args:
        model: the language model.
        max_rows: continuations computed at once; a job that looks at more runs alone.
        memory: bytes of cache that jobs which run together may come to hold; None for no bound.
        observers: told of every step.
    """

    def __init__(self, model: LanguageModel, max_rows: int, memory: int | None, observers: Sequence[Observer]) -> None:
        self.model = model
        self.max_rows = max_rows
        self.memory = memory
        self.observers = observers
        self._waiting: deque[Job] = deque()
        self._running: _Running | None = None
        self._cancelled: set[int] = set()

    @property
    def busy(self) -> bool:
        """Whether any job is waiting or running."""
        return bool(self._waiting) or self._running is not None

    @property
    def rows(self) -> int:
        """Rows that run."""
        return 0 if self._running is None else len(self._running.batch)

    def enqueue(self, job: Job) -> None:
        """Put a job in the queue.

        Raises:
            UnsupportedStrategy: if the model does not show hidden states.
            TooLarge: if it can never fit the memory.
        """
        if not isinstance(self.model, HiddenStates):
            raise UnsupportedStrategy(
                f"{job.strategy.search}: needs hidden states, which {self.model.name} does not show; "
                "use a model of transformers by itself"
            )
        check_memory(job, self._bytes(job), self.memory, fix="look at fewer tokens, ask for fewer new ones")
        self._waiting.append(job)

    def cancel(self, number: int) -> bool:
        """Drop a job; whether there was one of that number, not yet done."""
        for job in self._waiting:
            if job.index == number:
                self._waiting.remove(job)
                return True
        found = number not in self._cancelled and self._running is not None and self._running.batch.cancel(number)
        if found:
            self._cancelled.add(number)
        return found

    def step(self, admit: bool = True) -> Iterator[Generation | Failed]:
        """One step of the jobs that run; when there are none, those next in line begin, with `admit`."""
        if self._running is None:
            if not (admit and self._waiting):
                return
            jobs = self._next()
            try:
                self._running = _Running(self.model, jobs, self.observers)
            except DecodelabError as error:
                yield from self._failed(jobs, error)
            return
        running = self._running
        try:
            running.step()
        except DecodelabError as error:
            self._running = None
            yield from self._failed(running.batch.unfinished(), error)
            return
        yield from self._wanted(running.batch.newly_done())
        if not len(running.batch):
            self._running = None

    def interrupted(self) -> Iterator[Generation | Failed]:
        """Empty the lane: the jobs that run as far as they came."""
        running, self._running = self._running, None
        self._waiting.clear()
        if running is not None:
            yield from self._wanted(running.batch.interrupted())

    def _next(self) -> list[Job]:
        """The job next in line, with those behind it that can run beside it."""
        first = self._waiting[0]
        each = _looks_at(first)
        jobs: list[Job] = []
        nbytes = 0
        for job in list(self._waiting):
            if (job.strategy, job.limits) != (first.strategy, first.limits):
                continue
            nbytes += self._bytes(job)
            too_many = (len(jobs) + 1) * each > self.max_rows or (self.memory is not None and nbytes > self.memory)
            if jobs and too_many:
                break
            jobs.append(job)
            self._waiting.remove(job)
        return jobs

    def _bytes(self, job: Job) -> int:
        """What the cache of a job may come to hold."""
        return self.model.cache_bytes(len(job.tokens), _looks_at(job), job.max_new_tokens)

    def _wanted(self, generations: Iterator[Generation]) -> Iterator[Generation]:
        """Those that were not cancelled."""
        for generation in generations:
            if generation.index not in self._cancelled:
                yield generation
            self._cancelled.discard(generation.index)

    def _failed(self, jobs: Sequence[Job], error: DecodelabError) -> Iterator[Failed]:
        """The jobs of a step that raised."""
        for job in jobs:
            if job.index not in self._cancelled:
                yield Failed(job.index, error)
            self._cancelled.discard(job.index)


def _looks_at(job: Job) -> int:
    search = job.strategy.search
    assert isinstance(search, LooksAhead)
    return search.looks_at


class _Running:
    """Jobs that run together, their cache, and the logits after their last tokens."""

    def __init__(self, model: LanguageModel, jobs: Sequence[Job], observers: Sequence[Observer]) -> None:
        assert isinstance(model, HiddenStates)
        self.model = model
        prompts = list(dict.fromkeys(job.tokens for job in jobs))
        place = {prompt: i for i, prompt in enumerate(prompts)}
        first = {job.tokens: job.index for job in reversed(jobs)}
        prefill = [len(job.tokens) if first[job.tokens] == job.index else 0 for job in jobs]
        self.batch = Batch(model, jobs, prefill, observers)
        try:
            logits, hidden, cache = model.prefill_with_hidden_states(prompts, [model.depth])
        except Exception as error:  # whatever a model raises: memory, a kernel, its own code
            raise forward_failed(model.name, error) from error
        rows = torch.tensor([place[job.tokens] for job in jobs])
        self.logits, self.cache = logits[rows.to(logits.device)], cache.select(rows)
        self.prompts = [hidden[0, row, -len(prompts[row]) :].float().cpu() for row in rows.tolist()]
        self.seen: dict[tuple[int, int], int] = {}
        self._count(None)

    def step(self) -> None:
        """Choose a token for every row and go on with what was computed of it."""
        advance = self.batch.step(self.logits, Ahead(self.prompts, self._look))
        if len(self.batch):
            pairs = zip(advance.parents.tolist(), advance.tokens.tolist(), strict=True)
            rows = torch.tensor([self.seen[pair] for pair in pairs])
            self.logits, self.cache = self.logits[rows.to(self.logits.device)], self.cache.select(rows)

    def _look(self, parents: Tensor, tokens: Tensor) -> Tensor:
        """Go on with these continuations and show the last hidden state of each, float32 [n, width]."""
        try:
            cache: Cache = self.cache.select(parents)
            logits, hidden, self.cache = self.model.decode_with_hidden_states(
                cache, tokens[:, None], [self.model.depth]
            )
        except Exception as error:  # as above
            raise forward_failed(self.model.name, error) from error
        self.logits = logits[:, 0]
        self.seen = {pair: i for i, pair in enumerate(zip(parents.tolist(), tokens.tolist(), strict=True))}
        self._count(parents)
        return hidden[0, :, 0].float().cpu()

    def _count(self, parents: Tensor | None) -> None:
        """Book a forward pass over continuations of these rows; None: over the prompts."""
        lengths = self.cache.lengths
        self.batch.count(lengths, self.cache.nbytes / max(sum(lengths), 1), parents is not None, parents)
