"""The score of the majority answer of k samples, from more samples than k."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import comb

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import Floats, numbers

MOST = 1000
"""Samples: of more the number of ways to choose some of them exceeds a float."""


def vote_at_k(answers: Sequence[Hashable | None], scores: ArrayLike) -> Floats:
    """The expected score of the answer that most of k samples give, for every k from 1 to n, without bias.

    Over all ways to choose k of the n samples and to put them in order, exactly: of tied answers the one seen first
    wins. A sample without an answer (None) has no vote, and is taken only where no other is chosen. The number of
    choices in which an answer has j votes, t others have as many and the rest fewer is a coefficient of a product of
    polynomials, and the sum over t of 1 / (1 + t) of them an integral of that product from 0 to 1.

    Args:
        answers: of each sample, [n]; None where it gives none.
        scores: of each sample, [n].

    Returns:
        float64 [n], for k = 1 to n.

    Raises:
        InvalidData: for no samples, more than 1,000, NaN, or answers of another length.

    Source: the definition; majority@k as in Wang et al. 2023, figure 2, which resamples.

    >>> vote_at_k(["5", "6", "5", None], [1, 0, 1, 0]).round(3).tolist()
    [0.5, 0.667, 0.75, 1.0]
    """
    x = numbers("scores", scores)
    n = len(x)
    if len(answers) != n or n > MOST:
        raise InvalidData(f"vote_at_k: there must be an answer for each of at most {MOST} scores, got {len(answers)}")
    sums: dict[Hashable, float] = {}
    votes: dict[Hashable, int] = {}
    for answer, score in zip(answers, x.tolist(), strict=True):
        sums[answer] = sums.get(answer, 0.0) + score
        votes[answer] = votes.get(answer, 0) + 1
    none = votes.pop(None, 0)
    ways = np.array([float(comb(n, k)) for k in range(n + 1)])
    won = np.zeros(n + 1)
    if none:
        won += np.array([float(comb(none, k)) for k in range(n + 1)]) * sums[None] / none
    for count in range(1, max(votes.values(), default=0) + 1):
        reaching = [answer for answer in votes if votes[answer] >= count]
        others = none + sum(own for own in votes.values() if own < count)
        free = np.array([[float(comb(others, i)) for i in range(n + 1)]])
        for answer, chosen in zip(reaching, _with(count, [votes[a] for a in reaching], free), strict=True):
            won += chosen * sums[answer] / votes[answer]
    return (won / ways)[1:].clip(x.min(), x.max())  # a mean of scores, but for rounding


def _with(count: int, votes: Sequence[int], free: Floats) -> list[Floats]:
    """For each answer, the choices in which it wins with `count` votes, by how many samples are chosen.

    Args:
        count: votes of the winner.
        votes: of each answer that has so many, how many samples give it.
        free: the choices among all other samples, [1, n + 1].
    """
    nodes, weights = np.polynomial.legendre.leggauss(len(votes) // 2 + 1)
    at, weights = (nodes + 1) / 2, weights / 2
    factors = []
    for own in votes:
        fewer = np.array([float(comb(own, i)) for i in range(count)])
        tied = float(comb(own, count)) * at
        factors.append(np.concatenate([np.tile(fewer, (len(at), 1)), tied[:, None]], axis=1))
    size = free.shape[1]
    before = [np.repeat(free, len(at), axis=0)]
    for factor in factors[:-1]:
        before.append(_product(before[-1], factor, size))
    found: list[Floats] = []
    after = np.concatenate([np.ones((len(at), 1)), np.zeros((len(at), size - 1))], axis=1)
    for own, factor, head in zip(votes[::-1], factors[::-1], before[::-1], strict=True):
        without = weights @ _product(head, after, size)
        found.append(np.concatenate([np.zeros(count), without[: size - count]]) * float(comb(own, count)))
        after = _product(after, factor, size)
    return found[::-1]


def _product(a: Floats, b: Floats, size: int) -> Floats:
    """Products of polynomials, a row each, up to degree size - 1."""
    out = np.zeros((len(a), size))
    for degree in range(min(b.shape[1], size)):
        if b[:, degree].any():
            out[:, degree:] += a[:, : size - degree] * b[:, degree : degree + 1]
    return out
