"""The metrics of texts that `decodelab measure` reports, each with its meaning."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from decodelab.metrics.bounded import bounded_mean
from decodelab.metrics.diversity import (
    coherence,
    compression_ratio,
    distinct_n,
    pairwise_distance,
    self_bleu,
    unique_n_grams,
    vocabulary_diversity,
    vocabulary_size,
)
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.metric import TextMetric, TextSet
from decodelab.metrics.overlap import Rouge, bleu, chrf, exact_match, integer_match
from decodelab.metrics.repetition import ends_in_loop, seq_rep_n, token_repetition

number = TextMetric("number of texts", lambda t: t.whole(len(t.texts)))
empty = TextMetric("share of texts without words", lambda t: t.share([not w for w in t.words]))
length = TextMetric("mean length in words", lambda t: t.positive_mean([len(w) for w in t.words]))
vocabulary = TextMetric("distinct words over all texts", lambda t: t.whole(vocabulary_size(t.words)))
vocabulary_share = TextMetric(
    "distinct words / words, per text", lambda t: t.unit_mean([vocabulary_diversity([text]) for text in t.texts])
)
distinct_1 = TextMetric("distinct words / words, over all texts", lambda t: t.whole(distinct_n(t.words, 1)))
distinct_2 = TextMetric("distinct 2-grams / 2-grams", lambda t: t.whole(distinct_n(t.words, 2)))
distinct_3 = TextMetric("distinct 3-grams / 3-grams", lambda t: t.whole(distinct_n(t.words, 3)))
unique_2_grams = TextMetric("distinct 2-grams", lambda t: t.whole(unique_n_grams(t.words, 2)))
unique_3_grams = TextMetric("distinct 3-grams", lambda t: t.whole(unique_n_grams(t.words, 3)))
seq_rep_4 = TextMetric(
    "share of repeated 4-grams in a text", lambda t: t.unit_mean([seq_rep_n([w], 4) for w in t.words])
)
repeated = TextMetric("share of words among the previous 128", lambda t: t.whole(token_repetition(t.words)))
loops = TextMetric("share of texts that end in a loop", lambda t: t.share([ends_in_loop(w) for w in t.words]))
compression = TextMetric("bytes / gzipped bytes", lambda t: t.whole(compression_ratio(t.texts)))
similarity = TextMetric(
    "similarity of texts, 0 to 100", lambda t: t.whole(self_bleu(t.texts, at_most=t.self_bleu_texts, seed=t.seed))
)


def _over_prompts(t: TextSet, number_of: Callable[[list[str]], float], low: float, high: float) -> Estimate | None:
    """The mean, over prompts with several samples, of a number about the samples of one prompt, from low to high.

    An infinite `high` is the most samples that a prompt has.
    """
    if t.prompts is None:
        return None
    groups: dict[str | None, list[str]] = defaultdict(list)
    for text, prompt in zip(t.texts, t.prompts, strict=True):
        groups[prompt].append(text)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return None
    width = (high if math.isfinite(high) else max(map(len, several))) - low
    # Rounding may leave a value a hair outside.
    inside = np.clip([(number_of(group) - low) / width for group in several], 0, 1)
    found = bounded_mean(inside, level=t.level)
    ends = {name: low + width * getattr(found, name) for name in ("value", "low", "high")}
    return replace(found, standard_error=width * found.standard_error, **ends)


unique_per_prompt = TextMetric(
    "distinct texts per prompt", lambda t: _over_prompts(t, lambda group: len(set(group)), 1, math.inf)
)
self_bleu_per_prompt = TextMetric(
    "similarity of a prompt's texts",
    lambda t: _over_prompts(t, lambda group: self_bleu(group, at_most=t.self_bleu_texts, seed=t.seed), 0, 100),
)


def _matches(t: TextSet, equal: Callable[[str, str], float]) -> Estimate | None:
    """The share of texts that match one of their references."""
    if t.references is None:
        return None
    return t.share([any(equal(text, r) for r in refs) for text, refs in zip(t.texts, t.references, strict=True)])


def _rouge(t: TextSet, which: Callable[[Rouge], float]) -> Estimate | None:
    return None if t.rouge is None else t.unit_mean([which(scores) for scores in t.rouge])


def _corpus(t: TextSet, score: Callable[[Sequence[str], list[list[str]]], float]) -> Estimate | None:
    return None if t.references is None else t.whole(score(t.texts, t.references))


exact = TextMetric("share equal to a reference", lambda t: _matches(t, exact_match))
integers = TextMetric("share with a reference's integer", lambda t: _matches(t, integer_match))
rouge_1 = TextMetric("overlap of words with the reference", lambda t: _rouge(t, lambda scores: scores.rouge1))
rouge_2 = TextMetric("overlap of 2-grams", lambda t: _rouge(t, lambda scores: scores.rouge2))
rouge_l = TextMetric("longest common subsequence", lambda t: _rouge(t, lambda scores: scores.rouge_l))
rouge_lsum = TextMetric("the same, sentence by sentence", lambda t: _rouge(t, lambda scores: scores.rouge_lsum))
corpus_bleu = TextMetric("corpus BLEU, 0 to 100", lambda t: _corpus(t, bleu))
corpus_chrf = TextMetric("corpus chrF, 0 to 100", lambda t: _corpus(t, chrf))


def _accepted(t: TextSet) -> Estimate | None:
    accepts = t.judges.accepts
    return None if accepts is None else t.share([accepts(text) for text in t.texts])


def _acceptable(t: TextSet) -> Estimate | None:
    return None if t.judges.acceptable is None else t.unit_mean(t.judges.acceptable(t.texts))


def _distance(t: TextSet) -> Estimate | None:
    if t.judges.embed is None:
        return None
    return t.whole(math.nan if t.vectors is None else pairwise_distance(t.vectors))


def _coherence(t: TextSet) -> Estimate | None:
    if t.judges.embed is None or t.vectors is None:
        return None
    kept = [s for s in t.samples if s.text.strip()]
    rows = [i for i, s in enumerate(kept) if s.prompt and s.prompt.strip()]
    return t.whole(coherence(t.judges.embed([kept[i].prompt or "" for i in rows]), t.vectors[rows])) if rows else None


accepted = TextMetric("share accepted by the grammar", _accepted)
acceptable = TextMetric("mean probability from the judge", _acceptable)
distance = TextMetric("mean of 1 - cosine over pairs", _distance)
coherent = TextMetric("mean cosine of prompt and text", _coherence)
human_likeness = TextMetric(
    "similarity to human texts, 0 to 1", lambda t: None if t.mauve is None else t.whole(t.mauve.value)
)
human_likeness_smoothed = TextMetric(
    "the same, less noisy for few texts", lambda t: None if t.mauve is None else t.whole(t.mauve.smoothed)
)
