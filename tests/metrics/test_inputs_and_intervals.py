"""Metrics of tokens refuse texts, metrics of texts refuse tokens, and no interval holds what cannot be."""

import pytest

import decodelab as dl
from decodelab.core.errors import InvalidData
from decodelab.metrics import distinct_n, self_bleu, seq_rep_n, text_report, token_repetition, unique_n_grams
from decodelab.metrics.diversity import compression_ratio, vocabulary_diversity, vocabulary_size
from decodelab.metrics.mean import positive_mean
from decodelab.metrics.metric import Sample
from decodelab.metrics.repetition import ends_in_loop, repetition_rate

OF_TOKENS = [
    lambda texts: distinct_n(texts, 2),
    lambda texts: unique_n_grams(texts, 2),
    lambda texts: seq_rep_n(texts, 2),
    token_repetition,
    vocabulary_size,
    repetition_rate,
    lambda texts: ends_in_loop(texts[0]),
]


@pytest.mark.parametrize("metric", OF_TOKENS, ids=range(7))
def test_a_text_in_place_of_tokens_is_refused(metric):
    with pytest.raises(InvalidData, match="takes tokens or words, got the text 'the cat sat'; split it"):
        metric(["the cat sat", "the dog"])


@pytest.mark.parametrize("metric", OF_TOKENS[:6], ids=range(6))
def test_one_sequence_in_place_of_several_is_refused(metric):
    with pytest.raises(InvalidData, match="takes sequences of tokens or words, got 1 in their place"):
        metric([1, 2, 3])


@pytest.mark.parametrize("metric", [self_bleu, compression_ratio, vocabulary_diversity])
def test_tokens_in_place_of_a_text_are_refused(metric):
    with pytest.raises(InvalidData, match="takes texts, got a list; join its words"):
        metric([["the", "cat"], ["a", "dog"]])
    with pytest.raises(InvalidData, match="takes several texts, got the text 'the cat'"):
        metric("the cat")


def test_metrics_are_reached_from_the_package():
    assert dl.metrics.distinct_n is distinct_n  # pyright: ignore[reportAttributeAccessIssue]


def test_no_interval_holds_what_cannot_be():
    texts = [("a", "x"), ("a", "the cat sat on the mat " * 10), ("b", "one"), ("b", "a b " * 30)]
    report = text_report([Sample(text, prompt, ("the cat",)) for prompt, text in texts])
    assert report["words"].low > 0
    for name in ("vocabulary_diversity", "seq_rep_4", "rouge_1", "rouge_l", "empty", "loops"):
        assert 0 <= report[name].low <= report[name].value <= report[name].high <= 1, name
    assert 1 <= report["unique_per_prompt"].low <= report["unique_per_prompt"].high <= 2
    assert 0 <= report["self_bleu_per_prompt"].low <= report["self_bleu_per_prompt"].high <= 100


def test_the_interval_of_a_positive_mean():
    assert (positive_mean([0, 0, 0]).low, positive_mean([0, 0, 0]).high) == (0, 0)
    assert (positive_mean([3, 3, 3]).low, positive_mean([3, 3, 3]).high) == (3, 3)
    near = positive_mean([100.0, 101.0, 99.0, 100.0])
    assert near.low == pytest.approx(98.71, abs=0.01)
    with pytest.raises(InvalidData, match="must not be negative"):
        positive_mean([1, -1])
