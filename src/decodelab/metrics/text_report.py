"""Everything there is to measure about a set of texts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import Floats
from decodelab.metrics.closeness import mauve
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
from decodelab.metrics.mean import mean
from decodelab.metrics.overlap import bleu, chrf, exact_match, integer_match, rouge
from decodelab.metrics.proportion import proportion
from decodelab.metrics.repetition import ends_in_loop, seq_rep_n, token_repetition
from decodelab.metrics.words import words


@dataclass(frozen=True)
class Sample:
    """A text to measure.

    Attributes:
        text: the text itself.
        prompt: what it continues or answers; samples of one prompt belong together.
        references: right answers, where there are any.
    """

    text: str
    prompt: str | None = None
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judges:
    """What needs a model, a grammar or human texts; each is left out where it is None.

    Attributes:
        embed: embeddings of texts, [texts, dimensions].
        acceptable: the probability that each text is acceptable, [texts].
        accepts: whether a grammar accepts a text.
        human: human texts to be close to; needs `embed`.
    """

    embed: Callable[[Sequence[str]], Floats] | None = None
    acceptable: Callable[[Sequence[str]], Floats] | None = None
    accepts: Callable[[str], bool] | None = None
    human: Sequence[str] | None = None


def text_report(
    samples: Sequence[Sample],
    judges: Judges | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
    self_bleu_texts: int = 200,
) -> dict[str, Estimate]:
    """Measure texts: length, diversity, repetition, and what references and judges allow, by name.

    A mean over texts has an interval, clustered by prompt where prompts are known; a number of the whole set has none.
    Words are those of `decodelab.metrics.words.words`, in any script. Texts without words count as
    texts, are said as `empty`, and have no diversity or embedding of their own.

    Args:
        samples: the texts; overlap is measured when all of them have references.
        judges: models and grammars.
        level: of the intervals.
        seed: of k-means (MAUVE) and of the texts drawn for self-BLEU.
        self_bleu_texts: texts compared by self-BLEU, at most.

    Raises:
        InvalidData: for no texts, references for some texts only, or human texts without an embedder.

    >>> report = text_report([Sample("a cat sat"), Sample("a dog ran")])
    >>> report["distinct_1"].value.__round__(3), report["unique_2_grams"].value
    (0.833, 4.0)
    """
    if not samples:
        raise InvalidData("needs at least one text, got none")
    judges = judges or Judges()
    texts = [s.text for s in samples]
    split = [words(t) for t in texts]
    known = all(s.prompt is not None for s in samples)
    prompts = [s.prompt for s in samples] if known else None

    def per_text(values: ArrayLike) -> Estimate:
        return mean(values, prompts, level=level)

    def share(values: Sequence[bool]) -> Estimate:
        return proportion(np.array(values, dtype=np.float64), prompts, level=level)

    def whole(value: float) -> Estimate:
        clusters = len(set(prompts)) if prompts is not None else len(samples)
        return Estimate(float(value), math.nan, math.nan, math.nan, len(samples), clusters, level)

    found = {
        "texts": whole(len(texts)),
        "empty": share([not w for w in split]),
        "words": per_text([len(w) for w in split]),
        "vocabulary": whole(vocabulary_size(split)),
        "vocabulary_diversity": _defined([vocabulary_diversity([t]) for t in texts], prompts, level, whole),
    }
    for n in (1, 2, 3):
        found[f"distinct_{n}"] = whole(distinct_n(split, n))
        if n > 1:
            found[f"unique_{n}_grams"] = whole(unique_n_grams(split, n))
    found["seq_rep_4"] = _defined([seq_rep_n([w], 4) for w in split], prompts, level, whole)
    found["token_repetition"] = whole(token_repetition(split))
    found["loops"] = share([ends_in_loop(w) for w in split])
    found["compression_ratio"] = whole(compression_ratio(texts))
    found["self_bleu"] = whole(self_bleu(texts, at_most=self_bleu_texts, seed=seed))
    if prompts is not None:
        found |= _by_prompt(texts, prompts, level, seed, self_bleu_texts)
    found |= _overlap(samples, per_text, share, whole)
    if judges.accepts is not None:
        found["accepted"] = share([judges.accepts(t) for t in texts])
    if judges.acceptable is not None:
        found["acceptable"] = per_text(judges.acceptable(texts))
    if judges.human is not None and judges.embed is None:
        raise InvalidData("closeness to human texts needs an embedder; name one")
    if judges.embed is not None:
        found |= _embedded(samples, judges.embed, judges.human, seed, whole)
    return found


def _defined(
    values: list[float], prompts: list[str | None] | None, level: float, whole: Callable[[float], Estimate]
) -> Estimate:
    """The mean over texts for which a quantity is defined."""
    rows = [i for i, v in enumerate(values) if not math.isnan(v)]
    if not rows:
        return whole(math.nan)
    clusters = None if prompts is None else [prompts[i] for i in rows]
    return mean([values[i] for i in rows], clusters, level=level)


def _by_prompt(
    texts: list[str], prompts: list[str | None], level: float, seed: int, at_most: int
) -> dict[str, Estimate]:
    """What several samples of a prompt have in common, averaged over prompts that have several."""
    groups: dict[str | None, list[str]] = defaultdict(list)
    for text, prompt in zip(texts, prompts, strict=True):
        groups[prompt].append(text)
    several = [g for g in groups.values() if len(g) > 1]
    if not several:
        return {}
    return {
        "unique_per_prompt": mean([len(set(g)) for g in several], level=level),
        "self_bleu_per_prompt": mean([self_bleu(g, at_most=at_most, seed=seed) for g in several], level=level),
    }


def _overlap(
    samples: Sequence[Sample],
    per_text: Callable[[ArrayLike], Estimate],
    share: Callable[[Sequence[bool]], Estimate],
    whole: Callable[[float], Estimate],
) -> dict[str, Estimate]:
    with_references = sum(bool(s.references) for s in samples)
    if with_references == 0:
        return {}
    if with_references < len(samples):
        raise InvalidData(f"{with_references} of {len(samples)} texts have references; give them for all texts or none")
    texts, references = [s.text for s in samples], [list(s.references) for s in samples]
    scores = [rouge(t, r) for t, r in zip(texts, references, strict=True)]
    pairs = list(zip(texts, references, strict=True))
    return {
        "exact_match": share([any(exact_match(t, r) for r in refs) for t, refs in pairs]),
        "integer_match": share([any(integer_match(t, r) for r in refs) for t, refs in pairs]),
        "rouge_1": per_text([s.rouge1 for s in scores]),
        "rouge_2": per_text([s.rouge2 for s in scores]),
        "rouge_l": per_text([s.rouge_l for s in scores]),
        "bleu": whole(bleu(texts, references)),
        "chrf": whole(chrf(texts, references)),
    }


def _embedded(
    samples: Sequence[Sample],
    embed: Callable[[Sequence[str]], Floats],
    human: Sequence[str] | None,
    seed: int,
    whole: Callable[[float], Estimate],
) -> dict[str, Estimate]:
    kept = [s for s in samples if s.text.strip()]
    if not kept:
        return {"pairwise_distance": whole(math.nan)}
    vectors = embed([s.text for s in kept])
    found = {"pairwise_distance": whole(pairwise_distance(vectors))}
    rows = [i for i, s in enumerate(kept) if s.prompt and s.prompt.strip()]
    if rows:
        asked = embed([kept[i].prompt or "" for i in rows])
        found["coherence"] = whole(coherence(asked, vectors[rows]))
    if human is not None:
        value = mauve(embed([t for t in human if t.strip()]), vectors, seed=seed)
        found["mauve"], found["mauve_smoothed"] = whole(value.value), whole(value.smoothed)
    return found
