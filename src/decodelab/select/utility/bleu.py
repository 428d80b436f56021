"""Sentence BLEU of two texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from decodelab.select.utility._ngrams import Floats, Ngrams, ngrams

_ORDERS = 4


class SentenceBleu:
    """Sentence BLEU, 0 to 100: word n-grams up to 4, tokens of mteval-v13a, exponential smoothing, effective order.

    sacrebleu's `sentence_bleu`, which `decodelab.metrics.overlap.bleu` gives for one text. Without a shared word it is
    0; an order of which the hypothesis has n-grams but shares none counts as 1/2, 1/4, 1/8 of an n-gram; orders that it
    has no n-grams of are left out.

    Source: Papineni et al. 2002; Chen and Cherry 2014, smoothing 3; Post 2018.

    >>> SentenceBleu().read(["the cat sat", "the cat"]).utilities([0, 1], [0]).round(2).tolist()
    [[100.0], [60.65]]
    """

    aggregates: ClassVar[bool] = True

    def read(self, texts: Sequence[str]) -> BleuTexts:
        """Count the n-grams of each text."""
        from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

        tokenizer = Tokenizer13a()
        tokens = [tokenizer(text.rstrip()).split() for text in texts]
        numbers = {word: n for n, word in enumerate(dict.fromkeys(word for words in tokens for word in words))}
        return BleuTexts(ngrams([np.array([numbers[w] for w in words], np.int64) for words in tokens], _ORDERS))


class BleuTexts:
    """Texts by their word n-grams."""

    def __init__(self, orders: Sequence[Ngrams]) -> None:
        self._orders = orders
        self._totals = np.array([order.totals for order in orders])
        self._whole: Floats | None = None

    def utilities(self, hypotheses: Sequence[int], references: Sequence[int]) -> Floats:
        """The score of each hypothesis against each reference."""
        if self._whole is None:
            shared = np.array([order.shared for order in self._orders])
            self._whole = _bleu(shared, self._totals[:, :, None], self._totals[0])
        return self._whole[np.ix_(hypotheses, references)]

    def against_mean(self, hypotheses: Sequence[int], weights: Floats) -> Floats:
        """The score of each hypothesis against the mean counts and the mean length of all texts."""
        shared = np.array([order.shared_with(order.mean(weights)) for order in self._orders])
        return _bleu(shared, self._totals, np.array(self._totals[0] @ weights))[list(hypotheses)]


def _bleu(shared: Floats, totals: Floats, length: Floats) -> Floats:
    """The score from numbers of n-grams [orders, ...]: shared, and of the hypothesis; and the reference's length."""
    there = totals > 0
    missed = there & (shared == 0)
    halved = 2.0 ** -np.cumsum(missed, 0)
    precision = np.where(missed, halved, shared) / np.where(there, totals, 1)
    logs = np.where(there, np.log(np.where(there, precision, 1)), 0).sum(0) / np.maximum(there.sum(0), 1)
    own = np.maximum(totals[0], 1)  # a hypothesis without words shares none
    brevity = np.exp(np.minimum(0, 1 - length / own))
    return np.where(shared.any(0), 100 * brevity * np.exp(logs), 0.0)
