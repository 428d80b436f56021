"""Diversity of sequences."""

from __future__ import annotations

import gzip
import math
import random
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import numbers, token_sequences, whole_texts

Sequences = Iterable[Sequence[Hashable]]
"""Token ids or words of each sequence; a text itself is refused, for its characters would be counted."""


def n_grams(sequence: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    """All runs of n tokens of a sequence, in order.

    Raises:
        InvalidData: when n is less than 1.

    >>> n_grams(["a", "b", "c"], 2)
    [('a', 'b'), ('b', 'c')]
    """
    if n < 1:
        raise InvalidData(f"n must be at least 1, got {n}")
    return [tuple(sequence[i : i + n]) for i in range(len(sequence) - n + 1)]


def distinct_n(sequences: Sequences, n: int) -> float:
    """Distinct n-grams as a fraction of all n-grams, over all sequences together; NaN if there are none.

    N-grams never reach from one sequence into the next. The value falls as sequences grow longer, so compare only
    sequences of similar length.

    Args:
        sequences: token ids or words of each sequence.
        n: tokens in an n-gram, at least 1.

    Raises:
        InvalidData: (a ValueError) when `n` is less than 1, or a text is given in place of its words.

    Source: Li et al., "A Diversity-Promoting Objective Function for Neural Conversation Models", NAACL 2016,
    section 5.1 (there over words).

    >>> distinct_n([[1, 2, 1, 2, 1]], 2)
    0.5
    >>> distinct_n([["a", "b"], ["a", "b"]], 1)
    0.5
    """
    if n < 1:
        raise InvalidData(f"distinct_n: n must be at least 1, got {n}")
    grams = [gram for sequence in token_sequences("distinct_n", sequences) for gram in n_grams(sequence, n)]
    return len(set(grams)) / len(grams) if grams else math.nan


def unique_n_grams(sequences: Sequences, n: int) -> int:
    """Number of distinct n-grams over all sequences.

    Unlike `distinct_n` it grows with the amount of text: compare only equal numbers of samples.

    Raises:
        InvalidData: when n is less than 1.

    >>> unique_n_grams([[1, 2, 1, 2, 1]], 2)
    2
    """
    return len({gram for sequence in token_sequences("unique_n_grams", sequences) for gram in n_grams(sequence, n)})


def vocabulary_size(sequences: Sequences) -> int:
    """Number of distinct tokens or words over all sequences.

    >>> vocabulary_size([["a", "b"], ["b"]])
    2
    """
    return unique_n_grams(token_sequences("vocabulary_size", sequences), 1)


def vocabulary_diversity(texts: Iterable[str]) -> float:
    """Distinct words over all words of a text, averaged over the texts that have words; NaN if none has.

    Words are what stands between white space, as written (capitals and punctuation count). Not `distinct_n(..., 1)`,
    which pools the texts: ten identical texts of different words have 1 here and 0.1 there.

    Source: CMU 11-763 (2025), `02-generation-basics/generation.py`, `calculate_diversity` (a text without words has 0
        there,
    and is left out here).

    >>> vocabulary_diversity(["a b a b", "c d"])
    0.75
    """
    words = map(str.split, whole_texts("vocabulary_diversity", texts))
    ratios = [len(set(found)) / len(found) for found in words if found]
    return math.fsum(ratios) / len(ratios) if ratios else math.nan


def self_bleu(texts: Sequence[str], *, at_most: int = 200, seed: int = 0) -> float:
    """The similarity of texts: BLEU of each against all others as references, averaged, 0 to 100.

    High values mean repetitive texts. The work grows with the square of the number of texts; of more than `at_most`
    texts, that many are drawn at random.

    Args:
        texts: at least 2 for a value; NaN with fewer.
        at_most: texts compared.
        seed: of the draw.

    Raises:
        InvalidData: when at_most is less than 2.

    Source: Zhu et al. 2018 (Texygen). BLEU-4 is sacrebleu's sentence BLEU (13a tokens, exponential smoothing, effective
    order), where Texygen uses NLTK's method 1.

    >>> round(self_bleu(["the cat sat on the mat"] * 3), 1)
    100.0
    """
    if at_most < 2:
        raise InvalidData(f"at_most must be at least 2, got {at_most}")
    chosen = whole_texts("self_bleu", texts)
    if len(chosen) > at_most:
        chosen = random.Random(seed).sample(chosen, at_most)
    if len(chosen) < 2:
        return math.nan
    from sacrebleu.metrics.bleu import BLEU

    bleu = BLEU(effective_order=True)
    scores = [bleu.sentence_score(t, chosen[:i] + chosen[i + 1 :]).score for i, t in enumerate(chosen)]
    return math.fsum(scores) / len(scores)


def compression_ratio(texts: Iterable[str]) -> float:
    """Bytes of all texts together over bytes after gzip; NaN without any text. High values mean repetitive texts.

    It sees repetition of any length, within and between texts. Short texts compress badly (gzip's header alone has
    18 bytes) and can have a ratio below 1, and more text compresses better: compare equal amounts.

    Source: Shaib et al. 2024, section 3 (texts joined by spaces, gzip level 9).

    >>> compression_ratio(["the same words again and again"] * 50) > 10
    True
    """
    data = " ".join(whole_texts("compression_ratio", texts)).encode("utf-8", "surrogatepass")
    return len(data) / len(gzip.compress(data, 9, mtime=0)) if data else math.nan


def pairwise_distance(embeddings: ArrayLike) -> float:
    """Mean cosine distance (1 - cosine) over all pairs of texts, given an embedding of each; NaN for fewer than 2.

    0 when all mean the same to the embedder, around 1 when they are unrelated.

    Args:
        embeddings: one row a text, float [texts, dimensions], none of them 0.

    Raises:
        InvalidData: for NaN or a row of zeros.

    Source: the "semantic diversity" of Tevet and Berant 2021 with cosine similarity.

    >>> pairwise_distance([[1, 0], [0, 1], [2, 0]]).__round__(4)
    0.6667
    """
    rows = numbers("embeddings", embeddings, ndim=2)
    n = len(rows)
    if n < 2:
        return math.nan
    # The sum over all pairs follows from the sum of the unit vectors: no n x n matrix.
    total = _unit_rows(rows).sum(axis=0)
    return 1 - (float(total @ total) - n) / (n * (n - 1))


def coherence(prompts: ArrayLike, continuations: ArrayLike) -> float:
    """Mean cosine between the embedding of a prompt and that of its continuation, -1 to 1.

    How much a continuation stays on its subject, as an embedder sees it; not whether it makes sense. The course asks a
    language model for that instead, on a scale of 0 to 10: see `decodelab.metrics.fluency.stated_rating`.

    Args:
        prompts: float [texts, dimensions].
        continuations: float [texts, dimensions].

    Raises:
        InvalidData: for NaN, rows of zeros, or different shapes.

    Source: Su et al. 2022 (contrastive search), section 4.2, there with SimCSE.

    >>> coherence([[1, 0], [1, 0]], [[2, 0], [0, 1]])
    0.5
    """
    x, y = numbers("prompts", prompts, ndim=2), numbers("continuations", continuations, ndim=2)
    if x.shape != y.shape:
        raise InvalidData(f"prompts and continuations need one embedding each, got shapes {x.shape} and {y.shape}")
    return float((_unit_rows(x) * _unit_rows(y)).sum(axis=1).mean())


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not bool((norms > 0).all()):
        raise InvalidData("embeddings must not be 0, got a row of zeros; leave out texts that cannot be embedded")
    return rows / norms
