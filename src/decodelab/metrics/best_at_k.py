"""The score of the best rated of k samples, from more samples than k."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import Floats, numbers


def best_at_k(scores: ArrayLike, ratings: ArrayLike | None = None) -> Floats:
    """The expected score of the highest rated of k samples, for every k from 1 to n, without bias.

    Over all ways to choose k of the n samples: the i-th lowest rated of them is the highest of a choice in
    C(i - 1, k - 1) of C(n, k) ways. Of equal ratings each wins equally often. Rated by the score itself it is what a
    perfect rating would reach, and of scores 0 and 1 then pass@k.

    Args:
        scores: of each sample, [n].
        ratings: what the choice goes by, [n]; None: the scores.

    Returns:
        float64 [n], for k = 1 to n.

    Raises:
        InvalidData: for no samples, NaN, or ratings of another length.

    Source: Chen et al. 2021, equation 1, for ratings instead of passes; best-of-n as in Gao et al. 2023, Scaling laws
    for reward model overoptimization, appendix B.

    >>> best_at_k([0, 1, 0, 1, 0]).round(3).tolist()
    [0.4, 0.7, 0.9, 1.0, 1.0]
    """
    x = numbers("scores", scores)
    by = x if ratings is None else numbers("ratings", ratings)
    n = len(x)
    if len(by) != n:
        raise InvalidData(f"best_at_k: there must be a rating for each score, got {len(by)} for {n}; give both")
    _, place = np.unique(by, return_inverse=True)
    shared = np.bincount(place, weights=x) / np.bincount(place)
    ascending = shared[np.sort(place)]
    k = np.arange(1, n + 1)
    share = k / n  # C(i - 1, k - 1) / C(n, k) for i = n; each lower i is one step of a recurrence
    found = np.zeros(n)
    for i in range(n, 0, -1):
        found += share * ascending[i - 1]
        share = share * np.maximum(i - k, 0) / max(i - 1, 1)
    return found.clip(x.min(), x.max())  # a mean of scores, but for rounding
