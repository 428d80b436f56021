"""`BatchedRunner`: all rows in one running batch, one forward pass and one token a step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from decodelab.core.errors import DecodelabError
from decodelab.core.events import Observer
from decodelab.core.protocols import Cache, LanguageModel
from decodelab.core.reasons import PRUNED
from decodelab.core.values import Tokens
from decodelab.engine.batch import Batch, is_identity
from decodelab.engine.continued import continued
from decodelab.engine.failures import forward_failed
from decodelab.engine.faults import stage_failed
from decodelab.engine.job import Job, check_memory, check_rows
from decodelab.engine.prefix_cache import MOST_BYTES, Prefilled, PrefixCache
from decodelab.engine.runners.batching import begin, count_pass
from decodelab.engine.runners.rows import RunningRows, deduplicated
from decodelab.engine.runners.runner import Failed, Outcome, failed
from decodelab.models.composed import needs_whole_prompts

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 256
"""Tokens of a long prompt computed between two steps of the rows that run already."""


@dataclass
class _LongPrompt:
    """Jobs of one prompt that is computed in chunks, and how far it is computed."""

    jobs: list[Job]
    done: int = 0
    computed: int = 0
    cache: Cache | None = None


class BatchedRunner:
    """Runs jobs of any strategies in one batch: one forward pass a step computes the next token of every row.

    Rows are grouped by strategy only for processors and search. Rows that finish leave at once. A prompt is computed
    once for all jobs that begin with it, and only from where it differs from those kept in the prefix cache; a long
    one is computed in chunks between the steps of the others. Rows with identical tokens are computed once.

    Args:
        model: the language model.
        prefixes: keeps prompts of that model.
        memory: bytes of cache that running jobs may come to hold; None for no bound.
        observers: told of every step.
    """

    def __init__(
        self, model: LanguageModel, prefixes: PrefixCache, memory: int | None, observers: Sequence[Observer]
    ) -> None:
        self.model = model
        self.memory = memory
        self.observers = observers
        self._prefixes = prefixes
        self._long_prompts: deque[_LongPrompt] = deque()
        self._running = RunningRows()

    @property
    def rows(self) -> int:
        """Rows that run, or whose prompt is being computed."""
        begun = (job for prompt in self._long_prompts for job in prompt.jobs)
        return sum(map(len, self._running.batches)) + sum(job.strategy.search.start_rows for job in begun)

    @property
    def nbytes(self) -> int:
        """Bytes that the cache of the running rows holds."""
        return self._running.cache.nbytes if self._running.cache is not None else 0

    def check(self, job: Job) -> None:
        """Refuse a job of too many rows, or one that can never fit the memory."""
        check_rows(job)
        check_memory(job, self.bytes_of(job), self.memory)

    def group(self, job: Job) -> None:
        """None: jobs join what runs."""

    def bytes_of(self, job: Job) -> int:
        """Bytes the cache of a job may come to hold."""
        return self.model.cache_bytes(len(job.tokens), job.rows, job.max_new_tokens)

    def admit(self, jobs: Sequence[Job], room: int | None) -> Iterator[Failed]:
        """Prefill jobs and let them join; those with a long prompt join when it is computed."""
        if room is not None:
            self._prefixes.limit(min(MOST_BYTES, room))
        alone = not self._running.batches and not self._long_prompts
        at_once: list[Job] = []
        for job in jobs:
            short = len(job.prefilled) - self._prefixes.known(job.prefilled) <= CHUNK
            if short or alone or needs_whole_prompts(self.model):
                at_once.append(job)
                continue
            same = [p for p in self._long_prompts if p.jobs and p.jobs[0].prefilled == job.prefilled]
            if same:
                same[0].jobs.append(job)
            else:
                self._long_prompts.append(_LongPrompt([job]))
        for group in self._prefilled_together(at_once):
            try:
                if group[0].written and needs_whole_prompts(self.model):
                    found = continued(self.model, group[0].tokens, [job.written for job in group])
                else:
                    found = self._prefixes.prefill(list(dict.fromkeys(job.prefilled for job in group)), room)
            except Exception as error:  # whatever a model raises: memory, a kernel, its own code
                yield from self._failed(group, error)
            else:
                yield from self._join(group, found)

    def _prefilled_together(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """The jobs whose prefill is one pass or more of the prefix cache, or of one prompt that is read apart."""
        groups: dict[Tokens, list[Job]] = {}
        for job in jobs:
            apart = job.written and needs_whole_prompts(self.model)
            groups.setdefault(job.tokens if apart else (), []).append(job)
        return list(groups.values())

    def step(self) -> Iterator[Outcome]:
        """Choose a token for every row, yield what finished, and compute the next logits."""
        yield from self._prefill_chunk()
        running = self._running
        if running.cache is None or running.logits is None:
            return
        parents: list[Tensor] = []
        tokens: list[Tensor] = []
        first = 0
        for batch in list(running.batches):
            rows, owners = len(batch), batch.row_jobs
            try:
                advance = batch.step(running.logits_of(first, first + rows))
            except Exception as error:  # whatever its stages raise
                running.batches.remove(batch)
                yield from failed(batch.unfinished(), stage_failed(str(batch.jobs[0].strategy), error))
            else:
                if len(advance.ended_parents) and batch.jobs[0].part is not None:
                    self._keep_paused(batch, owners[advance.ended_parents], advance.ended_parents + first)
                parents.append(advance.parents + first if first else advance.parents)
                tokens.append(advance.tokens)
            first += rows
        running.logits = None
        for batch in running.batches:
            yield from batch.newly_done()
        running.batches = [batch for batch in running.batches if len(batch)]
        if not running.batches:
            self._running = RunningRows()
            return
        try:
            origins, new, running.computed = deduplicated(running.rows_of(torch.cat(parents)), torch.cat(tokens))
            if not is_identity(origins, len(running.cache.lengths)):
                running.cache = running.cache.select(origins)
            logits, running.cache = self.model.decode(running.cache, new[:, None])
            running.logits = logits[:, 0]
            self._count(running.batches, running.cache, running.computed)
        except Exception as error:  # as in `admit`; a cache that is half written cannot be used again
            self._running = RunningRows()
            yield from self._failed(_unfinished(running.batches), error)

    def _keep_paused(self, batch: Batch, owners: Tensor, ended: Tensor) -> None:
        """Store what rows hold that pause in this step, for those that will go on from there.

        Args:
            batch: of the rows; what ended is the last in its history.
            owners: of each row that ended, which of its jobs.
            ended: the number of each among all rows.
        """
        cache = self._running.cache
        assert cache is not None
        rows = self._running.rows_of(ended).tolist()
        try:
            for over, owner, row in zip(batch.history.ended[-len(rows) :], owners.tolist(), rows, strict=True):
                if over.reason == PRUNED:  # its last token is not computed yet
                    self._prefixes.keep((*batch.jobs[owner].tokens, *over.path.tokens[:-1]), cache, row, least=1)
        except Exception:  # no memory for it: the rows that run need it more
            self._prefixes.clear()

    def cancel(self, number: int) -> bool:
        """Drop a job while its prompt is computed; let one that has rows end with its next token."""
        for prompt in self._long_prompts:
            for job in prompt.jobs:
                if job.index == number:
                    prompt.jobs.remove(job)
                    return True
        return not any(batch.cancel(number) for batch in self._running.batches)

    def interrupt(self) -> Iterator[Outcome]:
        """Empty the runner: yield the jobs that have rows as far as they came."""
        running, self._running = self._running, RunningRows()
        self._long_prompts.clear()
        for batch in running.batches:
            yield from batch.interrupted()

    def _failed(self, jobs: Iterable[Job], error: Exception) -> list[Failed]:
        """The outcomes of jobs whose forward pass raised."""
        if not isinstance(error, DecodelabError):
            self._prefixes.clear()  # it may have been memory that was missing
        return failed(jobs, forward_failed(self.model.name, error))

    def _prefill_chunk(self) -> Iterator[Failed]:
        """Compute the next chunk of the first long prompt; at its end its jobs join."""
        while self._long_prompts and not self._long_prompts[0].jobs:  # all cancelled
            self._long_prompts.popleft()
        if not self._long_prompts:
            return
        prompt = self._long_prompts[0]
        tokens = prompt.jobs[0].prefilled
        end = CHUNK + (prompt.done if prompt.cache is not None else self._prefixes.known(tokens))
        chunk = tokens[prompt.done : end]
        try:
            if prompt.cache is None:
                _, logits, prompt.cache, (prompt.computed,) = self._prefixes.prefill([chunk])
            else:
                logits, prompt.cache = self.model.decode(prompt.cache, torch.tensor([chunk]))
                logits = logits[:, -1]
                prompt.computed += len(chunk)
            prompt.done += len(chunk)
            done = prompt.done == len(tokens)
            if done:
                self._prefixes.keep(tokens, prompt.cache, 0)
        except Exception as error:  # as in `admit`
            self._long_prompts.popleft()
            yield from self._failed(prompt.jobs, error)
            return
        if done:
            self._long_prompts.popleft()
            yield from self._join(prompt.jobs, Prefilled([tokens], logits, prompt.cache, [prompt.computed]))

    def _join(self, jobs: Sequence[Job], prefilled: Prefilled) -> Iterator[Failed]:
        """Give jobs their rows of a prefilled cache and put them beside those that run."""
        prompts, logits, cache, computed = prefilled
        begun = begin(jobs, prompts, computed, lambda group, paid: Batch(self.model, group, paid, self.observers))
        yield from begun.failed
        if not begun.batches:
            return
        running = self._running
        try:
            used, computed_by = torch.tensor(begun.rows).unique(return_inverse=True)
            if len(used) < len(prompts):
                logits, cache = logits[used.to(logits.device)], cache.select(used)
            self._count(begun.batches, cache, computed_by, decoded=False)
            if running.cache is None or running.logits is None:
                running.cache, running.logits, running.computed = cache, logits, computed_by
            else:
                before = running.rows_of(torch.arange(sum(map(len, running.batches))))
                running.computed = torch.cat([before, computed_by + len(running.logits)])
                running.cache, running.logits = running.cache.join(cache), torch.cat([running.logits, logits])
            running.batches += begun.batches
        except Exception as error:  # as in `admit`; a join that failed may have touched both sides
            self._running = RunningRows()
            batches = [*running.batches, *(b for b in begun.batches if b not in running.batches)]
            yield from self._failed(_unfinished(batches), error)

    def _count(self, batches: Sequence[Batch], cache: Cache, computed: Tensor | None, decoded: bool = True) -> None:
        """Count a forward pass over the rows of these batches; a row computed for several counts for each of them."""
        lengths = list(cache.lengths)
        if computed is not None:
            lengths = [lengths[row] for row in computed.tolist()]
        count_pass(batches, lengths, cache.nbytes, decoded=decoded)


def _unfinished(batches: Iterable[Batch]) -> list[Job]:
    """The jobs of batches that are not done."""
    return [job for batch in batches for job in batch.unfinished()]
