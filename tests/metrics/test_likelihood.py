"""Sequence perplexity."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.metrics import perplexity

logprobs = st.lists(st.floats(-50, 0), min_size=1, max_size=30)


def test_1000_tokens_at_minus_2500_nats_have_perplexity_12_18():
    assert round(perplexity([-2.5] * 1000), 2) == 12.18
    assert round(perplexity([-5.0, 0.0] * 500), 2) == 12.18


def test_a_uniform_choice_among_k_has_perplexity_k():
    assert perplexity([-math.log(50)] * 7) == pytest.approx(50)


def test_certainty_is_1():
    assert perplexity([0.0, 0.0]) == 1.0


def test_an_impossible_token_makes_it_infinite():
    assert perplexity([-1.0, -math.inf]) == math.inf


def test_what_no_float_holds_is_infinite():
    assert perplexity([-800.0]) == math.inf


def test_an_empty_sequence_has_none():
    assert math.isnan(perplexity([]))


@given(logprobs)
def test_it_is_the_geometric_mean_of_the_inverse_probabilities(values):
    assert perplexity(values) == pytest.approx(math.exp(-sum(values) / len(values)), rel=1e-12)
    assert perplexity(values * 2) == pytest.approx(perplexity(values), rel=1e-12)
