"""The metrics that `decodelab measure` and `decodelab calibrate` report, by name.

A third party adds one with an entry point in the group `decodelab.metrics` that names a `TextMetric` or a
`ConfidenceMetric`.
"""

from __future__ import annotations

from decodelab.core.errors import InvalidData
from decodelab.core.registry import Registry
from decodelab.metrics.metric import ConfidenceMetric, TextMetric

METRICS: Registry[TextMetric | ConfidenceMetric] = Registry(
    "metric",
    "decodelab.metrics",
    {
        "texts": "decodelab.metrics.text_metrics:number",
        "empty": "decodelab.metrics.text_metrics:empty",
        "words": "decodelab.metrics.text_metrics:length",
        "vocabulary": "decodelab.metrics.text_metrics:vocabulary",
        "vocabulary_diversity": "decodelab.metrics.text_metrics:vocabulary_share",
        "distinct_1": "decodelab.metrics.text_metrics:distinct_1",
        "distinct_2": "decodelab.metrics.text_metrics:distinct_2",
        "unique_2_grams": "decodelab.metrics.text_metrics:unique_2_grams",
        "distinct_3": "decodelab.metrics.text_metrics:distinct_3",
        "unique_3_grams": "decodelab.metrics.text_metrics:unique_3_grams",
        "seq_rep_4": "decodelab.metrics.text_metrics:seq_rep_4",
        "token_repetition": "decodelab.metrics.text_metrics:repeated",
        "loops": "decodelab.metrics.text_metrics:loops",
        "compression_ratio": "decodelab.metrics.text_metrics:compression",
        "self_bleu": "decodelab.metrics.text_metrics:similarity",
        "unique_per_prompt": "decodelab.metrics.text_metrics:unique_per_prompt",
        "self_bleu_per_prompt": "decodelab.metrics.text_metrics:self_bleu_per_prompt",
        "exact_match": "decodelab.metrics.text_metrics:exact",
        "integer_match": "decodelab.metrics.text_metrics:integers",
        "rouge_1": "decodelab.metrics.text_metrics:rouge_1",
        "rouge_2": "decodelab.metrics.text_metrics:rouge_2",
        "rouge_l": "decodelab.metrics.text_metrics:rouge_l",
        "rouge_lsum": "decodelab.metrics.text_metrics:rouge_lsum",
        "bleu": "decodelab.metrics.text_metrics:corpus_bleu",
        "chrf": "decodelab.metrics.text_metrics:corpus_chrf",
        "accepted": "decodelab.metrics.text_metrics:accepted",
        "acceptable": "decodelab.metrics.text_metrics:acceptable",
        "pairwise_distance": "decodelab.metrics.text_metrics:distance",
        "coherence": "decodelab.metrics.text_metrics:coherent",
        "mauve": "decodelab.metrics.text_metrics:human_likeness",
        "mauve_smoothed": "decodelab.metrics.text_metrics:human_likeness_smoothed",
        "macro_ce": "decodelab.metrics.confidence_metrics:macro_ce",
        "macro_ce_right": "decodelab.metrics.confidence_metrics:macro_ce_right",
        "macro_ce_wrong": "decodelab.metrics.confidence_metrics:macro_ce_wrong",
        "brier": "decodelab.metrics.confidence_metrics:brier",
        "nll": "decodelab.metrics.confidence_metrics:nll",
        "auroc": "decodelab.metrics.confidence_metrics:auroc",
        "aurc": "decodelab.metrics.confidence_metrics:aurc",
        "accuracy_at_50": "decodelab.metrics.confidence_metrics:accuracy_at_50",
        "accuracy_at_80": "decodelab.metrics.confidence_metrics:accuracy_at_80",
        "accuracy_at_90": "decodelab.metrics.confidence_metrics:accuracy_at_90",
    },
    unknown=InvalidData,
    broken=InvalidData,
)


def text_metrics() -> dict[str, TextMetric]:
    """The metrics of texts, in the order in which they are reported."""
    return {name: metric for name, metric in METRICS.load_all().items() if metric.of == "texts"}


def confidence_metrics() -> dict[str, ConfidenceMetric]:
    """The metrics of confidences, in the order in which they are reported.

    >>> list(confidence_metrics())[:3]
    ['macro_ce', 'macro_ce_right', 'macro_ce_wrong']
    """
    return {name: metric for name, metric in METRICS.load_all().items() if metric.of == "confidences"}
