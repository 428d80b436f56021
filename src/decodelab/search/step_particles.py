"""Particle filtering over steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Annotated, ClassVar, Literal

import torch

from decodelab.core.capabilities import Need
from decodelab.core.errors import ScorerFailed
from decodelab.core.key import ATTEMPT
from decodelab.core.protocols import AnyScorer, Question, Rounds
from decodelab.core.stage import Kind, Stage, brief, check_choice, check_number, plain
from decodelab.core.values import Candidate, Limits
from decodelab.search._particles import systematic
from decodelab.search._steps import Every, Key, Steps, StepScorer, check_steps, scored

_NEAREST = 1e-7
"""A probability is taken to be at least as far from 0 and 1, where its odds would be 0 or infinite."""


@dataclass(frozen=True)
class StepParticles(Stage):
    """Sample answers step by step with particles weighted by a scorer: its good texts more often, but not them alone.

    Every particle draws its next step from the processed distribution p, as `sample` draws it, and its weight is
    multiplied by what the new score gives. When the effective number of particles, (sum w)^2 / sum w^2, falls below
    `threshold` times their number, they are resampled systematically: each is copied roughly in proportion to its
    weight (finished ones too), and all weights become equal. With more and more particles, the weighted answers follow
    exactly, where s_t is the score of the text after its t-th step (what only ends it is none) and s the last one,

    * `potential=exp`: p(answer) e^(weight * s): only the score of the whole counts, as in `smc`;
    * `potential=odds`: p(answer) (product of s_t / (1 - s_t) over its steps)^weight, for scores that are probabilities,
      as those of process reward models are.

    All answers are returned, highest weight first, with copies merged; a candidate's `score` is the logarithm of its
    normalised weight. Draw one by these weights for a sample (`soft_best_of` ranks by ratings of its own), or take the
    first.

    Differs from `smc` in that particles are weighed after steps, not tokens. Differs from its_hub (particle filtering,
    `odds`) in that resampling is systematic and only where needed, `threshold=1` for always; and in that a finished
    particle is weighed once: there its last score counts again at each step of the others, and the law depends on that.

    Raises:
        InvalidParameter: if a parameter is out of its range, or there is no such scorer.
        ScorerFailed: with potential=odds, for a score outside [0, 1].

    >>> str(StepParticles(particles=32, scorer="self_eval", potential="odds"))
    'step_particles(particles=32, scorer=self_eval, potential=odds)'
    """

    particles: Annotated[int, "number of particles, at least 1"]
    scorer: StepScorer
    potential: Annotated[Literal["exp", "odds"], "how scores weigh: exp (the last), or odds (of every step)"] = "exp"
    weight: Annotated[float, "factor of the score in the exponent, or exponent of the odds"] = 1.0
    threshold: Annotated[float, "resample below this share of effective particles; 0 means never"] = 0.5
    every: Every = "line"

    name: ClassVar[str] = "step_particles"
    kind: ClassVar[Kind] = "search"
    needs: ClassVar[Need] = "text"
    searches_in_rounds: ClassVar[bool] = True
    if_empty: ClassVar[str] = "loosen the constraint"
    source: ClassVar[str] = (
        "Puri et al. 2025, A probabilistic inference approach to inference-time scaling using particle-based Monte "
        "Carlo methods, algorithm 1"
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "particles", low=1, integer=True, fix="start with a few dozen")
        check_choice(self, "potential", ("exp", "odds"), fix="odds is for scores that are probabilities")
        check_number(self, "weight", fix="use 1.0 for e^score, or the odds themselves")
        check_number(self, "threshold", low=0, high=1, fix="use 0.5 for half the particles")
        check_steps(self)

    def no_effect(self) -> str | None:
        """A weight of 0 steers nothing."""
        return "weight = 0 samples as sample(n=particles) does" if self.weight == 0 else None

    def asks_scorer(self) -> AnyScorer:
        """The scorer that rates the texts so far."""
        return self.scorer

    @property
    def n(self) -> int:
        """The most candidates it returns."""
        return self.particles

    @property
    def peak_rows(self) -> int:
        """One row a particle."""
        return self.particles

    def rounds(self, question: Question, limits: Limits) -> Rounds:
        """Draw a step of every particle, weigh, and resample where needed."""
        particles = [Steps()] * self.particles
        weights = torch.zeros(self.particles, dtype=torch.float64)
        first = 0
        for number in count():
            going = [i for i, one in enumerate(particles) if not one.finished and weights[i] > -torch.inf]
            if not going:
                return _merged(particles, weights)
            copies = _copies(particles, going)
            going = [i for alike in copies for i in alike]
            indices = {i: index for index, i in enumerate(going, first)}  # never again those that others drew under
            drawn = yield [particles[some[0]].draw(len(some), indices[some[0]], self.every) for some in copies]
            first += len(going)
            by_index = {one.candidate.sample: one for some in drawn for one in some}
            each = [[by_index[n]] if (n := indices[i]) in by_index else [] for i in going]
            new = scored([particles[i] for i in going], each, self.scorer, question)
            for i, after in zip(going, new, strict=True):
                if not after:  # a constraint left it no token
                    weights[i] = -torch.inf
                    continue
                before, (particles[i],) = particles[i], after
                if len(particles[i].scores) > len(before.scores):
                    weights[i] += self.weight * self._gained(particles[i].scores)
            effective = float(torch.exp(2 * weights.logsumexp(0) - (2 * weights).logsumexp(0)))
            alive = any(not one.finished and weights[i] > -torch.inf for i, one in enumerate(particles))
            if alive and effective < self.threshold * self.particles:
                shift = question.keys.uniform(torch.tensor([number]), ATTEMPT)
                chosen = systematic(weights.softmax(0)[None], shift)[0].tolist()
                particles, weights = [particles[i] for i in chosen], torch.zeros_like(weights)
        raise AssertionError  # count() never ends

    def _gained(self, scores: Sequence[float]) -> float:
        """The logarithm of what the last score multiplies the weight by, before the exponent."""
        if self.potential == "exp":
            return scores[-1] - (scores[-2] if len(scores) > 1 else 0.0)
        if not 0 <= scores[-1] <= 1:
            raise ScorerFailed(
                f"scorer {plain(self.scorer)} must give probabilities for potential=odds, got {brief(scores[-1])}; "
                "use potential=exp for other scores"
            )
        p = min(max(scores[-1], _NEAREST), 1 - _NEAREST)
        return math.log(p) - math.log1p(-p)


def _copies(particles: Sequence[Steps], places: Sequence[int]) -> list[list[int]]:
    """These places, those of particles that say the same together."""
    found: dict[Key, list[int]] = {}
    for i in places:
        found.setdefault(particles[i].key, []).append(i)
    return list(found.values())


def _merged(particles: Sequence[Steps], weights: torch.Tensor) -> list[tuple[Candidate, float]]:
    """The different answers by their share of the weight, largest first."""
    shares = weights.log_softmax(0).tolist()
    found: dict[Key, tuple[Candidate, list[float]]] = {}
    for particle, share in zip(particles, shares, strict=True):
        if particle.candidate is not None and share > -math.inf:
            found.setdefault(particle.key, (particle.candidate, []))[1].append(share)
    merged = [(c, float(torch.tensor(own, dtype=torch.float64).logsumexp(0))) for c, own in found.values()]
    return sorted(merged, key=lambda pair: -pair[1])
