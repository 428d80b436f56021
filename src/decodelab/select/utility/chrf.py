"""chrF of two texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from decodelab.select.utility._ngrams import Floats, Ngrams, ngrams

_ORDERS = 6
_BETA = 2


class ChrF:
    """The F score of character n-grams, 0 to 100: orders 1 to 6, recall counted twice, white space left out.

    The sentence score of sacrebleu, which `decodelab.metrics.overlap.chrf` gives for one text.

    Source: Popović 2015, chrF.

    >>> ChrF().read(["the cat", "a cat"]).utilities([0], [1]).round(2).tolist()
    [[42.28]]
    """

    aggregates: ClassVar[bool] = True

    def read(self, texts: Sequence[str]) -> ChrFTexts:
        """Count the n-grams of each text."""
        characters = [
            np.frombuffer("".join(text.split()).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
            for text in texts
        ]
        return ChrFTexts(ngrams(characters, _ORDERS))


class ChrFTexts:
    """Texts by their character n-grams."""

    def __init__(self, orders: Sequence[Ngrams]) -> None:
        self._orders = orders
        self._totals = np.array([order.totals for order in orders])
        self._whole: Floats | None = None

    def utilities(self, hypotheses: Sequence[int], references: Sequence[int]) -> Floats:
        """The score of each hypothesis against each reference."""
        if self._whole is None:
            shared = np.array([order.shared for order in self._orders])
            self._whole = _f_score(shared, self._totals[:, :, None], self._totals[:, None, :])
        return self._whole[np.ix_(hypotheses, references)]

    def against_mean(self, hypotheses: Sequence[int], weights: Floats) -> Floats:
        """The score of each hypothesis against the mean counts of all texts."""
        means = [order.mean(weights) for order in self._orders]
        shared = np.array([order.shared_with(mean) for order, mean in zip(self._orders, means, strict=True)])
        totals = np.array([mean.sum() for mean in means])[:, None]
        return _f_score(shared, self._totals, totals)[list(hypotheses)]


def _f_score(shared: Floats, of_hypothesis: Floats, of_reference: Floats) -> Floats:
    """The score from numbers of n-grams [orders, ...]: shared, of the hypothesis and of the reference.

    Precision and recall are means over the orders that both texts have.
    """
    there = (of_hypothesis > 0) & (of_reference > 0)
    orders = np.maximum(there.sum(0), 1)
    precision = (np.where(there, shared, 0) / np.where(there, of_hypothesis, 1)).sum(0) / orders
    recall = (np.where(there, shared, 0) / np.where(there, of_reference, 1)).sum(0) / orders
    square = _BETA**2
    weighted = square * precision + recall
    return np.where(weighted > 0, 100 * (1 + square) * precision * recall / np.where(weighted > 0, weighted, 1), 0.0)
