"""The lane of jobs that are decoded speculatively: a draft guesses, the model checks several tokens in one pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from decodelab.core.errors import DecodelabError, TooLarge, UnsupportedStrategy
from decodelab.core.events import Observer
from decodelab.core.protocols import Cache, LanguageModel
from decodelab.core.values import Generation, Tokens
from decodelab.engine.batch import is_identity
from decodelab.engine.job import Job
from decodelab.engine.queue import check_memory, check_rows, next_in_line
from decodelab.engine.refusals import forward_failed
from decodelab.engine.runners.proposers import Draft, ModelDraft, NgramProposer
from decodelab.engine.runners.runner import Failed
from decodelab.engine.runners.speculative_batch import DraftedBatch
from decodelab.models.composed import check_vocabulary
from decodelab.search.greedy import Greedy
from decodelab.search.sample import Sample
from decodelab.search.speculative import NGRAM, Speculative


class SpeculativeLane:
    """Runs jobs under one `speculative` stage: in each step all rows are drafted for, and checked in one forward pass.

    Each row goes on as far as its own draft was right, and leaves at once when it ends. Waiting jobs join once a
    quarter of the rows is free, in the order they came.

    Args:
        model: the model that decides.
        driver: the stage.
        load: loads the draft.
        max_rows: rows computed at once; a job that has more runs alone.
        memory: bytes of cache, the draft's included, that admitted jobs may come to hold; None for no bound.
        observers: told of every step of every position.

    Raises:
        ModelError: if the draft cannot be loaded, or has another vocabulary.
    """

    def __init__(
        self,
        model: LanguageModel,
        driver: Speculative,
        load: Callable[[str], LanguageModel],
        max_rows: int,
        memory: int | None,
        observers: Sequence[Observer],
    ) -> None:
        self.model = model
        self.driver = driver
        self.max_rows = max_rows
        self.memory = memory
        self.observers = observers
        self.draft = self._made(load)
        self._waiting: deque[Job] = deque()
        self._batches: list[DraftedBatch] = []
        self._cache: Cache | None = None
        self._valid: list[int] = []  # of each row, how many tokens of its text the cache holds
        self._done: deque[Generation | Failed] = deque()

    def _made(self, load: Callable[[str], LanguageModel]) -> Draft:
        """What proposes."""
        if self.driver.draft == NGRAM:
            return NgramProposer(self.driver.ngram)
        draft = load(self.driver.draft) if isinstance(self.driver.draft, str) else self.driver.draft
        check_vocabulary(self.driver, self.model, draft)
        return ModelDraft(draft)

    @property
    def busy(self) -> bool:
        """Whether any job is waiting or running."""
        return bool(self._waiting or self._batches)

    @property
    def rows(self) -> int:
        """Rows that run."""
        return sum(map(len, self._batches))

    def enqueue(self, job: Job) -> None:
        """Put a job in the queue.

        Raises:
            UnsupportedStrategy: under a search other than greedy or sample.
            InvalidParameter: if it asks for too many rows.
            TooLarge: if it can never fit the memory, or the draft's context.
        """
        search = job.strategy.search
        if not isinstance(search, Greedy | Sample):
            raise UnsupportedStrategy(
                f"{self.driver} drives greedy and sample only, got {search}; leave one of them out"
            )
        check_rows(job)
        needed = len(job.tokens) + job.max_new_tokens - 1
        if self.draft.context_length is not None and needed > self.draft.context_length:
            raise TooLarge(
                f"{job.name} with {job.max_new_tokens} new tokens takes a context of {needed}, the draft of "
                f"{self.driver} holds {self.draft.context_length}; ask for fewer new tokens or take another draft"
            )
        check_memory(job, self._bytes(job), self.memory)
        self._waiting.append(job)

    def _bytes(self, job: Job) -> int:
        """What the caches of a job, the draft's too, may come to hold."""
        # A row's cache also takes the filler beside rows with longer drafts.
        asked = len(job.tokens), job.strategy.search.peak_rows, job.max_new_tokens + self.driver.most
        return self.model.cache_bytes(*asked) + self.draft.cache_bytes(*asked)

    def cancel(self, number: int) -> bool:
        """Drop a job and its rows; whether there was one of that number, not yet done."""
        for queue in (self._waiting, self._done):
            for job in queue:
                if job.index == number:
                    queue.remove(job)  # pyright: ignore[reportArgumentType]  (it is of this queue)
                    return True
        if not any(batch.cancel(number) for batch in self._batches):
            return False
        kept: list[Tensor] = []
        first = 0
        for batch in self._batches:
            rows = batch.wanted()
            kept.append(first + rows)
            first += len(batch)
            if len(rows) < len(batch):
                batch.keep(rows)
        going = torch.cat(kept)
        self._go_on(going, [()] * len(going))
        return True

    def interrupted(self) -> Iterator[Generation | Failed]:
        """Empty the lane: the jobs that have begun as far as they came, of those that wait nothing."""
        done, batches = [*self._done], self._batches
        self._done.clear()
        self._waiting.clear()
        self._clear()
        yield from done
        for batch in batches:
            yield from batch.interrupted()

    def step(self, admit: bool = True) -> Iterator[Generation | Failed]:
        """One round: admit what fits, draft for all rows, check in one pass, and yield what finished.

        Args:
            admit: whether waiting jobs may begin.
        """
        if admit:
            self._admit()
        if self._batches:
            self._round()
        while self._done:
            yield self._done.popleft()

    def _admit(self) -> None:
        """Prefill the jobs next in line and let them take their first token, if there is room."""
        held = [job for batch in self._batches for job in batch.unfinished()]
        admitted, _ = next_in_line(self._waiting, held, self.max_rows, self.memory, self._bytes)
        if not admitted:
            return
        prompts = list(dict.fromkeys(job.tokens for job in admitted))
        try:
            logits, cache = self.model.prefill(prompts)
        except Exception as error:  # as in `_round`
            failure = forward_failed(self.model.name, error)
            self._done += [Failed(job.index, failure) for job in admitted]
            return
        groups: dict[object, list[Job]] = {}
        for job in admitted:
            groups.setdefault((job.strategy, job.limits), []).append(job)
        places = {prompt: i for i, prompt in enumerate(prompts)}
        paid: set[Tokens] = set()
        batches: list[DraftedBatch] = []
        rows: list[int] = []
        for group in groups.values():
            firsts: list[bool] = []
            for job in group:
                firsts.append(job.tokens not in paid)
                paid.add(job.tokens)
            prefill = [len(job.tokens) * first for job, first in zip(group, firsts, strict=True)]
            try:
                batch = DraftedBatch(self.model, group, prefill, self.observers, self.driver)
            except DecodelabError as error:  # a processor that refuses the vocabulary, the prompt or the driver
                self._done += [Failed(job.index, error) for job in group]
                continue
            batches.append(batch)
            for job in group:
                rows += [places[job.tokens]] * job.strategy.search.start_rows
        if not batches:
            return
        before, name = len(self._batches), self.draft.name
        self._batches += batches
        try:
            computed = self.draft.begin(prompts, rows)
            for batch in batches:
                paying = zip(batch.jobs, batch.prefill, strict=True)
                batch.draft_tokens += torch.tensor([computed[places[job.tokens]] if n else 0 for job, n in paying])
            name = self.model.name
            index = torch.tensor(rows)
            cache = cache.select(index)
            self._count(batches, cache, decoded=False)
            self._valid += cache.lengths
            self._cache = cache if self._cache is None else self._cache.join(cache)
        except Exception as error:  # as in `_round`; a join that failed may have touched both sides
            self._fail(forward_failed(name, error))
            return
        none = torch.empty(len(rows), 0, dtype=torch.int64)
        self._verify(before, logits[index.to(logits.device), None], none, given=0)

    def _round(self) -> None:
        """Draft for all rows and check the drafts in one pass."""
        assert self._cache is not None
        # In every cache all rows get as many positions as the longest draft has.
        longest = max(self._cache.lengths)
        room = [
            context - longest - 1
            for context in (self.model.context_length, self.draft.context_length)
            if context is not None
        ]
        name = self.draft.name
        try:
            drafts = self.draft.propose(self._batches, min([self.driver.most, *room]))
            name = self.model.name
            last = torch.cat([batch.last_tokens for batch in self._batches])
            logits, self._cache = self.model.decode(self._cache, torch.cat([last[:, None], drafts], dim=1))
        except Exception as error:  # whatever a model raises: memory, a kernel, its own code
            self._fail(forward_failed(name, error))
            return
        self._count(self._batches, self._cache)
        self._verify(0, logits, drafts, given=1)

    def _verify(self, first: int, logits: Tensor, drafts: Tensor, *, given: int) -> None:
        """Let the rows of all batches from `first` on go as far as their drafts were right; the others stay.

        The model was given the drafted tokens of these rows, and `given` tokens before them.
        """
        failed: list[tuple[DraftedBatch, DecodelabError]] = []
        staying = sum(map(len, self._batches[:first]))
        going = [torch.arange(staying)]
        taken: list[Tokens] = [()] * staying
        at = 0
        for batch in self._batches[first:]:
            rows = slice(at, at + len(batch))
            at = rows.stop
            try:
                live, counts = batch.verify(logits[rows], drafts[rows])
            except DecodelabError as error:
                failed.append((batch, error))
            else:
                going.append(staying + rows.start + live)
                taken += batch.latest(counts)
                for row, count in zip(going[-1].tolist(), counts.tolist(), strict=True):
                    self._valid[row] += count - 1 + given
        for batch in self._batches[first:]:
            self._done += batch.newly_done()
        for batch, error in failed:
            self._done += [Failed(job.index, error) for job in batch.unfinished()]
        broken = [batch for batch, _ in failed]
        self._batches = [batch for batch in self._batches if len(batch) and batch not in broken]
        self._go_on(torch.cat(going), taken)

    def _go_on(self, rows: Tensor, taken: Sequence[Tokens]) -> None:
        """Keep these rows of the caches (int64 [n]), each longer by what it took."""
        self._batches = [batch for batch in self._batches if len(batch)]
        if not self._batches or self._cache is None:
            self._clear()
            return
        name = self.model.name
        try:
            if not is_identity(rows, len(self._cache.lengths)):
                self._cache = self._cache.select(rows)
            self._valid = [self._valid[row] for row in rows.tolist()]
            if list(self._cache.lengths) != self._valid:
                self._cache = self._cache.rewind(self._valid)
            name = self.draft.name
            self.draft.keep(rows.tolist(), taken)
        except Exception as error:  # as in `_round`
            self._fail(forward_failed(name, error))

    def _clear(self) -> None:
        """Forget all that runs."""
        self._batches, self._cache, self._valid = [], None, []
        self.draft.clear()

    def _fail(self, error: DecodelabError) -> None:
        """Empty the lane of what runs, after a pass that raised: a cache that was half written cannot be trusted."""
        batches = self._batches
        self._clear()
        self._done += [Failed(job.index, error) for batch in batches for job in batch.unfinished()]

    def _count(self, batches: Sequence[DraftedBatch], cache: Cache, decoded: bool = True) -> None:
        """Book a forward pass over the rows of these batches, which are those of the cache."""
        lengths = cache.lengths
        # What the draft holds is shared out like what the model does.
        token_bytes = (cache.nbytes + self.draft.nbytes) / max(sum(lengths), 1)
        first = 0
        for batch in batches:
            batch.count(lengths[first : first + len(batch)], token_bytes, decoded)
            first += len(batch)
