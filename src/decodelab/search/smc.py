"""Sequential Monte Carlo steering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.protocols import Advance, AnyScorer, Ranked, Rows
from decodelab.core.stage import Kind, Stage, check_number
from decodelab.scorers.catalogue import check_scorer
from decodelab.search._particles import Particles
from decodelab.search.sample import inverse_cdf

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Steered:
    """The particles, and weight times what the scorer last gave each row, float64 [rows]."""

    particles: Particles
    potentials: Tensor


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

    def init(self, jobs: int, samples: Tensor) -> Steered:
        """All particles at the start, with equal weights."""
        return Steered(Particles.start(jobs, samples), torch.zeros_like(samples, dtype=torch.float64))

    def step(self, logits: Tensor, state: Steered, rows: Rows) -> tuple[Advance, Steered]:
        """Extend every live particle, weigh, and resample the jobs that need it."""
        tokens = inverse_cdf(logits, state.particles.keys(rows).uniform(rows.positions))
        everyone = torch.arange(len(tokens), device=tokens.device)
        reasons = rows.ends(everyone, tokens)
        given = self.weight * rows.judge(self.scorer, everyone, tokens)
        advance, particles = state.particles.advance(tokens, reasons, given - state.potentials, rows, self.threshold)
        return advance, Steered(particles, given[advance.parents])

    def finished(self, state: Steered, job: int) -> list[Ranked]:
        """The different finished hypotheses of a job by their share of the weight, largest first."""
        return state.particles.ranked(job)
