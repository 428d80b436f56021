"""How varied sequences are."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence


def distinct_n(sequences: Iterable[Sequence[Hashable]], n: int) -> float:
    """Different n-grams as a fraction of all n-grams, over all sequences together; NaN when there are none.

    N-grams never reach from one sequence into the next. The value falls as sequences grow longer, so compare only
    sequences of similar length.

    Args:
        sequences: token ids or words of each sequence.
        n: tokens in an n-gram, at least 1.

    Raises:
        ValueError: when `n` is less than 1.

    Source: Li et al., "A Diversity-Promoting Objective Function for Neural Conversation Models", NAACL 2016,
    section 5.1 (there over words).

    >>> distinct_n([[1, 2, 1, 2, 1]], 2)
    0.5
    >>> distinct_n([["a", "b"], ["a", "b"]], 1)
    0.5
    """
    if n < 1:
        raise ValueError(f"distinct_n: n must be at least 1, got {n}")
    grams = [tuple(seq[i : i + n]) for seq in sequences for i in range(len(seq) - n + 1)]
    return len(set(grams)) / len(grams) if grams else math.nan
