"""`Engine`: jobs of any strategies, prompts and lengths in one running batch, one forward pass a step."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from decodelab.core.errors import DecodelabError, InvalidParameter, UnsupportedStrategy
from decodelab.core.events import Observer
from decodelab.core.protocols import Cache, Composition, LanguageModel, LooksAhead, TreeSearch
from decodelab.core.values import Generation, Limits, Prompt, Tokens
from decodelab.engine.batch import Batch, is_identity
from decodelab.engine.composing import Composer
from decodelab.engine.job import Job, check_limits, make_job
from decodelab.engine.prefix_cache import Prefilled, PrefixCache
from decodelab.engine.queue import check_memory, check_rows, next_in_line
from decodelab.engine.refusals import forward_failed
from decodelab.engine.runners.hidden_states import AheadLane
from decodelab.engine.runners.rows import Running, merged
from decodelab.engine.runners.runner import Failed, Lane
from decodelab.engine.runners.speculative import SpeculativeLane
from decodelab.engine.runners.tree import TreeLane
from decodelab.models.composed import needs_whole_prompts
from decodelab.models.loading import load
from decodelab.search.speculative import Speculative
from decodelab.strategy.strategy import Strategy, StrategyLike

CHUNK = 256
"""Tokens of a long prompt computed between two steps of the rows that run already."""

KEPT = 256 * 2**20
"""Bytes of prompts that are kept at most for later ones that begin alike; `memory` may leave less."""


@dataclass
class _Prefill:
    """Jobs of one prompt that is computed in chunks: what is done of it."""

    jobs: list[Job]
    done: int = 0
    computed: int = 0
    cache: Cache | None = None
    logits: Tensor | None = None


class Engine:
    """Runs jobs of any strategies, prompts and lengths together on one model.

    One forward pass a step computes the next token of every row; rows are grouped by strategy only for processors and
    search. Rows that finish leave at once; once a quarter of the rows is free, waiting jobs are prefilled (a prompt
    once, whatever the strategies that wait for it, and only from where it differs from one that is remembered) and
    join, in the order they were submitted. A long prompt is prefilled in chunks between the steps of the others. The
    result of a job does not depend on what runs beside it, as far as the model's own arithmetic does not. Rows of one
    prompt that have said the same so far, whatever their strategies, are computed as one.

    Args:
        model: a model, or the name of one for `load`.
        max_rows: rows (beams, samples) computed at once; a job that has more runs alone.
        memory: bytes of cache that admitted jobs may come to hold; None: as `max_rows` allows. What they leave of it,
            but at most `KEPT`, goes to prompts that are remembered for later ones that begin alike.
        observers: told of every step (see `decodelab.core.events`).

    Raises:
        InvalidParameter: for max_rows or memory below 1.

    >>> engine = Engine("pocket-nano")
    >>> prompt = "Once upon a time"
    >>> a = engine.submit(prompt, "greedy", max_new_tokens=4)
    >>> b = engine.submit(prompt, "beam(width=4)", max_new_tokens=4)
    >>> sorted((done.index, done.cost.prefill_tokens > 0) for done in engine.run())
    [(0, True), (1, False)]
    """

    def __init__(
        self,
        model: LanguageModel | str,
        *,
        max_rows: int = 64,
        memory: int | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        if max_rows < 1:
            raise InvalidParameter(f"max_rows must be at least 1, got {max_rows}; it bounds the rows computed at once")
        if memory is not None and memory < 1:
            raise InvalidParameter(f"memory must be at least 1 byte, got {memory}; leave it out for no bound")
        self.model = load(model) if isinstance(model, str) else model
        self.max_rows = max_rows
        self.memory = memory
        self.observers = observers
        self._submitted = 0
        self._waiting: deque[Job] = deque()
        self._prefills: deque[_Prefill] = deque()
        self._running = Running()
        self._prefixes = PrefixCache(self.model, KEPT)
        self._cancelled: set[int] = set()
        self._compose = Composer(self.model)
        self._composed: tuple[Composition, ...] = ()
        self._lanes: dict[Hashable, Lane] = {}
        self._turn: Lane | None = None

    def submit(
        self,
        prompt: Prompt,
        strategy: StrategyLike = "default",
        *,
        max_new_tokens: int = 128,
        min_new_tokens: int = 0,
        stop: str | Sequence[str] = (),
        stop_token_ids: Sequence[int] = (),
        seed: int = 0,
    ) -> int:
        """Put a job in the queue; its number is the `index` of what comes out.

        Args:
            prompt: text, token ids or a `Chat`.
            strategy: and the others: as `decodelab.generate`.

        Raises:
            StrategyError, RequestError: as `decodelab.generate`; TooLarge if it can never fit the memory.
        """
        limits = Limits(
            max_new_tokens, min_new_tokens, (stop,) if isinstance(stop, str) else tuple(stop), tuple(stop_token_ids)
        )
        plan = Strategy.of(strategy).resolve(self.model)
        model = self.composed(plan)
        check_limits(model, limits)
        job = make_job(model, self._submitted, prompt, plan, limits, seed)
        self.enqueue(job)
        return job.index

    def composed(self, strategy: Strategy) -> LanguageModel:
        """The model that a strategy decodes: the engine's own, or what its stages make of it."""
        return self._compose(strategy.compositions)

    def enqueue(self, job: Job) -> None:
        """Put a job that is made already in the queue; its index must be its own.

        Raises:
            InvalidParameter: if it asks for too many rows.
            TooLarge: if it can never fit the memory.
        """
        lane = self._lane(job)
        if lane is not None:
            lane.enqueue(job)
            self._submitted = max(self._submitted, job.index + 1)
            return
        check_rows(job)
        check_memory(job, self._bytes(job), self.memory)
        self._submitted = max(self._submitted, job.index + 1)
        self._waiting.append(job)

    def _lane(self, job: Job) -> Lane | None:
        """The lane of a job that cannot share the running batch; None for one that can."""
        compositions, driver = job.strategy.compositions, job.strategy.driver
        bounds = self.max_rows, self.memory, self.observers
        if compositions != self._composed:
            if compositions not in self._lanes:
                model = self.composed(job.strategy)
                engine = Engine(model, max_rows=self.max_rows, memory=self.memory, observers=self.observers)
                engine._composed = compositions
                self._lanes[compositions] = engine
            return self._lanes[compositions]
        if isinstance(driver, Speculative):
            if driver not in self._lanes:
                self._lanes[driver] = SpeculativeLane(self.model, driver, self._compose.load, *bounds)
            return self._lanes[driver]
        if driver is not None:
            raise UnsupportedStrategy(f"{driver}: this engine cannot make passes as it says; leave it out")
        if isinstance(job.strategy.search, LooksAhead):
            if LooksAhead not in self._lanes:
                self._lanes[LooksAhead] = AheadLane(self.model, *bounds)
            return self._lanes[LooksAhead]
        if isinstance(job.strategy.search, TreeSearch):
            if TreeSearch not in self._lanes:
                self._lanes[TreeSearch] = TreeLane(self.model, *bounds)
            return self._lanes[TreeSearch]
        return None

    def cancel(self, number: int) -> bool:
        """Drop a job: nothing more of it comes out, its rows are gone before the next forward pass.

        Returns:
            Whether there was such a job, not yet done.
        """
        for queue in (self._waiting, *(prefill.jobs for prefill in self._prefills)):
            for job in queue:
                if job.index == number:
                    queue.remove(job)
                    return True
        found = number not in self._cancelled and any(batch.cancel(number) for batch in self._running.batches)
        if found:
            self._cancelled.add(number)
        return found or any(lane.cancel(number) for lane in self._lanes.values())

    @property
    def busy(self) -> bool:
        """Whether any job is waiting or running."""
        return self._own_busy or any(lane.busy for lane in self._lanes.values())

    @property
    def _own_busy(self) -> bool:
        """Whether any job of the running batch is."""
        return bool(self._waiting or self._prefills or self._running.batches)

    @property
    def rows(self) -> int:
        """Rows that run, or whose prompt is being computed."""
        return self._own_rows + sum(lane.rows for lane in self._lanes.values())

    @property
    def _own_rows(self) -> int:
        """Those of the running batch."""
        prefilled = (job for prefill in self._prefills for job in prefill.jobs)
        return sum(map(len, self._running.batches)) + sum(job.strategy.search.start_rows for job in prefilled)

    def run(self) -> Generator[Generation | Failed, None, None]:
        """Yield what comes of each job as it finishes, until none is left; more may be submitted meanwhile.

        On KeyboardInterrupt the jobs that have begun are yielded as far as they came, those that wait are dropped,
        and it is raised again.
        """
        try:
            while self.busy:
                yield from self.step()
        except KeyboardInterrupt:
            yield from self.interrupted()
            raise

    def interrupted(self) -> Iterator[Generation | Failed]:
        """Empty the engine: the jobs that have begun as far as they came, of those that wait nothing."""
        running = self._running.batches
        self._running = Running()
        self._waiting.clear()
        self._prefills.clear()
        for batch in running:
            yield from self._wanted(batch.interrupted())
        for lane in self._lanes.values():
            yield from lane.interrupted()

    def step(self, admit: bool = True) -> Iterator[Generation | Failed]:
        """One step of the lane whose turn it is.

        Jobs that cannot share the running batch run in lanes of their own. A lane that others wait for admits no more
        jobs than it began its turn with, and the turn goes on when these are done: none starves, and only one lane at
        a time holds rows, so that each may use the whole `memory`.

        Args:
            admit: whether waiting jobs may begin.
        """
        first = self._take_turn()
        admit = admit and (first or sum(lane.busy for lane in self._lanes.values()) + self._own_busy == 1)
        yield from self._own_step(admit) if self._turn is None else self._turn.step(admit)

    def _take_turn(self) -> bool:
        """See whose turn it is (None: the running batch's); whether it begins with this step."""
        if self._own_rows if self._turn is None else self._turn.rows:
            return False
        lanes = [None, *self._lanes.values()]
        after = lanes.index(self._turn) + 1
        for lane in (*lanes[after:], *lanes[:after]):
            if self._own_busy if lane is None else lane.busy:
                if self.memory is not None and lane is not self._turn:
                    for engine in (self, *(other for other in self._lanes.values() if isinstance(other, Engine))):
                        engine._prefixes.forget()
                self._turn = lane
                break
        return True

    def _own_step(self, admit: bool) -> Iterator[Generation | Failed]:
        """Admit what fits, choose a token for every row, yield what finished, and compute the next logits."""
        if admit:
            yield from self._admit()
        yield from self._prefill_chunk()
        running = self._running
        if running.cache is None or running.logits is None:
            return
        parents: list[Tensor] = []
        tokens: list[Tensor] = []
        first = 0
        for batch in list(running.batches):
            rows = len(batch)
            try:
                advance = batch.step(running.logits_of(first, first + rows))
            except DecodelabError as error:
                running.batches.remove(batch)
                yield from self._failed(batch.unfinished(), error)
            else:
                parents.append(advance.parents + first if first else advance.parents)
                tokens.append(advance.tokens)
            first += rows
        running.logits = None
        for batch in running.batches:
            yield from self._wanted(batch.newly_done())
        running.batches = [batch for batch in running.batches if len(batch)]
        if not running.batches:
            self._running = Running()
            return
        try:
            origins, new, running.computed = merged(running.rows_of(torch.cat(parents)), torch.cat(tokens))
            if not is_identity(origins, len(running.cache.lengths)):
                running.cache = running.cache.select(origins)
            logits, running.cache = self.model.decode(running.cache, new[:, None])
        except Exception as error:  # whatever a model raises: memory, a kernel, its own code
            self._running = Running()
            yield from self._failed([job for batch in running.batches for job in batch.unfinished()], error)
            return
        running.logits = logits[:, 0]
        self._count(running.batches, running.cache, running.computed)

    def _wanted(self, generations: Iterator[Generation]) -> Iterator[Generation]:
        """Those that were not cancelled."""
        for generation in generations:
            if generation.index in self._cancelled:
                self._cancelled.discard(generation.index)
            else:
                yield generation

    def _failed(self, jobs: Sequence[Job], error: Exception) -> Iterator[Failed]:
        """The jobs of a step that raised."""
        if not isinstance(error, DecodelabError):
            self._prefixes.forget()  # it may have been memory that was missing
            error = forward_failed(self.model.name, error)
        for job in jobs:
            if job.index in self._cancelled:
                self._cancelled.discard(job.index)
            else:
                yield Failed(job.index, error)

    def _bytes(self, job: Job) -> int:
        """What the cache of a job may come to hold."""
        return self.model.cache_bytes(len(job.tokens), job.strategy.search.peak_rows, job.max_new_tokens)

    def _admit(self) -> Iterator[Failed]:
        """Prefill the jobs next in line and let them join, if there is room."""
        if not self._waiting:
            return
        held = [job for batch in self._running.batches for job in batch.unfinished()]
        held += [job for prefill in self._prefills for job in prefill.jobs]
        cached = self._running.cache.nbytes if self._running.cache is not None else 0
        admitted, nbytes = next_in_line(self._waiting, held, self.max_rows, self.memory, self._bytes, cached)
        if not admitted:
            return
        if self.memory is not None:
            self._prefixes.limit(min(KEPT, max(0, self.memory - nbytes)))
        whole: list[Job] = []
        for job in admitted:
            short = len(job.tokens) - self._prefixes.known(job.tokens) <= CHUNK
            if short or not held or needs_whole_prompts(self.model):
                whole.append(job)
                continue
            same = [p for p in self._prefills if p.jobs and p.jobs[0].tokens == job.tokens]
            if same:
                same[0].jobs.append(job)
            else:
                self._prefills.append(_Prefill([job]))
        if whole:
            different = list(dict.fromkeys(job.tokens for job in whole))
            try:
                found = self._prefixes.start(different, None if self.memory is None else self.memory - nbytes)
            except Exception as error:  # as in `step`
                yield from self._failed(whole, error)
                return
            yield from self._join(whole, found)

    def _prefill_chunk(self) -> Iterator[Failed]:
        """Compute the next chunk of the first long prompt; at its end its jobs join."""
        while self._prefills and not self._prefills[0].jobs:  # all cancelled
            self._prefills.popleft()
        if not self._prefills:
            return
        prefill = self._prefills[0]
        tokens = prefill.jobs[0].tokens
        end = CHUNK + (prefill.done if prefill.cache is not None else self._prefixes.known(tokens))
        chunk = tokens[prefill.done : end]
        try:
            if prefill.cache is None:
                _, logits, prefill.cache, (prefill.computed,) = self._prefixes.start([chunk])
            else:
                logits, prefill.cache = self.model.decode(prefill.cache, torch.tensor([chunk]))
                logits = logits[:, -1]
                prefill.computed += len(chunk)
            prefill.done += len(chunk)
            done = prefill.done == len(tokens)
            if done:
                self._prefixes.keep(tokens, prefill.cache, 0)
        except Exception as error:  # as in `step`
            self._prefills.popleft()
            yield from self._failed(prefill.jobs, error)
            return
        if done:
            self._prefills.popleft()
            yield from self._join(prefill.jobs, Prefilled([tokens], logits, prefill.cache, [prefill.computed]))

    def _join(self, jobs: Sequence[Job], prefilled: Prefilled) -> Iterator[Failed]:
        """Give jobs their rows of a prefilled cache and put them beside those that run."""
        groups: list[list[Job]] = []
        for job in jobs:
            for group in groups:
                if group[0].strategy == job.strategy and group[0].limits == job.limits:
                    group.append(job)
                    break
            else:
                groups.append([job])
        prompts, logits, cache, computed = prefilled
        places = {prompt: i for i, prompt in enumerate(prompts)}
        paid: set[Tokens] = set()
        batches: list[Batch] = []
        rows: list[int] = []
        for group in groups:
            prefill: list[int] = []
            for job in group:
                prefill.append(0 if job.tokens in paid else computed[places[job.tokens]])
                paid.add(job.tokens)
            try:
                batches.append(Batch(self.model, group, prefill, self.observers))
            except DecodelabError as error:  # a processor that refuses the vocabulary or the prompt
                yield from self._failed(group, error)
                continue
            for job in group:
                rows += [places[job.tokens]] * job.strategy.search.start_rows
        if not batches:
            return
        running = self._running
        try:
            index = torch.tensor(rows)
            used, computed_by = index.unique(return_inverse=True)
            if len(used) < len(prompts):
                logits, cache = logits[used.to(logits.device)], cache.select(used)
            self._count(batches, cache, computed_by, decoded=False)
            if running.cache is None or running.logits is None:
                running.cache, running.logits, running.computed = cache, logits, computed_by
            else:
                before = running.rows_of(torch.arange(sum(map(len, running.batches))))
                running.computed = torch.cat([before, computed_by + len(running.logits)])
                running.cache, running.logits = running.cache.join(cache), torch.cat([running.logits, logits])
            running.batches += batches
        except Exception as error:  # as in `step`; a join that failed may have touched both sides
            self._running = Running()
            for batch in (*running.batches, *(b for b in batches if b not in running.batches)):
                yield from self._failed(batch.unfinished(), error)

    def _count(self, batches: Sequence[Batch], cache: Cache, computed: Tensor | None, decoded: bool = True) -> None:
        """Book a forward pass over the rows of these batches; those that were computed as one count each."""
        lengths = list(cache.lengths)
        if computed is not None:
            lengths = [lengths[row] for row in computed.tolist()]
        token_bytes = cache.nbytes / max(sum(lengths), 1)
        first = 0
        for batch in batches:
            batch.count(lengths[first : first + len(batch)], token_bytes, decoded)
            first += len(batch)
