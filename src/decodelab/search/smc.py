"""Sequential Monte Carlo steering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.key import Keys
from decodelab.core.protocols import Advance, AnyScorer, Ranked, Rows
from decodelab.core.stage import Kind, Stage, check_number
from decodelab.scorers.catalogue import check_scorer
from decodelab.search.sample import inverse_cdf

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ParticleState:
    """The particles of every job; particle i of a job is a live row or a finished hypothesis.

    Attributes:
        slots: int64 [rows], which particle of its job each row is.
        log_weights: float64 [jobs, particles].
        potentials: float64 [jobs, particles], weight times what the scorer last gave.
        hypotheses: int64 [jobs, particles], the number of the finished hypothesis, -1 where the particle is live.
        ended: how many hypotheses have ended so far.
    """

    slots: Tensor
    log_weights: Tensor
    potentials: Tensor
    hypotheses: Tensor
    ended: int


@dataclass(frozen=True)
class SMC(Stage):
    """Sample with particles steered by a scorer, in the limit exactly from p(text) e^(weight * score(text)).

    Every particle draws its next token from the processed distribution p. Its weight is then multiplied by e^(weight *
    (new score of the text - old score)), so that after t tokens the weighted particles represent the distribution
    proportional to p(x_1..t) e^(weight * score(x_1..t)), and at the end that of the finished texts. When the effective
    number of particles, (sum w)^2 / sum w^2, falls below `threshold` times their number, they are resampled
    systematically: each is copied roughly in proportion to its weight (finished ones too), and all weights become
    equal. The scores of unfinished texts do not change the target distribution; good ones save particles.

    All particles are returned, highest weight first, with copies of one finished text merged. A candidate's `score` is
    the logarithm of its normalised weight: e^score sums to 1. For one sample, draw a candidate by these weights; the
    error decreases with the number of particles. With weight 0 this is `sample(n=particles)`, token for token.

    Differs from Lew et al.'s implementation in that the proposal is always the processed distribution, and resampling
    is systematic and uses our keys, one number per job and step. A processor with its own coins (xtc) tosses the same
    coin for all copies of a particle.

    Raises:
        InvalidParameter: if a parameter is out of its range, or there is no such scorer.

    >>> str(SMC(particles=64, scorer="logprob", weight=2))
    'smc(particles=64, scorer=logprob, weight=2.0)'
    """

    particles: Annotated[int, "number of particles, at least 1; each is a row of the batch"]
    scorer: Annotated[AnyScorer, "scores the text so far: logprob, entropy, self_eval, path_cost or a function"]
    weight: Annotated[float, "factor of the score in the exponent"] = 1.0
    threshold: Annotated[float, "resample below this share of effective particles; 0 means never"] = 0.5

    name: ClassVar[str] = "smc"
    kind: ClassVar[Kind] = "search"
    source: ClassVar[str] = "Lew et al. 2023, Sequential Monte Carlo steering, algorithm 1; Zhao et al. 2024"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "particles", low=1, integer=True, fix="start with a few dozen")
        check_scorer(self, "scorer")
        check_number(self, "weight", fix="use 1.0 for e^score")
        check_number(self, "threshold", low=0, high=1, fix="use 0.5 for half the particles")

    def no_effect(self) -> str | None:
        """A weight of 0 steers nothing."""
        return "weight = 0 samples as sample(n=particles) does" if self.weight == 0 else None

    def asks_scorer(self) -> AnyScorer:
        """The scorer that judges the texts so far."""
        return self.scorer

    @property
    def n(self) -> int:
        """The most candidates it returns."""
        return self.particles

    @property
    def start_rows(self) -> int:
        """One row a particle."""
        return self.particles

    peak_rows = start_rows

    def init(self, jobs: int, samples: Tensor) -> ParticleState:
        """All particles at the start, with equal weights."""
        zero = torch.zeros(jobs, self.particles, dtype=torch.float64, device=samples.device)
        return ParticleState(samples, zero, zero, torch.full_like(zero, -1, dtype=torch.int64), 0)

    def step(self, logits: Tensor, state: ParticleState, rows: Rows) -> tuple[Advance, ParticleState]:
        """Extend every live particle, weigh, and resample the jobs that need it."""
        # Copies of a particle have its key; the number of the particle keeps their draws apart.
        tokens = inverse_cdf(logits, Keys(rows.keys.words, state.slots).uniform(rows.positions))
        everyone = torch.arange(len(tokens), device=tokens.device)
        reasons = rows.ends(everyone, tokens)
        over = reasons != 0
        at = (rows.jobs, state.slots)

        given = self.weight * rows.judge(self.scorer, everyone, tokens)
        log_weights = state.log_weights.index_put(at, given - state.potentials[at], accumulate=True)
        potentials = state.potentials.index_put(at, given)
        numbers = torch.where(over, state.ended + over.cumsum(0) - 1, -1)
        hypotheses = state.hypotheses.index_put(at, numbers)
        parents = torch.full_like(hypotheses, -1).index_put(at, everyone)

        live = rows.jobs.unique_consecutive()
        first = torch.searchsorted(rows.jobs, live)
        jobs = live[self._depleted(log_weights[live], hypotheses[live])]
        if len(jobs):
            keys = Keys(rows.keys.words[first], torch.full_like(live, self.particles))
            shift = log_weights.new_zeros(len(log_weights)).index_put((live,), keys.uniform(rows.positions[first]))
            chosen = systematic(log_weights[jobs].softmax(1), shift[jobs])
            log_weights = log_weights.index_fill(0, jobs, 0.0)
            potentials, hypotheses, parents = (
                values.index_put((jobs,), values[jobs].gather(1, chosen))
                for values in (potentials, hypotheses, parents)
            )
        going = hypotheses[live] < 0
        on = parents[live][going]
        slots = going.nonzero()[:, 1]
        advance = Advance(on, tokens[on], everyone[over], tokens[over], reasons[over])
        return advance, ParticleState(slots, log_weights, potentials, hypotheses, state.ended + int(over.sum()))

    def _depleted(self, log_weights: Tensor, hypotheses: Tensor) -> Tensor:
        """Which jobs, not finished, have too few effective particles: bool [jobs]."""
        effective = torch.exp(2 * log_weights.logsumexp(1) - (2 * log_weights).logsumexp(1))
        return (effective < self.threshold * self.particles) & (hypotheses < 0).any(1)

    def finished(self, state: ParticleState, job: int) -> list[Ranked]:
        """The different finished hypotheses of a job by their share of the weight, largest first."""
        shares = state.log_weights[job].log_softmax(0)
        numbers = state.hypotheses[job]
        found = [(int(h), shares[numbers == h].logsumexp(0).item()) for h in numbers.unique().tolist() if h >= 0]
        best = sorted(found, key=lambda pair: -pair[1])
        return [Ranked(hypothesis, share, i) for i, (hypothesis, share) in enumerate(best)]


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
