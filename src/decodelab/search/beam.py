"""Beam search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from decodelab.core.protocols import Advance, Ranked, Rows
from decodelab.core.stage import Kind, Stage, check_choice, check_number
from decodelab.kernels.fused import log_normaliser
from decodelab.search.top import top_ids


@dataclass(frozen=True)
class BeamState:
    """Live beams and the best finished hypotheses of every job.

    Attributes:
        scores: float64 [rows], log-probability of each live beam, best first within a job.
        pool_scores: float64 [jobs, width], length-normalised, best first, -inf where empty.
        pool: int64 [jobs, width], the hypothesis numbers.
        ended: how many hypotheses have ended so far.
    """

    scores: Tensor
    pool_scores: Tensor
    pool: Tensor
    ended: int


@dataclass(frozen=True)
class Beam(Stage):
    """Keep the `width` most probable hypotheses at every step; return the n best finished ones.

    A hypothesis of t tokens (EOS included) and log-probability s under the processed law scores
    s / t^length_penalty. Of the (1 + number of EOS ids) * width best continuations of a step, those among the
    first `width` that end enter the pool of finished hypotheses, and the first `width` that do not end go on.
    `early_stopping` says when a job with a full pool is done: `true` at once; `false` when the best
    live beam, normalised at its present length, is no better than the worst in the pool (a heuristic);
    `never` when it cannot become better at any length the limit allows (exact, for the beams kept).

    Token for token what transformers 5 returns without processors, with these differences: scores are
    accumulated in float64 and ties go to the better beam, then the lowest token id (float32 and unspecified
    there); processors act on logits and the result is normalised (there they act on log-probabilities, which
    are then summed unnormalised); impossible beams are dropped rather than carried at -1e9.

    Raises:
        InvalidParameter: if a parameter is out of its range, or n is greater than width.

    >>> str(Beam(width=25, length_penalty=0.6))
    'beam(width=25, length_penalty=0.6)'
    """

    width: Annotated[int, "hypotheses kept at every step, at least 1"]
    length_penalty: Annotated[float, "exponent of the length that divides the score; 0 is the plain sum"] = 1.0
    early_stopping: Annotated[bool | Literal["never"], "true, false or never: when a full pool ends the search"] = False
    n: Annotated[int, "hypotheses returned, at most width"] = 1

    name: ClassVar[str] = "beam"
    kind: ClassVar[Kind] = "search"
    source: ClassVar[str] = "Lowerre 1976; scoring and stopping as in transformers 5"
    start_rows: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "width", low=1, integer=True, fix="use width=1 for a single beam")
        check_number(self, "length_penalty", fix="use 0 for plain log-probability, 1.0 for the mean")
        check_choice(self, "early_stopping", (True, False, "never"), fix="see decodelab strategies")
        check_number(self, "n", low=1, high=self.width, integer=True, fix="widen the beam to return more")

    @property
    def peak_rows(self) -> int:
        """As many rows as beams."""
        return self.width

    def init(self, jobs: int, samples: Tensor) -> BeamState:
        """One empty beam a job."""
        empty = torch.full((jobs, self.width), -torch.inf, dtype=torch.float64, device=samples.device)
        scores = torch.zeros(jobs, dtype=torch.float64, device=samples.device)
        return BeamState(scores, empty, torch.full_like(empty, -1, dtype=torch.int64), 0)

    def step(self, logits: Tensor, state: BeamState, rows: Rows) -> tuple[Advance, BeamState]:
        """Extend all beams of all jobs, keep the best."""
        live, beams = rows.jobs.unique_consecutive(return_counts=True)
        scores, parents, tokens = self._candidates(logits, state.scores, beams, 1 + rows.eos_count)
        possible = scores.isfinite()
        reasons = rows.ends(parents.flatten(), tokens.flatten()).view_as(parents)

        first = torch.arange(scores.shape[1], device=scores.device) < self.width
        over = possible & (reasons != 0) & first
        length = rows.positions.new_zeros(len(state.pool)).index_put_((rows.jobs,), rows.positions)[live] + 1
        pool_scores, pool, ended = self._pool(state, live, scores, over, length)

        going = possible & (reasons == 0)
        going &= going.cumsum(1) <= self.width
        done = self._done(pool_scores[live], scores, going, length, rows.max_new_tokens[live])
        going &= ~done[:, None]
        advance = Advance(parents[going], tokens[going], parents[over], tokens[over], reasons[over])
        return advance, BeamState(scores[going], pool_scores, pool, ended)

    def _candidates(self, logits: Tensor, scores: Tensor, beams: Tensor, factor: int) -> tuple[Tensor, Tensor, Tensor]:
        """The best continuations of each job, best first: scores, parent rows and tokens, [jobs, candidates].

        Each row contributes its own best `factor * width`, which must contain those of its job. Places
        without a candidate have score -inf.
        """
        wanted = max(2, factor) * self.width
        per_row = min(wanted, logits.shape[-1])
        tokens = top_ids(logits, per_row)
        logprobs = logits.gather(-1, tokens).double() - log_normaliser(logits)[:, None]
        total = scores[:, None] + logprobs

        # [rows, per_row] -> [jobs, beams * per_row]; jobs with fewer beams are padded with -inf.
        jobs, widest = len(beams), int(beams.max())
        slot = torch.arange(widest, device=beams.device) < beams[:, None]
        padded = total.new_full((jobs, widest, per_row), -torch.inf)
        padded[slot] = total
        parent = torch.zeros_like(slot, dtype=torch.int64)
        parent[slot] = torch.arange(len(total), device=total.device)
        token = tokens.new_zeros((jobs, widest, per_row))
        token[slot] = tokens

        best, order = padded.view(jobs, -1).sort(dim=1, descending=True, stable=True)
        best, order = best[:, :wanted], order[:, :wanted]
        return best, parent.gather(1, order // per_row), token.view(jobs, -1).gather(1, order)

    def _pool(
        self, state: BeamState, live: Tensor, scores: Tensor, over: Tensor, length: Tensor
    ) -> tuple[Tensor, Tensor, int]:
        """Enter the hypotheses that just ended into their jobs' pools."""
        count = int(over.sum())
        if not count:
            return state.pool_scores, state.pool, state.ended
        normalised = (scores / (length[:, None].double() ** self.length_penalty)).masked_fill(~over, -torch.inf)
        number = torch.full_like(over, -1, dtype=torch.int64)
        number[over] = state.ended + torch.arange(count, device=number.device)
        merged = torch.cat([state.pool_scores[live], normalised], dim=1)
        best, order = merged.sort(dim=1, descending=True, stable=True)
        pool_scores, pool = state.pool_scores.clone(), state.pool.clone()
        pool_scores[live] = best[:, : self.width]
        pool[live] = torch.cat([state.pool[live], number], dim=1).gather(1, order[:, : self.width])
        return pool_scores, pool, state.ended + count

    def _done(self, pool: Tensor, scores: Tensor, going: Tensor, length: Tensor, limit: Tensor) -> Tensor:
        """Whether each live job is done: bool [jobs]."""
        full = pool[:, -1].isfinite()
        if self.early_stopping is True:
            return full
        best = scores.masked_fill(~going, -torch.inf).amax(dim=1)
        horizon = limit if self.early_stopping == "never" and self.length_penalty > 0 else length
        return full & (best / horizon.double() ** self.length_penalty <= pool[:, -1])

    def finished(self, state: BeamState, job: int) -> list[Ranked]:
        """The n best finished hypotheses of a job."""
        pairs = zip(state.pool_scores[job].tolist(), state.pool[job].tolist(), strict=True)
        return [Ranked(h, score, i) for i, (score, h) in enumerate(pairs) if h >= 0][: self.n]
