"""Every strategy of a table against every other: differences, and whether they are more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from decodelab.metrics.bounded import bounded_difference, bounded_difference_p
from decodelab.metrics.checks import Floats
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.paired import permutation_tests

LEVEL = 0.05


@dataclass(frozen=True)
class Pair:
    """Two strategies on the prompts that both have answered.

    Attributes:
        difference: of the first to the second, with its simultaneous interval.
        p: two-sided, corrected; at most 0.05 exactly where the interval leaves out 0.
        step: the smallest difference of a prompt's two scores that is not 0; 0 where there is none.
    """

    difference: Estimate
    p: float
    step: float

    @property
    def reversed(self) -> Pair:
        """The second strategy against the first."""
        d = self.difference
        return Pair(replace(d, value=-d.value, low=-d.high, high=-d.low), self.p, self.step)


@dataclass(frozen=True)
class Pairs:
    """All pairs of the strategies of one task and model.

    All intervals hold the true differences together in 95 % of sweeps, and a difference is found where there is none in
    at most 5 % (Bonferroni's correction over the pairs), so that any two strategies may be picked out afterwards.

    Attributes:
        names: the strategies with at least two prompts in common with each other.
        found: pairs in the order of the names.
    """

    names: tuple[str, ...]
    found: Mapping[tuple[str, str], Pair]

    def of(self, a: str, b: str) -> Pair | None:
        """Strategy a against b; None where one of them has too few answers."""
        if (b, a) in self.found:
            return self.found[b, a].reversed
        return self.found.get((a, b))

    @property
    def alpha(self) -> float:
        """The level of the test of one pair."""
        return LEVEL / max(len(self.found), 1)


def pairs_of(scores: Mapping[str, Floats]) -> Pairs:
    """Compare all pairs of strategies.

    The p value is the larger of two, times the number of pairs: that of the permutation test, and that which belongs to
    the interval. For right or wrong answers both are McNemar's exact p value. Where p is above 0.05, the interval
    extends to 0 at least.

    Args:
        scores: of each strategy, float64 [prompts], NaN where there is no score yet.
    """
    names = tuple(name for name, x in scores.items() if np.isfinite(x).sum() > 1)
    known = {
        (a, b): both
        for a, b in combinations(names, 2)
        if (both := np.isfinite(scores[a]) & np.isfinite(scores[b])).sum() > 1
    }
    if not known:
        return Pairs(names, {})
    # A prompt without a difference changes nothing in an exchange, be it that an answer is missing.
    exchanged = np.stack([np.where(both, scores[a] - scores[b], 0.0) for (a, b), both in known.items()], axis=1)
    # Enough exchanges that the smallest p value they can give is small after the correction too.
    tests = permutation_tests(exchanged, resamples=max(9999, 400 * len(known)))
    found: dict[tuple[str, str], Pair] = {}
    for ((a, b), both), test, moved in zip(known.items(), tests.tolist(), exchanged.T, strict=True):
        x, y = scores[a][both], scores[b][both]
        difference = bounded_difference(x, y, level=1 - LEVEL / len(known))
        p = min(1.0, len(known) * max(test, bounded_difference_p(x, y)))
        if p > LEVEL:
            difference = replace(difference, low=min(difference.low, 0.0), high=max(difference.high, 0.0))
        sizes = np.abs(moved[moved != 0])
        found[a, b] = Pair(difference, p, float(sizes.min()) if len(sizes) else 0.0)
    return Pairs(names, found)
