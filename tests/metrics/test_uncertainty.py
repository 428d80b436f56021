"""Confidence and uncertainty of samples; selective answering; long answers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.core.errors import InvalidData
from decodelab.metrics.calibration import macro_ce
from decodelab.metrics.confidence import (
    agreement_confidence,
    likelihood_confidence,
    option_probabilities,
    stated_confidence,
)
from decodelab.metrics.long_form import Criterion, long_form_calibration
from decodelab.metrics.selective import accuracy_at_coverage, coverage_at_accuracy, risk_coverage
from decodelab.metrics.uncertainty import (
    answer_entropy,
    majority_share,
    meanings,
    p_true,
    p_true_prompt,
    predictive_entropy,
    semantic_entropy,
)

answers = st.lists(st.one_of(st.none(), st.sampled_from("abc")), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("The answer is 12. I am 90 % sure.", 0.9),
        ("Confidence: 85%", 0.85),
        ("70 percent", 0.7),
        ("I'd say 62.5 per cent.", 0.625),
        ("9/10", 0.9),
        ("7 out of 10, I think", 0.7),
        ("0.95", 0.95),
        ("p = .5", 0.5),
        ("first 20 %, no, 80 %", 0.8),
        ("信心\N{FULLWIDTH COLON}90\N{FULLWIDTH PERCENT SIGN}", 0.9),
        ("Sicherheit 0,8", 0.8),
        ("100 %", 1.0),
        ("150 %", None),
        ("12/10", None),
        ("I am sure", None),
        ("Paris was founded in 250", None),
        ("", None),
        ("12/31/2024", None),
        ("Answer: 1. Confidence: high", None),
        ("Answer: 1, confidence: high", None),
        ("Answer: 0.5. Confidence: 0.8", 0.8),
        ("Answer: 1/2. Confidence: 0.8", 0.8),
        ("Answer: 1/2", None),
        ("Answer: 50 %", None),
        ("Answer: 50 %. Confidence: low", None),
        ("The answer is 1.", None),
        ("1 apple", None),
        ("Confidence: 0.9\nAnswer: 1", 0.9),
        ("Confidence: 0.9, Answer: 1", 0.9),
        ("Confidence: high (90%)", 0.9),
        ("Confidence: high. The answer is 1.", None),
        ("Confidence (0-1): 0.8", 0.8),
        ("Confidence (0-100): 85", 0.85),
        ("Confidence on a scale from 0 to 10: 7", 0.7),
        ("Confidence: 85", None),
        ("Confidence: 1", 1.0),
        ("Confidence: **0.7**", 0.7),
        ("Confidence:\n0.7", 0.7),
        ("Guess: 1\nProbability: 0.65", 0.65),
        ("G1: 1\nP1: 0.65", 0.65),
        ("Answer: 1. I am 100% sure.", 1.0),
        ("My answer is 50 %, I am sure", None),
        ("0.7 is my confidence", 0.7),
        ("Paris\n0.9", 0.9),
        ("<think>Confidence: 0.1</think>Confidence: 0.9", 0.9),
        ("<think>Confidence: 0.9", None),
    ],
)
def test_what_confidence_a_text_states(text, stated):
    found = stated_confidence(text)
    assert found == (None if stated is None else pytest.approx(stated))


@given(st.text(max_size=200))
def test_any_text_states_a_probability_or_nothing(text):
    found = stated_confidence(text)
    assert found is None or 0 <= found <= 1


def test_a_megabyte_of_digits_is_read_quickly():
    assert stated_confidence("9" * 1_000_000 + " 80 %") == 0.8


def test_options_are_renormalised():
    assert option_probabilities(np.log([0.1, 0.3])).tolist() == pytest.approx([0.25, 0.75])
    assert option_probabilities([[-1000.0, -1001.0], [-1.0, -2.0]])[0].tolist() == pytest.approx(
        option_probabilities([-1.0, -2.0]).tolist()
    )


@given(answers)
def test_agreement_is_the_majority_s_share(given_answers):
    answer, share = agreement_confidence(given_answers)
    assert share == majority_share(given_answers)
    assert share == given_answers.count(answer) / len(given_answers) or answer is None


@given(answers)
def test_entropy_of_answers_is_0_only_when_all_agree(given_answers):
    found = answer_entropy(given_answers, unit="bits")
    assert 0 <= found <= math.log2(len(given_answers)) + 1e-9
    assert (found == 0) == (len(set(given_answers)) == 1)


@given(answers)
def test_semantic_entropy_of_different_meanings_is_the_entropy_of_answers(given_answers):
    texts = [str(a) for a in given_answers]
    groups = meanings(texts, lambda a, b: False)
    assert semantic_entropy(groups) == pytest.approx(answer_entropy(texts))
    merged = meanings(texts, lambda a, b: True)
    assert semantic_entropy(merged) == 0


def test_meanings_are_joined_across_wordings_scripts_and_emoji():
    same = {frozenset(("Paris", "巴黎")), frozenset(("Paris", "🗼"))}
    groups = meanings(["Paris", "巴黎", "🗼", "Rome"], lambda a, b: frozenset((a, b)) in same)
    assert groups.tolist() == [0, 0, 0, 1]


def test_semantic_entropy_weighs_wordings_by_their_probability():
    # Two wordings of one meaning with .6 + .2 of the mass against .2.
    found = semantic_entropy([0, 0, 1], np.log([0.6, 0.2, 0.2]))
    assert found == pytest.approx(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)))
    # Only ratios matter, however improbable whole sequences are.
    assert semantic_entropy([0, 0, 1], np.log([0.6, 0.2, 0.2]) - 5000) == pytest.approx(found)


def test_predictive_entropy_of_a_known_distribution_is_its_entropy():
    p = np.array([0.5, 0.25, 0.25])
    drawn = np.repeat([0, 1, 2], [2, 1, 1])
    assert predictive_entropy(np.log(p[drawn]), unit="bits") == pytest.approx(1.5)


def test_p_true_compares_two_completions():
    assert p_true(-3.0, -3.0) == 0.5
    assert p_true(math.log(0.6), math.log(0.2)) == pytest.approx(0.75)
    assert "Possible answer: Rome\n" in p_true_prompt("Capital of Italy?", "Rome", ["Rome", "Milan"])


def test_the_risk_of_the_surest_comes_first():
    p, y = [0.9, 0.8, 0.7, 0.6, 0.5], [1, 1, 1, 0, 0]
    curve = risk_coverage(p, y)
    assert curve.risk.tolist() == pytest.approx([0, 0, 0, 1 / 4, 2 / 5])
    assert curve.area == pytest.approx((1 / 4 + 2 / 5) / 5)
    assert accuracy_at_coverage(p, y, 0.6) == 1.0
    assert accuracy_at_coverage(p, y, 1.0) == pytest.approx(0.6)
    assert coverage_at_accuracy(p, y, 0.75) == pytest.approx(0.8)
    assert coverage_at_accuracy([0.9], [0], 0.5) == 0.0


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.integers(0, 1)), min_size=1, max_size=20), st.randoms())
def test_tied_items_count_in_expectation_so_order_does_not_matter(pairs, random):
    p, y = zip(*pairs, strict=True)
    q, z = zip(*random.sample(pairs, len(pairs)), strict=True)
    assert risk_coverage(p, y).risk.tolist() == pytest.approx(risk_coverage(q, z).risk.tolist())
    assert risk_coverage(p, y).risk[-1] == pytest.approx(1 - np.mean(y))


def test_a_long_answer_counts_as_much_as_a_short_one():
    short = [Criterion(1, 0.8)]
    long = [Criterion(1, 0.4)] * 9
    found = long_form_calibration([short, long, [Criterion(0, 0.3)]], resamples=200)
    assert found.macro_ce.right == pytest.approx((0.2 + 0.6) / 2)
    assert found.macro_ce.wrong == pytest.approx(0.3)
    assert (found.answers, found.criteria) == (3, 11)


def test_important_criteria_weigh_more():
    answer = [Criterion(1, 0.9, weight=3), Criterion(1, 0.5, weight=1), Criterion(0, 0.2, weight=1)]
    assert long_form_calibration([answer], resamples=200).macro_ce.right == pytest.approx((3 * 0.1 + 0.5) / 4)


def test_with_equal_weights_and_lengths_it_is_macro_ce():
    rng = np.random.default_rng(0)
    answers = [[Criterion(int(rng.random() < 0.6), float(rng.random())) for _ in range(4)] for _ in range(30)]
    found = long_form_calibration(answers, resamples=300)
    flat = [c for a in answers for c in a]
    plain = macro_ce([c.confidence for c in flat], [c.verdict for c in flat])
    assert found.macro_ce.value == pytest.approx(plain.value)
    assert found.interval.low < found.macro_ce.value < found.interval.high
    assert found.interval.clusters == 30


def test_criteria_that_cancel_in_a_bin_do_not_cancel_in_macro_ce():
    # Of four criteria at .75 three are met: the bin is perfect.
    found = long_form_calibration([[Criterion(v, 0.75) for v in (1, 1, 1, 0)]] * 5, resamples=200)
    assert found.ece == pytest.approx(0)
    assert found.macro_ce.value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: option_probabilities([]), "at least one option"),
        (lambda: option_probabilities([math.nan]), "NaN"),
        (lambda: option_probabilities([-math.inf, -math.inf]), "gives every option probability 0"),
        (lambda: likelihood_confidence(1.0, 3), "at most 0, got 1.0"),
        (lambda: likelihood_confidence(math.nan, 3), "at most 0, got nan"),
        (lambda: likelihood_confidence(-1.0, 0), "tokens must be at least 1, got 0"),
        (lambda: agreement_confidence([]), "agreement_confidence: needs at least one sample"),
        (lambda: answer_entropy([]), "at least one sample"),
        (lambda: semantic_entropy([0, 1], [-1.0]), "one value per item each"),
        (lambda: predictive_entropy([-1.0], [0]), "lengths must be at least 1, got 0"),
        (lambda: accuracy_at_coverage([0.5], [1], 0), "coverage must be in (0, 1], got 0"),
        (lambda: coverage_at_accuracy([0.5], [1], 2), "accuracy must be in [0, 1], got 2"),
        (lambda: long_form_calibration([]), "at least one judged answer"),
        (lambda: long_form_calibration([[]]), "answer 0 has no criteria"),
        (lambda: long_form_calibration([[Criterion(1, 0.5, -1.0), Criterion(1, 0.5, 2.0)]]), "negative weight"),
        (lambda: long_form_calibration([[Criterion(1, 1.5)]]), "must be in [0, 1], got 1.5"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, why):
    with pytest.raises(InvalidData) as caught:
        call()
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
