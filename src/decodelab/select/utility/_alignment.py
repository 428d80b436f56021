"""Longest common subsequences and edit distances, a column of the table at a time.

A column's differences are the bits of one integer, so that a step is a few operations on integers.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def common_subsequence(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """The length of the longest common subsequence.

    Source: Hyyrö 2004, Bit-parallel LCS-length computation revisited, figure 3.

    >>> common_subsequence("abcbdab", "bdcaba")
    4
    """
    places = _places(first)
    full = (1 << len(first)) - 1
    free = full
    for item in second:
        met = free & places.get(item, 0)
        free = ((free + met) | (free - met)) & full
    return len(first) - free.bit_count()


def edit_distance(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """The least number of insertions, deletions and replacements that make one sequence the other (Levenshtein).

    Source: Myers 1999, A fast bit-vector algorithm for approximate string matching; Hyyrö 2003.

    >>> edit_distance("kitten", "sitting")
    3
    """
    if not first or not second:
        return max(len(first), len(second))
    places = _places(first)
    full = (1 << len(first)) - 1
    last = 1 << (len(first) - 1)
    more, less, distance = full, 0, len(first)
    for item in second:
        equal = places.get(item, 0)
        down = equal | less
        across = (((equal & more) + more) ^ more) | equal
        up = (less | ~(across | more)) & full
        below = more & across
        if up & last:
            distance += 1
        elif below & last:
            distance -= 1
        up = ((up << 1) | 1) & full
        below = (below << 1) & full
        more = (below | ~(down | up)) & full
        less = up & down
    return distance


def _places(sequence: Sequence[Hashable]) -> dict[Hashable, int]:
    """Where each item is, as bits."""
    found: dict[Hashable, int] = {}
    for place, item in enumerate(sequence):
        found[item] = found.get(item, 0) | (1 << place)
    return found
