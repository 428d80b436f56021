"""`Batch`: jobs of one strategy that began together, what they have generated, and how a step's logits continue it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from decodelab.core.errors import DecodelabError, EmptySupport, UnsupportedStrategy
from decodelab.core.events import Observer, Step
from decodelab.core.key import Keys
from decodelab.core.protocols import Advance, Ahead, AnyScorer, Chunk, Embeddings, LanguageModel, Rows
from decodelab.core.reasons import PRUNED
from decodelab.core.values import Cost, Generation, Partial
from decodelab.engine.confidence import token_confidences
from decodelab.engine.failures import check_shape, empty_support, non_finite
from decodelab.engine.faults import blamed, tell
from decodelab.engine.history import History
from decodelab.engine.hypotheses import Ended, Path, as_candidates, ended, generation, selected, unfinished
from decodelab.engine.job import Job
from decodelab.engine.judging import judge, partial
from decodelab.engine.processing import Processed, process
from decodelab.engine.runners.runner import Failed, Outcome
from decodelab.engine.states_after import states_after
from decodelab.engine.stopping import StoppingCriteria
from decodelab.kernels.fused import log_normaliser

if TYPE_CHECKING:
    from torch import Tensor


class Batch:
    """Jobs of one strategy and the same limits, all at the same position; their rows are a slice of the running batch.

    It is given logits and returns which rows continue with which tokens; forward passes and caches are the runner's.

    Args:
        model: for its vocabulary and name.
        jobs: of one strategy and the same limits.
        prefill: tokens computed for the prompt of each job.
        observers: told of every step.
    """

    def __init__(
        self, model: LanguageModel, jobs: Sequence[Job], prefill: Sequence[int], observers: Sequence[Observer]
    ) -> None:
        self.model = model
        self.jobs = jobs
        self.prefill = prefill
        self.observers = observers
        self.processors = jobs[0].strategy.processors
        self.search = jobs[0].strategy.search
        width = self.search.start_rows
        self.row_jobs = torch.arange(len(jobs)).repeat_interleave(width)
        prompts = [job.before for job in jobs for _ in range(width)]
        samples = [range(job.first_sample, job.first_sample + width) for job in jobs]
        self.keys = Keys.join([Keys.of(job.seed, job.tokens, s) for job, s in zip(jobs, samples, strict=True)])
        paths = [path for job in jobs for path in [Path.of(job.after)] * width]
        written = [tokens for job in jobs for tokens in [job.written] * width]
        self.states: list[Any] = states_after(self.processors, prompts, written, model.vocab, self.keys)
        with blamed(self.search):
            self.search_state = self.search.init(len(jobs), self.keys.sample)
        self.stops = StoppingCriteria.of(
            model.vocab, jobs[0].limits, [job.max_new_tokens for job in jobs], jobs[0].strategy.stops, *_pauses(jobs)
        )
        self.texts = self.stops.texts(prompts, written)
        self.recording = any(job.confidences for job in jobs)
        self.history = History.of(paths, self.recording)
        self.began = time.perf_counter()
        self.decoded = torch.zeros(len(jobs), dtype=torch.int64)
        self.passes = torch.zeros(len(jobs), dtype=torch.int64)
        self.peak_bytes = torch.zeros(len(jobs), dtype=torch.float64)
        self.done: set[int] = set()

    def __len__(self) -> int:
        """Live rows."""
        return len(self.row_jobs)

    def step(self, raw: Tensor, ahead: Ahead | None = None) -> Advance:
        """Choose the next tokens from the model's logits [rows, vocab] and bring all values up to date.

        Raises:
            DecodelabError: for logits that are none, and what a stage raises; the batch must not be used any more.
            ObserverRaised: for what an observer raises.
        """
        check_shape(self.model.name, raw, len(self), self.model.vocab.size)
        positions = self.history.positions
        logits = raw.float().cpu()
        normaliser = log_normaliser(logits)
        self._check_finite(logits, normaliser)
        work = process(self.processors, self.states, self.stops.masked(logits, positions))
        processed = work.logits
        processed_normaliser = normaliser if processed is logits else log_normaliser(processed)
        if processed is not logits:
            self._check_support(processed_normaliser, work)

        with blamed(self.search):
            advance, search_state = self.search.step(processed, self.search_state, self._view(positions, logits, ahead))
        if self.observers and self._observable:
            self._observe(positions, logits, work, advance)

        def chosen(source: Tensor, norm: Tensor, parents: Tensor, tokens: Tensor) -> Tensor:
            return source[parents, tokens].double() - norm[parents]

        parents, tokens = advance.parents, advance.tokens
        confidences = token_confidences(logits, normaliser) if self.recording else None
        over: list[Ended] = []
        if len(advance.ended_parents):
            over = self._ended(
                advance,
                confidences,
                chosen(logits, normaliser, advance.ended_parents, advance.ended_tokens),
                chosen(processed, processed_normaliser, advance.ended_parents, advance.ended_tokens),
            )
        logprobs = chosen(logits, normaliser, parents, tokens)
        distribution = logprobs if processed is logits else chosen(processed, processed_normaliser, parents, tokens)
        identity = is_identity(parents, len(logits))
        states: list[Any] = []
        for processor, state, given in zip(self.processors, self.states, work.given, strict=True):
            with blamed(processor):
                kept = state if state is None or identity else state[parents]
                states.append(processor.update(kept, given if identity or state is None else given[parents], tokens))
        texts = (
            [self.texts[p].push(self.model.vocab, t) for p, t in zip(parents.tolist(), tokens.tolist(), strict=True)]
            if self.texts
            else []
        )
        # Everything is computed; from here on only assignments, so that Ctrl-C finds whole rows.
        recorded = confidences if confidences is None or identity else confidences[parents]
        self.history.advance(None if identity else parents, tokens, logprobs, distribution, recorded)
        self.history.ended.extend(over)
        self.states, self.search_state, self.texts = states, search_state, texts
        if not identity:
            self.row_jobs, self.keys = self.row_jobs[parents], self.keys[parents]
        return advance

    def _view(self, positions: Tensor, logits: Tensor, ahead: Ahead | None = None) -> Rows:
        """What the search may know of the rows in a step."""
        return Rows(
            self.row_jobs,
            positions,
            self.keys,
            self.stops.max_new_tokens,
            len(self.model.vocab.eos_ids),
            lambda parents, tokens: self.stops.reasons(self.row_jobs, positions, self.texts, parents, tokens),
            self._partials,
            self._judge,
            lambda: logits,
            self._unit_embeddings,
            ahead,
            self.model.vocab,
        )

    def _check_finite(self, logits: Tensor, normaliser: Tensor) -> None:
        """Refuse NaN, +inf and rows of nothing but -inf; all of them make the normaliser, and any sum, non-finite."""
        if math.isfinite(float(normaliser.sum())):
            return
        row = int((~normaliser.isfinite()).nonzero()[0])
        raise non_finite(self.model.name, logits[row], self._place(row))

    def _check_support(self, normaliser: Tensor, work: Processed) -> None:
        """Refuse rows in which no token is left, naming the stage that removed the last.

        A search that declares `drops_dead_ends` drops such rows; only a job without any other row fails, unless it is
        part of another, which goes on without it.
        """
        dead = ~normaliser.isfinite()
        if not bool(dead.any()):
            return
        if self.jobs[0].strategy.search_stage.drops_dead_ends:
            for job in self.row_jobs[dead].unique().tolist():
                own = self.row_jobs == job
                rest = not bool(dead[own].all()) or self.search.finished(self.search_state, job)
                if rest or self.jobs[job].part is not None:
                    dead &= ~own
            if not bool(dead.any()):
                return
        row = int(dead.nonzero()[0])
        raise empty_support(work, row, self._place(row))

    def _place(self, row: int) -> str:
        """The row and its position, for errors."""
        return f"for {self.jobs[int(self.row_jobs[row])].name} at new token {int(self.history.positions[row]) + 1}"

    def _partials(self, parents: Tensor, tokens: Tensor) -> list[Partial]:
        """The text of each row `parents[i]` continued with `tokens[i]`, as it would be returned if that ends it."""
        cuts = self.stops.cuts(self.row_jobs, self.history.positions, self.texts, parents, tokens)
        return [
            partial(self.model, self.jobs[int(self.row_jobs[row])], (*self.history.row(row).tokens, token), cut)
            for row, token, cut in zip(parents.tolist(), tokens.tolist(), cuts, strict=True)
        ]

    def _unit_embeddings(self) -> Tensor:
        """The model's token embeddings, scaled to unit length."""
        if not isinstance(self.model, Embeddings):
            raise UnsupportedStrategy(
                f"{self.jobs[0].strategy}: {self.model.name} has no token embeddings, which this diversity needs; "
                "choose another"
            )
        return self.model.unit_embeddings

    def _judge(self, scorer: AnyScorer, parents: Tensor, tokens: Tensor) -> Tensor:
        """The score of each row `parents[i]` continued with `tokens[i]`, float64 [n]; one call per job."""
        values = torch.zeros(len(parents), dtype=torch.float64)
        jobs = self.row_jobs[parents]
        for job in jobs.unique().tolist():
            chosen = (jobs == job).nonzero()[:, 0]
            answer = judge(self.model, self.jobs[job], scorer, self._partials(parents[chosen], tokens[chosen]))
            values[chosen] = torch.tensor(answer.values, dtype=torch.float64)
            self.decoded[job] += answer.tokens
            self.passes[job] += answer.passes
        return values

    def _ended(
        self, advance: Advance, confidences: Tensor | None, logprobs: Tensor, processed_logprobs: Tensor
    ) -> list[Ended]:
        """The hypotheses that ended in this step; `confidences` are those of all rows."""
        columns = (advance.ended_parents, advance.ended_tokens, advance.ended_reasons, logprobs, processed_logprobs)
        return [
            ended(
                self.stops,
                self.history.row(row),
                self.texts[row] if self.texts else None,
                token,
                (lp, plp),
                reason,
                None if confidences is None else confidences[row].tolist(),
            )
            for row, token, reason, lp, plp in zip(*(column.tolist() for column in columns), strict=True)
        ]

    @property
    def _observable(self) -> bool:
        """Whether the rows continue prompts that somebody asked for, and not others in their place."""
        return all(job.part is None or job.part.draw.prompt is None for job in self.jobs)

    def _observe(self, positions: Tensor, logits: Tensor, work: Processed, advance: Advance) -> None:
        """Tell the observers about the step."""
        held = self.history.tokens
        index = torch.tensor([job.index if job.part is None else job.part.owner for job in self.jobs])
        over = advance.ended_reasons != PRUNED  # what pauses goes on in another round, or is dropped
        event = Step(
            index[self.row_jobs],
            self.keys.sample,
            positions,
            logits,
            work.logits,
            lambda: work.views,
            torch.cat([advance.parents, advance.ended_parents]),
            torch.cat([advance.tokens, advance.ended_tokens]),
            torch.cat([torch.zeros_like(advance.parents, dtype=torch.bool), over]),
            lambda: tuple(tuple(row[:n]) for row, n in zip(held.tolist(), positions.tolist(), strict=True)),
        )
        tell(self.observers, event)

    def count(
        self, lengths: Sequence[int], token_bytes: float, decoded: bool = True, parents: Tensor | None = None
    ) -> None:
        """Count one forward pass over the live rows.

        Args:
            lengths: tokens the cache holds for each row.
            token_bytes: bytes the cache holds for each of these tokens.
            decoded: whether each row had a token computed; at the start it is the prompt's pass.
            parents: where the pass was over continuations of the live rows, the row of each.
        """
        jobs = len(self.jobs)
        owners = self.row_jobs if parents is None else self.row_jobs[parents]
        live = torch.bincount(owners, minlength=jobs)
        if decoded:
            self.decoded += live
        self.passes += live > 0
        held = torch.bincount(owners, torch.tensor(lengths, dtype=torch.float64), minlength=jobs)
        self.peak_bytes = torch.maximum(self.peak_bytes, held * token_bytes)

    def cancel(self, number: int) -> bool:
        """Make the job of that number end at its next token; False when no unfinished job has it."""
        for i, job in enumerate(self.jobs):
            if job.index == number and i not in self.done:
                # A limit of one more token ends every continuation under any search.
                self.stops.max_new_tokens[i] = int(self.history.positions[self.row_jobs == i].min()) + 1
                return True
        return False

    def newly_done(self) -> Iterator[Outcome]:
        """The outcomes of jobs without rows left; a job is done once its outcome is taken."""
        live = set(self.row_jobs.tolist()) if len(self.history.ended) or not len(self) else range(len(self.jobs))
        for job in range(len(self.jobs)):
            if job not in live and job not in self.done:
                yield self._outcome(job)

    def unfinished(self) -> list[Job]:
        """The jobs that are not done."""
        return [job for i, job in enumerate(self.jobs) if i not in self.done]

    def interrupted(self) -> Iterator[Outcome]:
        """The generations so far of all jobs that are not done."""
        for job in range(len(self.jobs)):
            if job not in self.done:
                yield self._outcome(job)

    def _outcome(self, job: int) -> Outcome:
        """The generation of a job, or how its search or selection fails; either way it is done."""
        self.done.add(job)
        try:
            with blamed(self.jobs[job].strategy.selection or self.search):
                return self._generation(job)
        except DecodelabError as error:
            return Failed(self.jobs[job].index, error)

    def _cost(self, job: int) -> Cost:
        """What a job has cost so far."""
        return Cost(
            self.prefill[job],
            int(self.decoded[job]),
            int(self.passes[job]),
            int(self.peak_bytes[job]),
            time.perf_counter() - self.began,
        )

    def _generation(self, job: int) -> Generation:
        """The generation of a job, its candidates best first; rows still live (after Ctrl-C) come last."""
        spec = self.jobs[job]
        candidates = as_candidates(self.model, spec, self.history.ended, self.search.finished(self.search_state, job))
        live = (self.row_jobs == job).nonzero()[:, 0].tolist()
        if live:
            candidates += [
                unfinished(self.model, spec, self.history.row(row), int(self.keys.sample[row])) for row in live
            ]
        else:
            if not candidates:
                stage = spec.strategy.search_stage
                raise EmptySupport(f"{spec.name}: {stage} found no text; {stage.if_empty}")
            candidates, asked = selected(self.model, spec, candidates)
            self.decoded[job] += asked.tokens
            self.passes[job] += asked.passes
        return generation(self.model, spec, candidates, self._cost(job))


def _pauses(jobs: Sequence[Job]) -> tuple[Chunk | None, Tensor | None]:
    """The unit of text after which the rows of these jobs pause, and the number of tokens."""
    part = jobs[0].part
    if part is None:
        return None, None
    if part.draw.most is None:
        return part.draw.chunk, None
    return part.draw.chunk, torch.tensor([len(job.written) for job in jobs]) + part.draw.most


def is_identity(parents: Tensor, rows: int) -> bool:
    """Whether all rows continue, in order."""
    return len(parents) == rows and parents.tolist() == list(range(rows))
