"""How probable sequences are."""

from __future__ import annotations

import math
from collections.abc import Iterable


def perplexity(logprobs: Iterable[float]) -> float:
    """Sequence perplexity, exp of minus the mean log-probability a token; NaN for an empty sequence.

    It is infinite when a token has probability 0 or the value exceeds what a float holds.

    Args:
        logprobs: log-probability of each token given all before it, in nats.

    >>> round(perplexity([-2.5] * 1000), 2)
    12.18
    """
    values = list(logprobs)
    if not values:
        return math.nan
    try:
        return math.exp(-math.fsum(values) / len(values))
    except OverflowError:
        return math.inf
