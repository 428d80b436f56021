"""Whether two texts are equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from decodelab.select.utility._ngrams import Floats


class Exact:
    """1 for equal texts, else 0: the expected utility of a text is its share of the votes."""

    def read(self, texts: Sequence[str]) -> ExactTexts:
        """Nothing has to be read of a text."""
        return ExactTexts(list(texts))


class ExactTexts:
    """Texts as they are."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def utilities(self, hypotheses: Sequence[int], references: Sequence[int]) -> Floats:
        """1 where hypothesis and reference are equal."""
        found = [[float(self._texts[h] == self._texts[r]) for r in references] for h in hypotheses]
        return np.array(found, dtype=np.float64).reshape(len(hypotheses), len(references))
