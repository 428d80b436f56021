"""Whether two texts are equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from decodelab.select.utility._ngrams import Floats


class Exact:
    """1 for equal texts, else 0: the expected utility of a text is its share of the votes."""

    def read(self, texts: Sequence[str]) -> Different:
        """Texts that are read are different."""
        return Different()


class Different:
    """Texts of which no two are equal."""

    def utilities(self, hypotheses: Sequence[int], references: Sequence[int]) -> Floats:
        """1 where hypothesis and reference are the same text."""
        return np.equal.outer(np.array(hypotheses), np.array(references)).astype(np.float64)
