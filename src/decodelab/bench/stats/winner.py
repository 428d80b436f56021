"""Which strategy has the highest mean, which are as good, which are worse, and where more items must decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from decodelab.bench.stats.pairs import LEVEL, Pair, Pairs
from decodelab.metrics.checks import Floats
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.power import Spread, equivalence_sample_size, sample_size


@dataclass(frozen=True)
class Winner:
    """What can be said of the strategies of one task and model.

    Attributes:
        task, model: of which.
        best: the strategy with the highest mean.
        mean: that mean, over the prompts that all compared strategies have answered.
        tied: strategies with the same mean.
        margin: the loss of score that does not matter.
        as_good: strategies that no other can be better than by more than the margin: the simultaneous intervals
            of all differences to them end within it. The best one is among them only if this is shown of it, too.
        worse: the others that are significantly different from the best.
        undecided: the others.
        nearest: of these the one with the highest mean; None where there are none.
        items_needed: prompts that would decide about the nearest with 80 % power, if the true difference is the
            observed one; None where it cannot be told.
        left_out: strategies with too few answers to be compared.
    """

    task: str
    model: str
    best: str
    mean: float
    margin: float
    tied: tuple[str, ...] = ()
    as_good: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()
    nearest: str | None = None
    items_needed: int | None = None
    left_out: tuple[str, ...] = ()


def winner(task: str, model: str, scores: Mapping[str, Floats], pairs: Pairs, margin: float) -> Winner | None:
    """The strategy with the highest mean, and what is known of the others; None if no two have two prompts in common.

    Which one looks best was chosen after seeing the data; the intervals allow for that, as they hold for all pairs
    together. A strategy that is worse than another by more than the margin is called as good in at most 5 % of sweeps.

    Args:
        task, model: of which.
        scores: of each strategy, float64 [prompts], NaN where an answer is missing.
        pairs: the same compared.
        margin: the loss of score that does not matter.

    Source: equivalence by inclusion of the interval (Westlake 1976, Schuirmann 1987), here for all pairs.
    """
    values = {name: scores[name] for name in pairs.names}
    if len(values) < 2:
        return None
    both = np.isfinite(np.stack(list(values.values()))).all(axis=0)
    if both.sum() < 2:
        return None
    means = {name: round(float(x[both].mean()), 12) for name, x in values.items()}
    ranked = sorted(means, key=lambda name: -means[name])
    best, *others = ranked
    as_good = tuple(name for name in ranked if _largest_loss(name, pairs) <= margin)
    rest = [(name, pair) for name in others if name not in as_good and (pair := pairs.of(best, name))]
    worse = tuple(name for name, pair in rest if pair.p <= LEVEL)
    undecided = [(name, pair) for name, pair in rest if pair.p > LEVEL]
    return Winner(
        task,
        model,
        best,
        means[best],
        margin,
        tuple(name for name in others if means[name] == means[best]),
        as_good,
        worse,
        tuple(name for name, _ in undecided),
        undecided[0][0] if undecided else None,
        _items_to_decide(undecided[0][1], pairs.alpha, margin) if undecided else None,
        tuple(name for name in scores if name not in pairs.names),
    )


def _largest_loss(name: str, pairs: Pairs) -> float:
    """By how much another strategy may be better, at most."""
    found = [pairs.of(other, name) for other in pairs.names if other != name]
    return max(math.inf if pair is None else pair.difference.high for pair in found)


def _items_to_decide(pair: Pair, alpha: float, margin: float) -> int | None:
    """Prompts that would show that one is better, or that it makes no difference that matters; whichever are fewer."""
    noise = Spread(pair.difference.n * pair.difference.standard_error**2)
    value = abs(pair.difference.value)
    needed = [items_needed(pair.difference, alpha, pair.step)] if value > 1e-12 else []
    if margin - value > 1e-12:
        needed.append(max(equivalence_sample_size(value, margin, noise, alpha=alpha), pair.difference.n + 1))
    return min((n for n in needed if n is not None), default=None)


def items_needed(difference: Estimate, alpha: float, step: float) -> int | None:
    """Items that would show a paired difference with 80 % power, more than there are; None if its error is unknown.

    Args:
        difference: on the items there are.
        alpha: level of the two-sided test.
        step: the smallest difference of two scores of an item that is not 0.
    """
    if math.isnan(difference.standard_error):
        return None
    # The variance of an item with its cluster: further items would come in clusters of the same size.
    noise = Spread(difference.n * difference.standard_error**2)
    return max(sample_size(difference.value, noise, alpha=alpha, step=step), difference.n + 1)
