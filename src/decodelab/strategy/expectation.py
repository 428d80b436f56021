"""Unbiased estimates of expectations from samples without replacement."""

from __future__ import annotations

import math
from collections.abc import Callable

from decodelab.core.errors import InvalidParameter
from decodelab.core.values import Candidate, Generation
from decodelab.search.stochastic_beam import StochasticBeam
from decodelab.strategy.strategy import Strategy


def stochastic_beam_weights(generation: Generation) -> tuple[float, ...]:
    """The importance weight of each candidate of a `stochastic_beam`: its probability over that of being included.

    The last candidate's perturbed log-probability is the threshold kappa, and its own weight is 0. Given kappa, a
    sequence of log-probability l is among those before it with probability 1 - exp(-exp(l - kappa)). With fewer
    candidates than the beam is wide, they are all there are: each weighs its probability.

    Args:
        generation: of a strategy whose search is `stochastic_beam`, without a selection.

    Raises:
        InvalidParameter: if it is of another strategy, or the beam has width 1, which leaves only the threshold.

    Source: Kool, van Hoof & Welling 2019, section 4.1 (there kappa is a sequence more; here it is one of the width).

    >>> import decodelab as dl
    >>> model = dl.TableModel(["a", "b"], {(): {"a": 0.9, "b": 0.1}}, bos="<s>", missing="eos")
    >>> [round(w, 3) for w in stochastic_beam_weights(dl.generate(model, "", "stochastic_beam(width=3)")[0])]
    [0.9, 0.1]
    """
    strategy = Strategy.of(generation.strategy)
    search = strategy.search
    if not isinstance(search, StochasticBeam) or strategy.selection is not None:
        raise InvalidParameter(
            f"stochastic_beam_weights: the generation is of {generation.strategy}, which samples differently; "
            "generate with stochastic_beam(width=...) and no selection"
        )
    if search.width == 1:
        raise InvalidParameter(
            "stochastic_beam_weights: width must be at least 2, got 1; the last sequence is the threshold"
        )
    candidates = generation.candidates
    if len(candidates) < search.width:
        return tuple(math.exp(c.processed_logprob) for c in candidates)
    kappa = candidates[-1].score
    return (*(_weight(c.processed_logprob, kappa) for c in candidates[:-1]), 0.0)


def stochastic_beam_estimate(
    generation: Generation, f: Callable[[Candidate], float], *, normalise: bool = False
) -> float:
    """Estimate the expectation of f under the processed distribution from the candidates of a `stochastic_beam`.

    Args:
        generation: as in `stochastic_beam_weights`.
        f: a number for each candidate; a loss, a metric, 1 if it says what is asked.
        normalise: divide by the sum of the weights, which is biased, but varies less and stays in the range of f.

    Returns:
        The weighted sum; without `normalise` its expectation over seeds is the expectation of f.

    Raises:
        InvalidParameter: as `stochastic_beam_weights`.

    Source: Kool, van Hoof & Welling 2019, equations 15 and 16.

    >>> import decodelab as dl
    >>> model = dl.TableModel(["a", "b"], {(): {"a": 0.9, "b": 0.1}}, bos="<s>", missing="eos")
    >>> found = dl.generate(model, "", "stochastic_beam(width=3)")[0]
    >>> round(stochastic_beam_estimate(found, lambda c: c.text == "b"), 3)
    0.1
    """
    weights = stochastic_beam_weights(generation)
    total = math.fsum(w * f(c) for w, c in zip(weights, generation.candidates, strict=True) if w)
    return total / math.fsum(weights) if normalise else total


def _weight(logprob: float, kappa: float) -> float:
    """p / (1 - exp(-exp(log p - kappa))), which tends to e^kappa as p tends to 0."""
    ratio = math.exp(min(logprob - kappa, 700.0))
    included = -math.expm1(-ratio)
    return math.exp(logprob) / included if included > 0 else math.exp(kappa)
