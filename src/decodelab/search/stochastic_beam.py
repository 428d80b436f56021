"""Stochastic beam search: samples without replacement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.key import Keys
from decodelab.core.protocols import Advance, Ranked, Rows
from decodelab.core.stage import Kind, Stage, check_number
from decodelab.kernels.fused import log_normaliser
from decodelab.search._by_job import best_of_jobs, places
from decodelab.search._pool import Pool
from decodelab.search._top import top_ids

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class StochasticBeamState:
    """Live hypotheses and those finished.

    Attributes:
        scores: float64 [rows], log-probability of each live hypothesis, in nats.
        perturbed: float64 [rows], its perturbed log-probability; None before the first step.
        pool: those finished, by perturbed log-probability.
        ended: how many hypotheses have ended so far.
    """

    scores: Tensor
    perturbed: Tensor | None
    pool: Pool
    ended: int


@dataclass(frozen=True)
class StochasticBeam(Stage):
    """Sample `width` different sequences from the processed distribution, without replacement.

    The result has the distribution of sequences drawn one after the other, each from the distribution without those
    drawn before. It is the result of a beam search that ranks by perturbed log-probabilities: log p of a sequence plus
    independent Gumbel noise; the `width` largest win. The noise is drawn from the root downwards: a prefix has the
    largest value of all its continuations, and its children's values are drawn given their maximum (appendix B.3).

    Candidates are ordered by their perturbed log-probability, largest first, which is their `score`. The first one
    alone is an ordinary sample. `decodelab.stochastic_beam_estimate` computes unbiased estimates of expectations from
    all of them, using the last candidate as the threshold. Fewer than `width` candidates mean that there are no more
    sequences.

    Differs from algorithm 1 in that the root's noise is drawn instead of set to 0: given that the largest is 0, the
    noise of different sequences is not independent, and estimates that assume independence are biased. A sequence cut
    off by the limit counts as a complete one.

    Raises:
        InvalidParameter: if width is not an integer of at least 1.

    >>> import decodelab as dl
    >>> model = dl.TableModel(["a", "b"], {(): {"a": 0.9, "b": 0.1}}, bos="<s>", missing="eos")
    >>> sorted(c.text for c in dl.generate(model, "", "stochastic_beam(width=2)")[0].candidates)
    ['a', 'b']
    """

    width: Annotated[int, "different sequences, at least 1"]

    name: ClassVar[str] = "stochastic_beam"
    kind: ClassVar[Kind] = "search"
    source: ClassVar[str] = "Kool, van Hoof & Welling 2019, algorithm 1 (Gumbel-top-k)"
    start_rows: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "width", low=1, integer=True, fix="use width=1 for an ordinary sample")

    @property
    def n(self) -> int:
        """As many candidates as hypotheses."""
        return self.width

    @property
    def peak_rows(self) -> int:
        """As many rows as hypotheses."""
        return self.width

    def init(self, jobs: int, samples: Tensor) -> StochasticBeamState:
        """One empty hypothesis a job."""
        scores = torch.zeros(jobs, dtype=torch.float64, device=samples.device)
        return StochasticBeamState(scores, None, Pool.empty(jobs, self.width, samples.device), 0)

    def step(self, logits: Tensor, state: StochasticBeamState, rows: Rows) -> tuple[Advance, StochasticBeamState]:
        """Perturb all continuations given what their parents carry, keep the largest."""
        above = state.perturbed
        if above is None:
            # The stream of draws is the root's alone: what follows takes that of Gumbel noise.
            above = -torch.log(-torch.log(rows.keys.uniform(rows.positions)))
        # The rows of a job have the same sample index; each place draws as a sample of its own.
        noise = Keys(rows.keys.words, places(rows.jobs)).gumbel(rows.positions, logits.shape[-1])
        tokens = top_ids(logits + noise, min(self.width, logits.shape[-1]))
        scores = state.scores[:, None] + logits.gather(-1, tokens).double() - log_normaliser(logits)[:, None]
        perturbed = conditioned(scores + noise.gather(-1, tokens), above)

        live, counts = rows.jobs.unique_consecutive(return_counts=True)
        best, at = best_of_jobs(perturbed, counts, self.width)
        parents, chosen = at // tokens.shape[1], tokens.flatten()[at]
        # What has finished competes for the places with what goes on, until nothing that does is among the largest.
        finished = (state.pool.scores[live][:, None, :] > best[:, :, None]).sum(-1)
        kept = best.isfinite() & (finished + torch.arange(best.shape[1], device=best.device) < self.width)
        reasons = rows.ends(parents.flatten(), chosen.flatten()).view_as(parents)
        going, over = kept & (reasons == 0), kept & (reasons != 0)
        pool = state.pool.enter(live, best, over, state.ended, None)
        advance = Advance(parents[going], chosen[going], parents[over], chosen[over], reasons[over])
        ended = state.ended + len(advance.ended_parents)
        return advance, StochasticBeamState(scores.flatten()[at][going], best[going], pool, ended)

    def finished(self, state: StochasticBeamState, job: int) -> list[Ranked]:
        """The sequences drawn, by perturbed log-probability."""
        return state.pool.ranked(job)


def conditioned(values: Tensor, maximum: Tensor) -> Tensor:
    """Independent Gumbel variables, given that the largest of each row is another: a monotone map of each.

    Args:
        values: float64 [rows, n], Gumbel variables of any locations, among them the largest of the row; or -inf.
        maximum: float64 [rows], what the largest is to be.

    Returns:
        float64 [rows, n].

    >>> conditioned(torch.tensor([[2.0, 1.0, -torch.inf]]).double(), torch.tensor([0.5]).double())
    tensor([[0.5000, 0.1755,   -inf]], dtype=torch.float64)
    """
    largest = values.amax(dim=1, keepdim=True)
    # -log(e^-maximum - e^-largest + e^-value), so arranged that nothing overflows or cancels (appendix B.3).
    below = -torch.expm1(values - largest)
    v = maximum[:, None] - values + below.log()
    found = maximum[:, None] - v.clamp(min=0) - torch.log1p(torch.exp(-v.abs()))
    return found.masked_fill(values.isneginf(), -torch.inf)
