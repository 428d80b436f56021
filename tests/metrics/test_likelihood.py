"""What is quoted for how probable a sequence is: each number by its definition."""

import json
import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decodelab.core.values import Candidate
from decodelab.metrics import perplexity
from decodelab.metrics.likelihood import (
    Alternative,
    Score,
    TokenPerplexity,
    bits_per_byte,
    bits_per_character,
    token_perplexities,
)

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


@given(logprobs)
def test_it_is_exp_of_the_cross_entropy_loss(values):
    # Logits of two tokens whose first has the log-probability asked for.
    first = torch.tensor([min(v, -1e-9) for v in values], dtype=torch.float64)
    logits = torch.stack([first, torch.log1p(-first.exp())], -1)
    loss = torch.nn.functional.cross_entropy(logits, torch.zeros(len(values), dtype=torch.int64))
    assert perplexity(first.tolist()) == pytest.approx(float(loss.exp()), rel=1e-9)


@given(logprobs)
def test_a_score_and_a_candidate_of_the_same_tokens_have_the_same(values):
    n = len(values)
    score = Score((0,) * n, ("w",) * n, tuple(values))
    candidate = Candidate((0,) * n, "", tuple(values), tuple(values), "eos", 0, 0.0)
    assert score.perplexity == candidate.perplexity == perplexity(values)


class TestTokenPerplexity:
    def test_two_tokens_at_one_half_and_one_at_a_thousandth(self):
        found = TokenPerplexity.of([math.log(0.5), math.log(0.5), math.log(0.001)])
        assert found.mean == pytest.approx((2 + 2 + 1000) / 3)
        assert found.median == pytest.approx(2)
        assert found.std == pytest.approx(statistics.pstdev([2, 2, 1000]))
        assert (found.highest, found.driver) == (2, 2)

    @given(logprobs)
    def test_it_is_what_statistics_says_of_1_over_p(self, values):
        inverse = [1 / math.exp(v) for v in values]
        found = TokenPerplexity.of(values)
        assert token_perplexities(values) == pytest.approx(inverse, rel=1e-9)
        assert found.mean == pytest.approx(statistics.fmean(inverse), rel=1e-9)
        assert found.median == pytest.approx(statistics.median(inverse), rel=1e-9)
        assert found.std == pytest.approx(statistics.pstdev(inverse), rel=1e-6, abs=1e-6 * found.mean)

    @given(logprobs)
    def test_the_mean_is_never_below_the_perplexity_of_the_sequence(self, values):
        assert TokenPerplexity.of(values).mean >= perplexity(values) * (1 - 1e-12)

    @given(logprobs)
    def test_a_driver_is_a_token_without_which_the_mean_is_at_most_half(self, values):
        found = TokenPerplexity.of(values)
        inverse = token_perplexities(values)
        halved = [
            i
            for i in range(len(values))
            if len(values) > 1
            and statistics.fmean(inverse[:i] + inverse[i + 1 :]) <= statistics.fmean(inverse) / 2 * (1 - 1e-9)
        ]
        assert set(halved) <= {found.driver}

    def test_even_tokens_have_no_driver_and_a_single_one_has_none_either(self):
        assert TokenPerplexity.of([-1.0] * 5).driver is None
        assert TokenPerplexity.of([-9.0]).driver is None
        assert TokenPerplexity.of([-9.0]).highest == 0

    def test_an_impossible_token_drives_the_mean_unless_there_are_two(self):
        one = TokenPerplexity.of([-1.0, -math.inf, -1.0])
        assert (one.mean, one.median, one.driver) == (math.inf, pytest.approx(math.e), 1)
        assert math.isnan(one.std)
        assert TokenPerplexity.of([-math.inf, -math.inf, -1.0]).driver is None

    def test_numbers_near_the_largest_float_do_not_overflow(self):
        found = TokenPerplexity.of([-709.0] * 4)
        assert found.mean == pytest.approx(math.exp(709))
        assert found.std == pytest.approx(0, abs=1e-9 * found.mean)

    def test_no_tokens_have_none(self):
        found = TokenPerplexity.of([])
        assert math.isnan(found.mean)
        assert (found.highest, found.driver) == (None, None)


class TestBits:
    def test_eight_bits_over_two_bytes_and_one_character(self):
        logprob = -8 * math.log(2)
        assert bits_per_byte(logprob, "é") == pytest.approx(4)
        assert bits_per_character(logprob, "é") == pytest.approx(8)

    def test_an_emoji_is_as_many_characters_as_code_points(self):
        family = "👩‍👩‍👧"  # three people and two joiners
        assert bits_per_character(-5 * math.log(2), family) == pytest.approx(1)
        assert bits_per_byte(-18 * math.log(2), family) == pytest.approx(1)

    def test_an_empty_text_has_none(self):
        assert math.isnan(bits_per_byte(-1.0, ""))
        assert math.isnan(bits_per_character(-1.0, ""))


class TestScore:
    def test_means_and_sums(self):
        score = Score((7, 8), ("a", "b"), (-1.0, -3.0), prompt="p", completion="ab")
        assert (score.logprob, score.mean_logprob, score.perplexity) == (-4.0, -2.0, math.exp(2))
        assert score.bits_per_byte == score.bits_per_character == pytest.approx(2 / math.log(2))

    def test_it_becomes_json_with_the_derived_numbers_written_out(self):
        place = (Alternative(7, "a", -1.0),)
        score = Score((7,), ("a",), (-1.0,), ranks=(1,), alternatives=(place,), prompt="p", completion="a")
        data = json.loads(json.dumps(score.to_dict()))
        assert data["prompt"] == "p"
        assert data["perplexity"] == data["token_perplexity"]["mean"] == math.e
        assert data["alternatives"] == [[{"token": 7, "text": "a", "logprob": -1.0}]]
        assert (data["ranks"], data["is_greedy"]) == ([1], True)

    @pytest.mark.parametrize("logprob", [-710.0, -1e6])
    def test_a_perplexity_beyond_all_floats_is_infinite_not_an_error(self, logprob):
        assert Score((0,), ("w",), (logprob,)).perplexity == math.inf
