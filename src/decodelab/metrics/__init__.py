"""Metrics of sequences, texts, confidences and comparisons, each defined once (docs/metrics.md)."""

from decodelab.metrics.bootstrap import bootstrap
from decodelab.metrics.bounded import bounded_difference, bounded_mean
from decodelab.metrics.bradley_terry import bradley_terry
from decodelab.metrics.calibration import (
    adaptive_ce,
    auroc,
    bin_by_confidence,
    brier,
    brier_parts,
    ece,
    ece_if_calibrated,
    macro_ce,
    max_ce,
    nll,
)
from decodelab.metrics.calibration_report import calibration_report
from decodelab.metrics.closeness import mauve
from decodelab.metrics.confidence import (
    agreement_confidence,
    likelihood_confidence,
    option_probabilities,
    stated_confidence,
)
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
from decodelab.metrics.information import (
    LogitComparison,
    cross_entropy,
    empirical,
    entropy,
    jensen_shannon,
    kl_divergence,
)
from decodelab.metrics.likelihood import (
    TokenPerplexity,
    bits_per_byte,
    bits_per_character,
    perplexity,
    token_perplexities,
)
from decodelab.metrics.long_form import Criterion, long_form_calibration
from decodelab.metrics.mean import mean
from decodelab.metrics.overlap import bleu, chrf, exact_match, integer_match, rouge
from decodelab.metrics.paired import holm, mcnemar, paired_difference, permutation_test
from decodelab.metrics.pass_at_k import pass_at_k
from decodelab.metrics.power import Spread, equivalence_sample_size, minimum_detectable_difference, sample_size, spread
from decodelab.metrics.proportion import proportion, wilson
from decodelab.metrics.recalibration import (
    Labelled,
    isotonic_regression,
    platt_scaling,
    temperature_scaling,
    vector_scaling,
)
from decodelab.metrics.repetition import repetition_rate, seq_rep_n, token_repetition
from decodelab.metrics.selective import accuracy_at_coverage, coverage_at_accuracy, risk_coverage
from decodelab.metrics.text_report import text_report
from decodelab.metrics.uncertainty import (
    answer_entropy,
    majority_share,
    meanings,
    p_true,
    predictive_entropy,
    semantic_entropy,
)

__all__ = [
    "Criterion",
    "Estimate",
    "Labelled",
    "LogitComparison",
    "Spread",
    "TokenPerplexity",
    "accuracy_at_coverage",
    "adaptive_ce",
    "agreement_confidence",
    "answer_entropy",
    "auroc",
    "bin_by_confidence",
    "bits_per_byte",
    "bits_per_character",
    "bleu",
    "bootstrap",
    "bounded_difference",
    "bounded_mean",
    "bradley_terry",
    "brier",
    "brier_parts",
    "calibration_report",
    "chrf",
    "coherence",
    "compression_ratio",
    "coverage_at_accuracy",
    "cross_entropy",
    "distinct_n",
    "ece",
    "ece_if_calibrated",
    "empirical",
    "entropy",
    "equivalence_sample_size",
    "exact_match",
    "holm",
    "integer_match",
    "isotonic_regression",
    "jensen_shannon",
    "kl_divergence",
    "likelihood_confidence",
    "long_form_calibration",
    "macro_ce",
    "majority_share",
    "mauve",
    "max_ce",
    "mcnemar",
    "mean",
    "meanings",
    "minimum_detectable_difference",
    "nll",
    "option_probabilities",
    "p_true",
    "paired_difference",
    "pairwise_distance",
    "pass_at_k",
    "permutation_test",
    "perplexity",
    "platt_scaling",
    "predictive_entropy",
    "proportion",
    "repetition_rate",
    "risk_coverage",
    "rouge",
    "sample_size",
    "self_bleu",
    "semantic_entropy",
    "seq_rep_n",
    "spread",
    "stated_confidence",
    "temperature_scaling",
    "text_report",
    "token_perplexities",
    "token_repetition",
    "unique_n_grams",
    "vector_scaling",
    "vocabulary_diversity",
    "vocabulary_size",
    "wilson",
]
