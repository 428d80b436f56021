"""Minimum Bayes risk with few comparisons: candidates that are hardly the best are dropped early."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from decodelab.core.key import SELECTION, Keys
from decodelab.core.protocols import Compared
from decodelab.select._ordering import in_order

_FIRST = 8
"""References of the first round; each later one has twice as many."""
_RESAMPLES = 500


def pruned(
    texts: Compared, of: Sequence[int], places: Sequence[int], confidence: float, keys: Keys
) -> list[tuple[int, float]]:
    """Places by their estimated expected utility, best first; what was dropped earlier is later.

    A text stays as long as, in more than 1 - `confidence` of the bootstrap resamples of the references so far, it is at
    least as good as the one that is best on them. Nothing is compared any more once one text is left.

    Source: Cheng and Vlachos 2023, algorithms 1 and 2, with its sizes: 8, 16, 32, ... references, 500 resamples.

    Args:
        texts: what has been read.
        of: the text of each candidate, or -1 where it has none.
        places: the candidates, of which each is a reference.
        confidence: in (0, 1).
        keys: randomness, one row.
    """
    left = list(dict.fromkeys(of[i] for i in places if of[i] >= 0))
    references = [of[i] for i in places]
    utilities = np.zeros((len(left), 0))
    dropped: list[list[tuple[int, float]]] = []
    size = drawn = 0
    while left and size < len(references) and (len(left) > 1 or size == 0):
        more = references[size : max(_FIRST, 2 * size)]
        size += len(more)
        utilities = np.hstack([utilities, _utilities(texts, left, more)])
        estimates = utilities.mean(1)
        resampled = utilities @ _resamples(keys, drawn, size).T
        drawn += _RESAMPLES * size
        best = resampled[int(estimates.argmax())]
        stays = (resampled >= best - 1e-9 * np.abs(best)).mean(1) > 1 - confidence
        dropped.append([(left[n], float(estimates[n])) for n in np.flatnonzero(~stays)])
        left = [left[n] for n in np.flatnonzero(stays)]
        utilities = utilities[stays]
    stayed = list(zip(left, utilities.mean(1).tolist(), strict=True)) if left else []
    rounds = [stayed, *reversed(dropped)]
    ranked: list[tuple[int, float]] = []
    for values in map(dict, rounds):
        ranked += in_order([(i, values[of[i]]) for i in places if of[i] in values])
    ranked += in_order([(i, None) for i in places if of[i] < 0])
    scores = np.minimum.accumulate([score for _, score in ranked]).tolist()
    return [(i, score) for (i, _), score in zip(ranked, scores, strict=True)]


def _utilities(texts: Compared, hypotheses: Sequence[int], references: Sequence[int]) -> np.ndarray:
    """The utility of texts against references, of which some may have no text: float64 [hypotheses, references]."""
    found = np.zeros((len(hypotheses), len(references)))
    there = [n for n, reference in enumerate(references) if reference >= 0]
    found[:, there] = texts.utilities(hypotheses, [references[n] for n in there])
    return found


def _resamples(keys: Keys, position: int, size: int) -> np.ndarray:
    """The weights of references in each resample: float64 [resamples, references]."""
    draws = _RESAMPLES * size
    own = keys[torch.zeros(draws, dtype=torch.int64)]
    uniform = own.uniform(torch.arange(position, position + draws), SELECTION).numpy()
    chosen = (uniform * size).astype(np.int64) + np.repeat(np.arange(_RESAMPLES), size) * size
    return np.bincount(chosen, minlength=draws).reshape(_RESAMPLES, size) / size
