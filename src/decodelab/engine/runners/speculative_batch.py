"""`SpeculativeBatch`: a batch whose rows advance by several tokens in a step, as far as proposals are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch

from decodelab.core.errors import DecodelabError, UnsupportedStrategy
from decodelab.core.events import Observer
from decodelab.core.key import Keys
from decodelab.core.protocols import PAD, LanguageModel
from decodelab.core.states import can_join, join_states
from decodelab.core.values import Cost, Tokens
from decodelab.engine.batch import Batch
from decodelab.engine.failures import check_shape, non_finite
from decodelab.engine.faults import blamed, stage_failed
from decodelab.engine.history import History
from decodelab.engine.job import Job
from decodelab.engine.processing import process
from decodelab.engine.row_text import RowText
from decodelab.kernels.fused import log_normaliser
from decodelab.search._independent import IndependentRows
from decodelab.search.speculative import Speculative

if TYPE_CHECKING:
    from torch import Tensor

_GROWTH = 2
"""How many more tokens are proposed after all were accepted; otherwise one fewer."""


@dataclass(frozen=True)
class _Part:
    """Some rows of a batch, with everything that belongs to them."""

    row_jobs: Tensor
    keys: Keys
    states: list[Any]
    samples: Tensor
    scores: Tensor
    texts: list[RowText]
    history: History


class SpeculativeBatch(Batch):
    """A `Batch` of independent rows (greedy, sample) that stand at different positions.

    A round goes position by position: all rows take the step of a plain batch; those whose token equals the proposal
    take the next step with the logits after it, the others are put aside. The states of processors thus never see a
    token that was not chosen, and nothing is rolled back.

    Args:
        model, jobs, prefill, observers: as of `Batch`.
        driver: how many tokens are proposed.

    Attributes:
        draft_tokens: int64 [jobs], tokens a draft model computed for each.
        fault: what a stage raised while tokens were proposed; the batch must not be verified then.

    Raises:
        UnsupportedStrategy: for a processor whose state cannot be joined.
    """

    def __init__(
        self,
        model: LanguageModel,
        jobs: Sequence[Job],
        prefill: Sequence[int],
        observers: Sequence[Observer],
        driver: Speculative,
    ) -> None:
        super().__init__(model, jobs, prefill, observers)
        for processor, state in zip(self.processors, self.states, strict=True):
            if not can_join(state):
                raise UnsupportedStrategy(
                    f"{processor} cannot run under {driver}: its state has no join, which rows that go on by different "
                    "numbers of tokens need; leave one of them out"
                )
        self.driver = driver
        self.lengths = torch.full((len(self),), driver.k)
        self.draft_tokens = torch.zeros(len(jobs), dtype=torch.int64)
        self.proposed = torch.zeros(len(jobs), dtype=torch.int64)
        self.accepted = torch.zeros(len(jobs), dtype=torch.int64)
        self.fault: DecodelabError | None = None
        self._ahead: list[Any] = []
        self._open = torch.arange(0)

    @property
    def row_ids(self) -> Tensor:
        """A number for each row, int64 [rows], that stays its own and ascends."""
        return (self.row_jobs << 32) + self.keys.sample

    @property
    def last_tokens(self) -> Tensor:
        """The last token of each row, int64 [rows]; every row has one."""
        return self.history.tokens.gather(1, self.history.positions[:, None] - 1)[:, 0]

    def latest(self, counts: Tensor) -> list[Tokens]:
        """The last `counts` tokens of each row, int64 [rows]."""
        columns = zip(self.history.tokens.tolist(), self.history.positions.tolist(), counts.tolist(), strict=True)
        return [tuple(tokens[n - count : n]) for tokens, n, count in columns]

    def begin_proposals(self, most: int) -> Tensor:
        """Begin to propose at most `most` tokens a row: how many each row can use, int64 [rows].

        The last token a limit allows need not be proposed: the logits after it are not needed.
        """
        room = self.stops.max_new_tokens[self.row_jobs] - self.history.positions - 1
        counts = self.lengths.minimum(room).clamp(0, most)
        self._open = counts.nonzero()[:, 0]
        try:
            self._ahead = [None if s is None else s[self._open] for s in self.states]
        except Exception as error:  # whatever a processor's state raises
            self._give_up(error)
        return counts

    def _give_up(self, error: Exception) -> None:
        """Propose nothing more, after a stage raised; the batches beside this one go on."""
        self.fault, self._open = stage_failed(str(self.jobs[0].strategy), error), self._open[:0]

    @property
    def proposing(self) -> bool:
        """Whether any row can use one more token."""
        return len(self._open) > 0

    def propose(self, name: str, raw: Tensor, at: int, counts: Tensor) -> Tensor:
        """What the draft model of that name proposes `at` tokens ahead, from its logits [rows, vocab].

        It draws from its distribution after the same processors as the model's, with the same random numbers.

        Returns:
            int64 [rows], `PAD` for rows that get no more proposals: they have all they can use, the
            last proposal ends them, a stage raised, or the processors left the draft model no token.
        """
        try:
            return self._proposed(name, raw, at, counts)
        except Exception as error:  # whatever the stages raise
            self._give_up(error)
            return torch.full((len(self),), PAD)

    def _proposed(self, name: str, raw: Tensor, at: int, counts: Tensor) -> Tensor:
        """The same, or the error of a stage."""
        check_shape(name, raw, len(self), self.model.vocab.size)
        rows = self._open
        proposed = torch.full((len(self),), PAD)
        if not len(rows):
            return proposed
        logits = raw[rows.to(raw.device)].float().cpu()
        normaliser = log_normaliser(logits)
        if not bool(normaliser.isfinite().all()):
            row = int((~normaliser.isfinite()).nonzero()[0])
            raise non_finite(name, logits[row], self._place(int(rows[row])))
        positions = self.history.positions[rows] + at
        work = process(self.processors, self._ahead, self.stops.masked(logits, positions))
        going = log_normaliser(work.logits).isfinite().nonzero()[:, 0]
        given, ahead, distributions = work.given, self._ahead, work.logits
        if len(going) < len(rows):
            rows, positions, distributions = rows[going], positions[going], distributions[going]
            given = [logits[going] for logits in given]
            ahead = [None if s is None else s[going] for s in ahead]
        view = replace(
            self._view(positions, logits),
            jobs=self.row_jobs[rows],
            keys=self.keys[rows],
            ends=lambda parents, tokens: torch.zeros_like(tokens),
        )
        with blamed(self.search):
            tokens = self.search.step(distributions, IndependentRows.start(view.keys.sample), view)[0].tokens
        proposed[rows] = tokens
        kept = ((self.stops.codes[tokens] == 0) & (at + 1 < counts[rows])).nonzero()[:, 0]
        self._open = rows[kept]
        self._ahead = [
            p.update(None if s is None else s[kept], g if s is None else g[kept], tokens[kept])
            for p, s, g in zip(self.processors, ahead, given, strict=True)
        ]
        return proposed

    def verify(self, logits: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor]:
        """Advance every row over the proposals that are right, and by one token more.

        Args:
            logits: the model's after the last token and after each proposal, [rows, k + 1, vocab].
            proposals: int64 [rows, k], `PAD` at the end where a row has fewer.

        Returns:
            The rows that go on, and how many tokens each of them took: int64 [n] each.

        Raises:
            DecodelabError: as `step`, and what a stage raised while tokens were proposed.
        """
        if self.fault is not None:
            raise self.fault
        ids, positions, jobs = self.row_ids, self.history.positions, self.row_jobs
        proposed = (proposals != PAD).sum(1)
        self.proposed.index_add_(0, jobs, proposed)
        self.decoded.index_add_(0, jobs, proposed)
        apart: list[_Part] = []
        try:
            for at in range(proposals.shape[1] + 1):
                going = torch.searchsorted(ids, self.row_ids)
                advance = self.step(logits[going.to(logits.device), at])
                if at == proposals.shape[1]:
                    break
                wanted = proposals[going, at]
                for parents, tokens in (
                    (advance.parents, advance.tokens),
                    (advance.ended_parents, advance.ended_tokens),
                ):
                    self.accepted.index_add_(0, jobs[going[parents]], (tokens == wanted[parents]).long())
                right = advance.tokens == wanted[advance.parents]
                if not bool(right.all()):
                    apart.append(self._part((~right).nonzero()[:, 0]))
                    self._put([self._part(right.nonzero()[:, 0])])
                if not len(self):
                    break
        finally:
            if apart:
                # After Ctrl-C, rows that were put aside may still stand here too.
                gone = torch.cat([(part.row_jobs << 32) + part.keys.sample for part in apart])
                self._put([*apart, self._part((~torch.isin(self.row_ids, gone)).nonzero()[:, 0])])
        rows = torch.searchsorted(ids, self.row_ids)
        taken = self.history.positions - positions[rows]
        self.lengths = self.lengths[rows]
        if self.driver.adaptive:
            count = proposed[rows]
            longer = torch.where(taken > count, self.lengths + _GROWTH, self.lengths - 1)
            self.lengths = torch.where(count > 0, longer.clamp(1, self.driver.most), self.lengths)
        return rows, taken

    def keep(self, rows: Tensor) -> None:
        """Keep the given rows only (int64 [n], ascending)."""
        self.lengths = self.lengths[rows]
        self._put([self._part(rows)])

    def _part(self, rows: Tensor) -> _Part:
        """The given rows (int64 [n])."""
        search = cast(IndependentRows, self.search_state)
        return _Part(
            self.row_jobs[rows],
            self.keys[rows],
            [None if s is None else s[rows] for s in self.states],
            search.samples[rows],
            search.scores[rows],
            [self.texts[row] for row in rows.tolist()] if self.texts else [],
            self.history.select(rows),
        )

    def _put(self, parts: Sequence[_Part]) -> None:
        """Make these parts all there is, the rows in order."""
        row_jobs = torch.cat([part.row_jobs for part in parts])
        keys = Keys.join([part.keys for part in parts])
        order = ((row_jobs << 32) + keys.sample).argsort()
        states = [join_states(states) for states in zip(*(part.states for part in parts), strict=True)]
        texts = [text for part in parts for text in part.texts]
        samples, scores = (torch.cat([getattr(part, name) for part in parts]) for name in ("samples", "scores"))
        history = History.join([part.history for part in parts]).select(order)
        self.states = [None if s is None else s[order] for s in states]
        self.search_state = replace(self.search_state, samples=samples[order], scores=scores[order])
        self.texts = [texts[row] for row in order.tolist()] if texts else texts
        self.row_jobs, self.keys, self.history = row_jobs[order], keys[order], history

    def cancel(self, number: int) -> bool:
        """Mark a job as done; the caller drops its rows. False when there is none unfinished."""
        for i, job in enumerate(self.jobs):
            if job.index == number and i not in self.done:
                self.done.add(i)
                return True
        return False

    def wanted(self) -> Tensor:
        """The rows of jobs that are not done, int64 [n]."""
        done = torch.tensor(sorted(self.done), dtype=torch.int64)
        return (~torch.isin(self.row_jobs, done)).nonzero()[:, 0]

    def _cost(self, job: int) -> Cost:
        """What a job has cost so far, its proposals included."""
        return replace(
            super()._cost(job),
            draft_tokens=int(self.draft_tokens[job]),
            proposed=int(self.proposed[job]),
            accepted=int(self.accepted[job]),
        )
