"""A report of all text metrics."""

from __future__ import annotations

from collections.abc import Sequence

from decodelab.core.errors import InvalidData
from decodelab.metrics.catalogue import text_metrics
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.metric import Judges, Sample, TextSet


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
    Words are those of `decodelab.core.words.words`, in any script. Texts without words count as
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
    if judges.human is not None and judges.embed is None:
        raise InvalidData("closeness to human texts needs an embedder; name one")
    texts = TextSet(samples, judges, level, seed, self_bleu_texts)
    found = {name: metric.measure(texts) for name, metric in text_metrics().items()}
    return {name: estimate for name, estimate in found.items() if estimate is not None}
