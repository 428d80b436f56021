"""Which strategy is best, and from which others it differs significantly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from decodelab.metrics.checks import Floats, Ints
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.mean import mean
from decodelab.metrics.paired import holm, permutation_tests
from decodelab.metrics.power import Spread, sample_size

LEVEL = 0.05


@dataclass(frozen=True)
class Winner:
    """What can be said of the strategies of one task and model.

    Attributes:
        task, model: of which.
        best: the strategy with the highest mean.
        mean: that mean, over the items that all compared strategies have answered.
        level_with: strategies that are not significantly different from it; none if it wins.
        nearest: the best of these whose mean is lower; None where all are equal.
        items_needed: items that would separate it from the nearest with 80 % power, if the true difference is the
            observed one, at 5 % over all pairs of strategies (Bonferroni).
        left_out: strategies with too few answers to be compared.
    """

    task: str
    model: str
    best: str
    mean: float
    level_with: tuple[str, ...]
    nearest: str | None = None
    items_needed: int | None = None
    left_out: tuple[str, ...] = ()


def winner(task: str, model: str, scores: Mapping[str, Floats], clusters: Ints | None) -> Winner | None:
    """The best strategy on the items that all have answered; None if there are no two strategies with two items.

    Which one looks best was chosen after seeing the data, so it is tested against each other one by exchanging their
    scores, with Holm's correction over all pairs of strategies: if all are equal, a difference is found in at most 5 %
    of sweeps.

    Args:
        task, model: of which.
        scores: of each strategy, float64 [items], NaN where an answer is missing.
        clusters: int64 [items], equal for items of one cluster; None when they are independent.
    """
    counted = {name: x for name, x in scores.items() if np.isfinite(x).sum() > 1}
    if len(counted) < 2:
        return None
    both = np.isfinite(np.stack(list(counted.values()))).all(axis=0)
    if both.sum() < 2:
        return None
    values = {name: x[both] for name, x in counted.items()}
    alike = None if clusters is None else clusters[both]
    best = max(values, key=lambda name: round(float(values[name].mean()), 12))
    mean_of_best = float(values[best].mean())
    p = pair_p_values(values, alike)
    level = [n for n in values if n != best and p[(best, n) if (best, n) in p else (n, best)] > LEVEL]
    level.sort(key=lambda name: -float(values[name].mean()))
    out = tuple(name for name in scores if name not in counted)
    for name in level:
        differences = values[best] - values[name]
        found = mean(differences, None if alike is None else alike.tolist())
        if found.value > 1e-12:
            step = float(np.abs(differences[differences != 0]).min())
            return Winner(
                task, model, best, mean_of_best, tuple(level), name, items_needed(found, LEVEL / len(p), step), out
            )
    return Winner(task, model, best, mean_of_best, tuple(level), left_out=out)


def pair_p_values(values: Mapping[str, Floats], clusters: Ints | None) -> dict[tuple[str, str], float]:
    """The p value of each pair of strategies, Holm-corrected over all pairs."""
    pairs = list(combinations(values, 2))
    differences = np.stack([values[a] - values[b] for a, b in pairs], axis=1)
    # Enough exchanges that the smallest p value they can give is small after the correction too.
    found = permutation_tests(differences, clusters, resamples=max(9999, 400 * len(pairs)))
    return holm(dict(zip(pairs, found.tolist(), strict=True)))


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
