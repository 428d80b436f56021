"""Repetition within sequences."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import token_sequences
from decodelab.metrics.diversity import Sequences, n_grams


def seq_rep_n(sequences: Sequences, n: int = 4) -> float:
    """The share of a sequence's n-grams that occurred in it before, averaged; NaN when none has n tokens.

    0 for no repetition, near 1 for a loop. Each sequence is looked at alone: that samples resemble one another
    is what `self_bleu` and `distinct_n` see.

    Args:
        sequences: token ids or words of each.
        n: tokens in an n-gram, at least 1.

    Raises:
        InvalidData: when n is less than 1.

    Source: Welleck et al. 2020 (unlikelihood training), section 4: 1 - |unique n-grams| / |n-grams|.

    >>> seq_rep_n([[1, 2, 3, 4, 1, 2, 3, 4]], 4)
    0.19999999999999996
    """
    counted = [n_grams(sequence, n) for sequence in token_sequences("seq_rep_n", sequences)]
    shares = [1 - len(set(grams)) / len(grams) for grams in counted if grams]
    return math.fsum(shares) / len(shares) if shares else math.nan


def token_repetition(sequences: Sequences, window: int = 128) -> float:
    """The share of tokens that occur among the `window` tokens before them, over all sequences; NaN without tokens.

    Much of it is natural (articles, commas): compare with human text, not with 0.

    Raises:
        InvalidData: when the window is less than 1.

    Source: Welleck et al. 2020, section 4, rep/l, on generated text itself.

    >>> token_repetition([[1, 2, 1, 3, 4, 1]], window=2)
    0.16666666666666666
    """
    if window < 1:
        raise InvalidData(f"window must be at least 1, got {window}")
    tokens = repeated = 0
    for sequence in token_sequences("token_repetition", sequences):
        last: dict[Hashable, int] = {}
        for i, token in enumerate(sequence):
            repeated += token in last and i - last[token] <= window
            last[token] = i
        tokens += len(sequence)
    return repeated / tokens if tokens else math.nan


def ends_in_loop(sequence: Sequence[Hashable], *, times: int = 3, shortest: int = 2) -> bool:
    """Whether a sequence ends with one phrase of at least `shortest` tokens, `times` times in a row.

    The degeneration that greedy decoding and beam search fall into.

    Raises:
        InvalidData: when times is less than 2 or shortest less than 1.

    Source: Holtzman et al. 2020, section 5.3 ("Repetition"): a phrase of at least 2 tokens, 3 times at the end.

    >>> ends_in_loop("once upon a time".split() + "and so".split() * 3)
    True
    """
    if times < 2 or shortest < 1:
        raise InvalidData(f"ends_in_loop: times must be at least 2 and shortest at least 1, got {times} and {shortest}")
    (sequence,) = token_sequences("ends_in_loop", [sequence])
    # Reversed, so that comparing ends early; a phrase of length k at the end means that tokens k apart agree.
    tail = list(reversed(sequence))
    for k in range(shortest, len(tail) // times + 1):
        if all(tail[i] == tail[i + k] for i in range(k * (times - 1))):
            return True
    return False


def repetition_rate(sequences: Iterable[Sequence[Hashable]], *, times: int = 3, shortest: int = 2) -> float:
    """The share of sequences that end in a loop (see `ends_in_loop`); NaN without sequences.

    >>> repetition_rate([[1, 2, 1, 2, 1, 2], [1, 2, 3]])
    0.5
    """
    found = [ends_in_loop(s, times=times, shortest=shortest) for s in token_sequences("repetition_rate", sequences)]
    return sum(found) / len(found) if found else math.nan
