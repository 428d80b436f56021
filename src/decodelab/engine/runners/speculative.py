"""`SpeculativeRunner`: a proposer guesses tokens, and the model checks several of them in one pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from decodelab.core.errors import DecodelabError, TooLarge, UnsupportedStrategy
from decodelab.core.events import Observer
from decodelab.core.protocols import Cache, LanguageModel
from decodelab.core.values import Tokens
from decodelab.engine.batch import is_identity
from decodelab.engine.failures import forward_failed
from decodelab.engine.faults import stage_failed
from decodelab.engine.job import Job, check_memory, check_rows
from decodelab.engine.runners.batching import begin, count_pass
from decodelab.engine.runners.draft_model_proposer import DraftModelProposer
from decodelab.engine.runners.ngram_proposer import NgramProposer
from decodelab.engine.runners.proposer import Proposer
from decodelab.engine.runners.runner import Outcome, failed
from decodelab.engine.runners.speculative_batch import SpeculativeBatch
from decodelab.models.composed import check_vocabulary
from decodelab.search.speculative import NGRAM, Speculative

if TYPE_CHECKING:
    from torch import Tensor


class SpeculativeRunner:
    """Runs jobs under one `speculative` stage: each step gets proposals for all rows and checks them in one pass.

    Each row advances over the proposals that are right for it, and leaves at once when it ends.

    Args:
        model: the model that decides.
        driver: the stage.
        load: loads the draft model.
        memory: bytes of cache, the proposer's included, that running jobs may come to hold; None for no bound.
        observers: told of every step of every position.

    Raises:
        ModelError: if the draft model cannot be loaded, or has a different vocabulary.
    """

    def __init__(
        self,
        model: LanguageModel,
        driver: Speculative,
        load: Callable[[str], LanguageModel],
        memory: int | None,
        observers: Sequence[Observer],
    ) -> None:
        self.model = model
        self.driver = driver
        self.memory = memory
        self.observers = observers
        self.proposer = _proposer(model, driver, load)
        self._batches: list[SpeculativeBatch] = []
        self._cache: Cache | None = None
        self._valid: list[int] = []  # of each row, how many tokens of its text the cache holds
        self._done: deque[Outcome] = deque()

    @property
    def rows(self) -> int:
        """Rows that run."""
        return sum(map(len, self._batches))

    @property
    def nbytes(self) -> int:
        """Bytes that the caches of the running rows hold, the proposer's included."""
        return 0 if self._cache is None else self._cache.nbytes + self.proposer.nbytes

    def check(self, job: Job) -> None:
        """Refuse other searches than greedy and sample, too many rows, and what exceeds the context or the memory."""
        search = job.strategy.search
        if not job.strategy.search_stage.independent_rows:
            raise UnsupportedStrategy(
                f"{self.driver} works with greedy and sample only, got {search}; leave one of them out"
            )
        check_rows(job)
        needed = len(job.tokens) + job.max_new_tokens - 1
        if self.proposer.context_length is not None and needed > self.proposer.context_length:
            raise TooLarge(
                f"{job.name} with {job.max_new_tokens} new tokens takes a context of {needed}, the draft of "
                f"{self.driver} holds {self.proposer.context_length}; ask for fewer new tokens or take another draft"
            )
        check_memory(job, self.bytes_of(job), self.memory)

    def group(self, job: Job) -> None:
        """None: jobs join what runs."""

    def bytes_of(self, job: Job) -> int:
        """Bytes the caches of a job, the proposer's included, may come to hold."""
        # A row is padded to the longest proposal beside it.
        asked = len(job.tokens), job.rows, job.max_new_tokens + self.driver.most
        return self.model.cache_bytes(*asked) + self.proposer.cache_bytes(*asked)

    def admit(self, jobs: Sequence[Job], room: int | None) -> Iterator[Outcome]:
        """Prefill jobs and let each take its first token."""
        self._begin(jobs)
        yield from self._taken()

    def step(self) -> Iterator[Outcome]:
        """One round: get proposals for all rows, check them in one pass, and yield what finished."""
        if self._batches:
            self._round()
        yield from self._taken()

    def cancel(self, number: int) -> bool:
        """Drop a job and its rows."""
        if any(batch.cancel(number) for batch in self._batches):
            kept: list[Tensor] = []
            first = 0
            for batch in self._batches:
                rows = batch.wanted()
                kept.append(first + rows)
                first += len(batch)
                if len(rows) < len(batch):
                    batch.keep(rows)
            going = torch.cat(kept)
            self._advance(going, [()] * len(going))
        return True

    def interrupt(self) -> Iterator[Outcome]:
        """Empty the runner: yield the jobs that run as far as they came."""
        batches = self._batches
        self._clear()
        yield from self._taken()
        for batch in batches:
            yield from batch.interrupted()

    def _taken(self) -> Iterator[Outcome]:
        """Hand out the outcomes, so that what is not taken because of Ctrl-C is still there."""
        while self._done:
            yield self._done.popleft()

    def _begin(self, jobs: Sequence[Job]) -> None:
        """Prefill jobs in both caches, and check the first token of each."""
        prompts = list(dict.fromkeys(job.tokens for job in jobs))
        try:
            logits, cache = self.model.prefill(prompts)
        except Exception as error:  # whatever a model raises: memory, a kernel, its own code
            self._done += failed(jobs, forward_failed(self.model.name, error))
            return
        begun = begin(
            jobs,
            prompts,
            list(map(len, prompts)),
            lambda group, paid: SpeculativeBatch(self.model, group, paid, self.observers, self.driver),
        )
        self._done += begun.failed
        if not begun.batches:
            return
        before, name = len(self._batches), self.proposer.name
        self._batches += begun.batches
        try:
            computed = dict(zip(prompts, self.proposer.begin(prompts, begun.rows), strict=True))
            for batch in begun.batches:
                paying = zip(batch.jobs, batch.prefill, strict=True)
                batch.draft_tokens += torch.tensor([computed[job.tokens] if paid else 0 for job, paid in paying])
            name = self.model.name
            index = torch.tensor(begun.rows)
            cache = cache.select(index)
            self._count(begun.batches, cache, decoded=False)
            self._valid += cache.lengths
            self._cache = cache if self._cache is None else self._cache.join(cache)
        except Exception as error:  # as above; a join that failed may have touched both sides
            self._fail(forward_failed(name, error))
            return
        none = torch.empty(len(begun.rows), 0, dtype=torch.int64)
        self._verify(before, logits[index.to(logits.device), None], none, given=0)

    def _round(self) -> None:
        """Get proposals for all rows and check them in one pass."""
        assert self._cache is not None
        # In every cache all rows get as many positions as the longest proposal has.
        longest = max(self._cache.lengths)
        room = [
            context - longest - 1
            for context in (self.model.context_length, self.proposer.context_length)
            if context is not None
        ]
        name = self.proposer.name
        try:
            proposals = self.proposer.propose(self._batches, min([self.driver.most, *room]))
            name = self.model.name
            last = torch.cat([batch.last_tokens for batch in self._batches])
            logits, self._cache = self.model.decode(self._cache, torch.cat([last[:, None], proposals], dim=1))
            self._count(self._batches, self._cache)
        except Exception as error:  # as in `_begin`
            self._fail(forward_failed(name, error))
            return
        self._verify(0, logits, proposals, given=1)

    def _verify(self, first: int, logits: Tensor, proposals: Tensor, *, given: int) -> None:
        """Advance the rows of all batches from `first` on over the proposals that are right; the others stay.

        The model was given the proposals of these rows, and `given` tokens before them.
        """
        refused: list[tuple[SpeculativeBatch, DecodelabError]] = []
        staying = sum(map(len, self._batches[:first]))
        going = [torch.arange(staying)]
        taken: list[Tokens] = [()] * staying
        at = 0
        for batch in self._batches[first:]:
            rows = slice(at, at + len(batch))
            at = rows.stop
            try:
                live, counts = batch.verify(logits[rows], proposals[rows])
            except Exception as error:  # whatever its stages raise
                refused.append((batch, stage_failed(str(batch.jobs[0].strategy), error)))
            else:
                going.append(staying + rows.start + live)
                taken += batch.latest(counts)
                for row, count in zip(going[-1].tolist(), counts.tolist(), strict=True):
                    self._valid[row] += count - 1 + given
        for batch in self._batches[first:]:
            self._done += batch.newly_done()
        for batch, error in refused:
            self._done += failed(batch.unfinished(), error)
        broken = [batch for batch, _ in refused]
        self._batches = [batch for batch in self._batches if len(batch) and batch not in broken]
        self._advance(torch.cat(going), taken)

    def _advance(self, rows: Tensor, taken: Sequence[Tokens]) -> None:
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
            name = self.proposer.name
            self.proposer.keep(rows.tolist(), taken)
        except Exception as error:  # as in `_begin`
            self._fail(forward_failed(name, error))

    def _clear(self) -> None:
        """Drop all rows."""
        self._batches, self._cache, self._valid = [], None, []
        self.proposer.clear()

    def _fail(self, error: DecodelabError) -> None:
        """Fail all jobs that run, after a pass that raised: a cache that is half written cannot be used again."""
        batches = self._batches
        self._clear()
        self._done += failed([job for batch in batches for job in batch.unfinished()], error)

    def _count(self, batches: Sequence[SpeculativeBatch], cache: Cache, decoded: bool = True) -> None:
        """Count a forward pass over the rows of these batches, which are those of the cache."""
        count_pass(batches, cache.lengths, cache.nbytes + self.proposer.nbytes, decoded=decoded)


def _proposer(model: LanguageModel, driver: Speculative, load: Callable[[str], LanguageModel]) -> Proposer:
    """What proposes."""
    if driver.draft == NGRAM:
        return NgramProposer(driver.ngram)
    draft = load(driver.draft) if isinstance(driver.draft, str) else driver.draft
    check_vocabulary(driver, model, draft)
    return DraftModelProposer(draft)
