"""How much of two texts stands in the same order: ROUGE-L and edit similarity."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from decodelab.core.words import RougeTokens
from decodelab.select.utility._alignment import common_subsequence, edit_distance
from decodelab.select.utility._ngrams import Floats

Items = Sequence[Hashable]


class RougeL:
    """ROUGE-L, 0 to 1: the F1 score of the words in the longest common subsequence, with English words stemmed.

    The `rouge_l` of `decodelab.metrics.overlap.rouge`.

    Source: Lin 2004.

    >>> RougeL().read(["the cat sat", "the cat sat down"]).utilities([0], [1]).round(4).tolist()
    [[0.8571]]
    """

    def read(self, texts: Sequence[str]) -> Symmetric:
        """Cut each text into words."""
        tokens = RougeTokens(stem=True)
        return Symmetric([tokens.tokenize(text) for text in texts], _f1)


class Edit:
    """Edit similarity, 0 to 1: 1 minus the edit distance in characters over the length of the longer text.

    Source: Levenshtein 1966; normalised as usual.

    >>> Edit().read(["kitten", "sitting"]).utilities([0], [1]).round(4).tolist()
    [[0.5714]]
    """

    def read(self, texts: Sequence[str]) -> Symmetric:
        """A text is its characters."""
        return Symmetric(list(texts), lambda a, b: 1 - edit_distance(a, b) / max(len(a), len(b)) if a or b else 1.0)


class Symmetric:
    """Texts whose utility is the same in both directions, which is computed once for each pair asked for."""

    def __init__(self, items: Sequence[Items], of: Callable[[Items, Items], float]) -> None:
        self._items, self._of = items, of
        self._known = np.full((len(items), len(items)), np.nan)

    def utilities(self, hypotheses: Sequence[int], references: Sequence[int]) -> Floats:
        """The utility of each hypothesis against each reference."""
        known = self._known
        for h in hypotheses:
            for r in references:
                if np.isnan(known[h, r]):
                    known[h, r] = known[r, h] = self._of(self._items[h], self._items[r])
        return known[np.ix_(hypotheses, references)]


def _f1(first: Items, second: Items) -> float:
    return 2 * common_subsequence(first, second) / (len(first) + len(second)) if first and second else 0.0
