"""Weighted particles: what the searches of sequential Monte Carlo share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from decodelab.core.key import Keys
from decodelab.core.protocols import Advance, Ranked, Rows

if TYPE_CHECKING:
    from torch import Tensor

_LIVE, _LOST = -1, -2
"""Instead of the number of a finished hypothesis: of a particle that is a row, and of one that has weight 0."""


@dataclass(frozen=True)
class Particles:
    """The particles of every job; particle i of a job is a live row, a finished hypothesis, or lost with weight 0.

    Attributes:
        slots: int64 [rows], which particle of its job each row is.
        log_weights: float64 [jobs, particles].
        hypotheses: int64 [jobs, particles], the number of the finished hypothesis, negative where there is none.
        ended: how many hypotheses have ended so far.
    """

    slots: Tensor
    log_weights: Tensor
    hypotheses: Tensor
    ended: int

    @staticmethod
    def start(jobs: int, samples: Tensor) -> Particles:
        """All particles live, with equal weights; `samples` (int64 [rows]) are the sample indices of their rows."""
        zero = torch.zeros(jobs, len(samples) // max(jobs, 1), dtype=torch.float64, device=samples.device)
        return Particles(samples, zero, torch.full_like(zero, _LIVE, dtype=torch.int64), 0)

    def keys(self, rows: Rows) -> Keys:
        """The keys of the rows; copies of a particle draw apart, as each has its own number."""
        return Keys(rows.keys.words, self.slots)

    def advance(
        self, tokens: Tensor, reasons: Tensor, gained: Tensor, rows: Rows, threshold: float
    ) -> tuple[Advance, Particles]:
        """Extend every live particle, weigh, and resample the jobs that need it.

        Args:
            tokens: int64 [rows], the next token of each row.
            reasons: int64 [rows], why it ends with that, 0 where it goes on.
            gained: float64 [rows], the logarithm of what the weight is multiplied by; -inf loses the particle.
            rows: the rows.
            threshold: resample below this share of effective particles.
        """
        everyone = torch.arange(len(tokens), device=tokens.device)
        kept = gained > -torch.inf
        over = (reasons != 0) & kept
        at = (rows.jobs, self.slots)
        log_weights = self.log_weights.index_put(at, gained, accumulate=True)
        numbers = torch.where(over, self.ended + over.cumsum(0) - 1, torch.where(kept, _LIVE, _LOST))
        hypotheses = self.hypotheses.index_put(at, numbers)
        parents = torch.full_like(hypotheses, -1).index_put(at, everyone)

        live = rows.jobs.unique_consecutive()
        first = torch.searchsorted(rows.jobs, live)
        jobs = live[_depleted(log_weights[live], hypotheses[live], threshold)]
        if len(jobs):
            keys = Keys(rows.keys.words[first], torch.full_like(live, log_weights.shape[1]))
            shift = log_weights.new_zeros(len(log_weights)).index_put((live,), keys.uniform(rows.positions[first]))
            chosen = systematic(log_weights[jobs].softmax(1), shift[jobs])
            log_weights = log_weights.index_fill(0, jobs, 0.0)
            hypotheses, parents = (
                values.index_put((jobs,), values[jobs].gather(1, chosen)) for values in (hypotheses, parents)
            )
        going = hypotheses[live] == _LIVE
        on = parents[live][going]
        advance = Advance(on, tokens[on], everyone[over], tokens[over], reasons[over])
        return advance, Particles(going.nonzero()[:, 1], log_weights, hypotheses, self.ended + int(over.sum()))

    def ranked(self, job: int) -> list[Ranked]:
        """The different finished hypotheses of a job by their share of the weight, largest first."""
        shares = self.log_weights[job].log_softmax(0)
        numbers = self.hypotheses[job]
        found = [(int(h), shares[numbers == h].logsumexp(0).item()) for h in numbers.unique().tolist() if h >= 0]
        best = sorted(found, key=lambda pair: -pair[1])
        return [Ranked(hypothesis, share, i) for i, (hypothesis, share) in enumerate(best)]


def _depleted(log_weights: Tensor, hypotheses: Tensor, threshold: float) -> Tensor:
    """Which jobs, not finished, have too few effective particles: bool [jobs]."""
    effective = torch.exp(2 * log_weights.logsumexp(1) - (2 * log_weights).logsumexp(1))
    return (effective < threshold * log_weights.shape[1]) & (hypotheses == _LIVE).any(1)


def systematic(weights: Tensor, shift: Tensor) -> Tensor:
    """Systematic resampling: index i is chosen floor or ceil of n * weights[i] times.

    Args:
        weights: float64 [jobs, n], each row sums to 1.
        shift: float64 [jobs] in (0, 1), a random number a job.

    Returns:
        int64 [jobs, n], ascending.

    >>> systematic(torch.tensor([[0.5, 0.1, 0.4, 0.0]]), torch.tensor([0.5]))
    tensor([[0, 0, 2, 2]])
    """
    n = weights.shape[1]
    points = (torch.arange(n, dtype=weights.dtype, device=weights.device) + shift[:, None]) / n
    ends = weights.cumsum(1)
    # Rounding may leave the last end below 1; a weight of 0 must not be reached by it.
    last = weights.shape[1] - 1 - (weights.flip(1) > 0).to(torch.int8).argmax(1, keepdim=True)
    return torch.searchsorted(ends, points * ends[:, -1:], right=True).clamp(max=last)
