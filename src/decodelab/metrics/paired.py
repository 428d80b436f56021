"""Two systems on the same items: differences, and whether they are more than chance."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import Floats, Ints, at_least, cluster_ids, numbers, outcomes, same_length
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.mean import mean

Name = TypeVar("Name", bound=Hashable)
_SIGNS_AT_ONCE = 2_000_000
"""Entries of the matrix of signs that is in memory at a time."""


def paired_difference(
    a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable] | None = None, *, level: float = 0.95
) -> Estimate:
    """The mean of a - b over the same items, with clustered standard error and t interval.

    Both systems find the same items hard, so the error of the difference is mostly much smaller than the two errors
    together would say. Never compare two intervals by whether they overlap: look at this one.

    Args:
        a: scores of one system, [n].
        b: scores of the other on the same items, [n].
        clusters: what each item belongs to.
        level: confidence level.

    Raises:
        InvalidData: for different lengths, NaN or nothing.

    Source: Miller 2024, section 4.2 (paired) and 2.2 (clustered).

    >>> print(paired_difference([1, 1, 1, 0], [1, 0, 0, 0]))
    0.500 [-0.419, 1.419]
    """
    return mean(_differences(a, b), clusters, level=level)


def permutation_test(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    resamples: int = 9999,
    seed: int = 0,
) -> float:
    """Two-sided p value that a and b score the same, by exchanging them within items (or whole clusters).

    It assumes nothing but that under the null either system could have given either score. Exact when there are no more
    than `resamples` exchanges that change anything; else of a random sample of them, in which the observed one counts.

    Args:
        a: scores of one system, [n].
        b: scores of the other on the same items, [n].
        clusters: what is exchanged together.
        resamples: how many exchanges.
        seed: of the sample.

    Raises:
        InvalidData: for different lengths, NaN or nothing.

    Source: Fisher 1935.

    >>> permutation_test([1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0])
    0.03125
    """
    return float(permutation_tests(_differences(a, b)[:, None], clusters, resamples=resamples, seed=seed)[0])


def permutation_tests(
    differences: ArrayLike,
    clusters: Sequence[Hashable] | Ints | None = None,
    *,
    resamples: int = 9999,
    seed: int = 0,
) -> Floats:
    """The p values of many paired permutation tests over the same items, float64 [tests], as one product of matrices.

    Args:
        differences: of the scores of each pair of systems, [n, tests].
        clusters: what is exchanged together, [n].
        resamples: how many exchanges.
        seed: of their sample, which all tests share.

    Raises:
        InvalidData: for NaN, nothing, or clusters of another length.

    Source: as `permutation_test`. Differs from `scipy.stats.permutation_test` in that items without a difference, whose
    exchange changes nothing, do not stand in the way of an exact value.

    >>> permutation_tests([[1, 0], [1, 0], [1, 1], [1, -1]]).tolist()
    [0.125, 1.0]
    """
    at_least("resamples", resamples, 1)
    x = numbers("differences", differences, ndim=2)
    ids, count = cluster_ids(clusters, len(x))
    sums = np.zeros((count, x.shape[1]))
    np.add.at(sums, ids, x)
    # What is lower by no more than rounding is as extreme as what was observed.
    observed = np.abs(sums.sum(axis=0)) - 1e-9 * np.maximum(np.abs(sums).sum(axis=0), 1e-9)
    p = np.ones(x.shape[1])
    sampled = []
    for test in range(x.shape[1]):
        moved = sums[sums[:, test] != 0, test]
        if 2 ** min(len(moved), 62) > resamples:
            sampled.append(test)
        elif len(moved):
            # Each exchange and its mirror image are as extreme: the first sign may stand.
            signs = 1.0 - 2.0 * (np.arange(2 ** (len(moved) - 1))[:, None] >> np.arange(len(moved)) & 1)
            p[test] = float((np.abs(signs @ moved) >= observed[test]).mean())
    if sampled:
        rng = np.random.default_rng(seed)
        extreme = np.zeros(len(sampled))
        at_once = max(1, _SIGNS_AT_ONCE // count)
        for begin in range(0, resamples, at_once):
            rows = min(at_once, resamples - begin)
            signs = 1.0 - 2.0 * rng.integers(0, 2, size=(rows, count), dtype=np.int8)
            extreme += (np.abs(signs @ sums[:, sampled]) >= observed[sampled]).sum(axis=0)
        p[sampled] = (1 + extreme) / (1 + resamples)
    return p


@dataclass(frozen=True)
class McNemar:
    """How two systems disagree.

    Attributes:
        only_a: items that only the first got right.
        only_b: items that only the second got right.
        p_value: two-sided, that they disagree as often either way.
    """

    only_a: int
    only_b: int
    p_value: float


def mcnemar(a: ArrayLike, b: ArrayLike) -> McNemar:
    """McNemar's exact test of two systems' right and wrong answers to the same independent items.

    Only items on which they disagree count. With clusters (several samples a prompt) use `permutation_test`.

    Args:
        a: 0 or 1, [n].
        b: 0 or 1 on the same items, [n].

    Raises:
        InvalidData: for other values, different lengths or nothing.

    Source: McNemar 1947, exact binomial form; by statsmodels.

    >>> mcnemar([1, 1, 1, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0, 1])
    McNemar(only_a=5, only_b=0, p_value=0.0625)
    """
    from statsmodels.stats.contingency_tables import mcnemar as test

    x, y = outcomes("a", a), outcomes("b", b)
    same_length(a=x, b=y)
    only_a, only_b = int((x > y).sum()), int((y > x).sum())
    found = test([[0, only_a], [only_b, 0]], exact=True)
    # Without any disagreement there is nothing to test, and statsmodels has no number.
    return McNemar(only_a, only_b, float(found.pvalue) if only_a + only_b else 1.0)  # pyright: ignore[reportAttributeAccessIssue]


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """P values of several tests made together, adjusted so that the chance of any false alarm stays below the level.

    Compare the adjusted values with the level itself.

    Raises:
        InvalidData: for a value outside [0, 1].

    Source: Holm 1979. Equal to statsmodels' `multipletests`, which collects garbage at every call: half a second.

    >>> holm({"beam": 0.01, "top_p": 0.04})
    {'beam': 0.02, 'top_p': 0.04}
    """
    if not p_values:
        return {}
    p = numbers("p_values", list(p_values.values()))
    if bool(((p < 0) | (p > 1)).any()):
        raise InvalidData("p_values must be in [0, 1], got a value outside; these are probabilities")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return dict(zip(p_values, adjusted.tolist(), strict=True))


def _differences(a: ArrayLike, b: ArrayLike) -> Floats:
    x, y = numbers("a", a), numbers("b", b)
    same_length(a=x, b=y)
    return x - y
