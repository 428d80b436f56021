"""The chance that one of k samples passes, from more samples than k."""

from __future__ import annotations

from math import comb

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import at_least


def pass_at_k(n: int, c: int, k: int) -> float:
    """The unbiased estimate of the probability that at least one of k samples of a problem passes.

    1 - C(n - c, k) / C(n, k): of all ways to choose k of the n samples, the share that has one of the c that passed.
    The plug-in estimate 1 - (1 - c / n)^k is biased downwards.

    Args:
        n: samples made.
        c: samples that passed.
        k: samples one may try.

    Raises:
        InvalidData: unless 0 <= c <= n and 1 <= k <= n.

    Source: Chen et al. 2021, equation 1. In integers and rounded once, where the authors multiply floats.

    >>> pass_at_k(5, 2, 1), pass_at_k(5, 2, 3), pass_at_k(5, 0, 5)
    (0.4, 0.9, 0.0)
    """
    n, c, k = at_least("n", n, 1), at_least("c", c, 0), at_least("k", k, 1)
    if c > n:
        raise InvalidData(f"pass_at_k: c must be at most n, got {c} of {n}; count passing samples among all samples")
    if k > n:
        raise InvalidData(f"pass_at_k: k must be at most n, got {k} of {n}; draw more samples or use a smaller k")
    ways = comb(n, k)
    return (ways - comb(n - c, k)) / ways
