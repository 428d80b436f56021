"""Counts of the n-grams of several sequences, and how many n-grams any two of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CELLS = 2**23
"""Cells of a dense matrix of occurrences, at most: 32 MB."""


@dataclass(frozen=True, eq=False)
class Ngrams:
    """The n-grams of one order: an entry for each sequence and n-gram in it, by n-gram and then by sequence.

    Attributes:
        owner: int64 [entries], the sequence.
        gram: int64 [entries], the n-gram, numbered from 0.
        count: int64 [entries], how often it is there.
        sequences: how many there are.
    """

    owner: Ints
    gram: Ints
    count: Ints
    sequences: int

    @cached_property
    def totals(self) -> Floats:
        """How many n-grams each sequence has, float64 [sequences]."""
        return _summed(self.owner, self.count, self.sequences)

    @cached_property
    def shared(self) -> Floats:
        """How many n-grams two sequences share, each as often as in the one that has it less often: float64
        [sequences, sequences].

        A sequence has an n-gram at least once or not, at least twice or not, and so on, so the sum of the minima is a
        sum of products of matrices of zeros and ones, which is exact.
        """
        # What one sequence alone has it shares with none but itself.
        common = np.bincount(self.gram) > 1
        kept = common[self.gram]
        rows, counts = self.owner[kept], self.count[kept]
        columns = (np.cumsum(common) - 1)[self.gram[kept]]
        whole = np.zeros((self.sequences, self.sequences))
        width = max(1, _CELLS // max(self.sequences, 1))
        for begin in range(0, int(common.sum()), width):
            here = (columns >= begin) & (columns < begin + width)
            number = np.zeros((self.sequences, int(columns[here].max()) - begin + 1), dtype=np.float32)
            number[rows[here], columns[here] - begin] = counts[here]
            least = 0
            while number.shape[1]:
                least += 1
                has = (number >= least).astype(np.float32)
                whole += has @ has.T
                number = number[:, (number > least).sum(0) > 1]  # here, too, what one alone has is shared with none
        np.fill_diagonal(whole, self.totals)
        return whole

    def mean(self, weights: Floats) -> Floats:
        """The mean count of each n-gram under weights of the sequences, float64 [n-grams]."""
        return _summed(self.gram, self.count * weights[self.owner])

    def shared_with(self, counts: Floats) -> Floats:
        """How many n-grams each sequence shares with given counts, float64 [sequences]."""
        return _summed(self.owner, np.minimum(self.count, counts[self.gram]), self.sequences)


def ngrams(sequences: Sequence[Ints], orders: int) -> list[Ngrams]:
    """The n-grams of all orders from 1 on of sequences of numbers from 0 on.

    >>> one, two = ngrams([np.array([0, 1, 0, 1]), np.array([0, 1])], 2)
    >>> one.shared.tolist(), two.totals.tolist()
    ([[4.0, 2.0], [2.0, 2.0]], [3.0, 1.0])
    """
    flat = np.concatenate([*sequences, np.empty(0, np.int64)]).astype(np.int64)
    owner = np.repeat(np.arange(len(sequences)), np.array([len(s) for s in sequences], np.int64))
    gram, found = flat, []
    for order in range(1, orders + 1):
        if order > 1:
            gram = gram[:-1]
        starts, ends = owner[: len(gram)], owner[order - 1 :]
        within = np.flatnonzero(starts == ends)
        # An n-gram is the one before it, by its number, and a symbol more. Sequences stay in order.
        symbol = flat[order - 1 :][within]
        before = gram[within] if order > 1 else np.zeros_like(symbol)
        places = _sorted(symbol)
        places = places[_sorted(before[places])]
        entries, numbers = _counted(before[places], symbol[places], starts[within][places], len(sequences))
        found.append(entries)
        gram = np.zeros_like(gram)
        gram[within[places]] = numbers
    return found


def _sorted(values: Ints) -> Ints:
    """The places of values in order, equal ones as they stand; fast for small values."""
    small = values.max(initial=0) < 2**16
    return np.argsort(values.astype(np.uint16) if small else values, kind="stable")


def _counted(before: Ints, symbol: Ints, owner: Ints, sequences: int) -> tuple[Ngrams, Ints]:
    """The entries of sorted n-grams of sequences, and the number of each n-gram."""
    new_gram = (np.diff(before, prepend=-1) != 0) | (np.diff(symbol, prepend=-1) != 0)
    starts = np.flatnonzero(new_gram | (np.diff(owner, prepend=-1) != 0))
    numbers = np.cumsum(new_gram) - 1
    return Ngrams(owner[starts], numbers[starts], np.diff(starts, append=len(owner)), sequences), numbers


def _summed(group: Ints, values: Ints | Floats, groups: int = 0) -> Floats:
    """The sum of the values of each group, float64 [groups]."""
    return np.asarray(np.bincount(group, values, groups), np.float64)
