"""The plain values: what their derived numbers mean."""

import json
import math
from dataclasses import replace

import pytest

from decodelab.core.values import Candidate, Chat, Cost, Generation


def candidate(*logprobs: float, distribution: tuple[float, ...] | None = None) -> Candidate:
    tokens = tuple(range(len(logprobs)))
    return Candidate(tokens, "text", logprobs, distribution if distribution is not None else logprobs, "eos", 0, 0.0)


def test_perplexity_of_1000_tokens_at_minus_2500_nats_is_12_18():
    # Published example: exp(2500 / 1000) = 12.18.
    assert round(candidate(*[-2.5] * 1000).perplexity, 2) == 12.18


def test_the_logprob_of_a_sequence_is_the_sum_of_its_tokens():
    c = candidate(-1.0, -2.0, distribution=(-0.5, -0.25))
    assert c.logprob == -3.0
    assert c.processed_logprob == -0.75
    assert c.perplexity == pytest.approx(math.exp(1.5))


def test_sums_do_not_lose_what_a_running_sum_would():
    # 10,000 times 1e-16 after -1: adding in order in float64 never leaves -1.
    assert candidate(-1.0, *[-1e-16] * 10_000).logprob == pytest.approx(-1 - 1e-12, abs=1e-15)


def test_an_impossible_token_makes_the_sequence_impossible():
    assert candidate(-1.0, -math.inf).logprob == -math.inf
    assert candidate(-1.0, -math.inf).perplexity == math.inf


@pytest.mark.parametrize("logprob", [-700.0, -710.0, -1e6])
def test_a_perplexity_beyond_all_floats_is_infinite_not_an_error(logprob):
    expected = pytest.approx(math.exp(700)) if logprob == -700 else math.inf
    assert candidate(logprob).perplexity == expected


def test_a_candidate_without_tokens_has_no_perplexity():
    assert math.isnan(candidate().perplexity)
    assert replace(candidate(), text="").logprob == 0.0
    assert math.isnan(candidate().logprob), "a text whose log-probabilities nobody knows"


def test_forward_tokens_are_prefill_and_decode_together():
    assert Cost(prefill_tokens=7, decode_tokens=5).forward_tokens == 12


def generation(*candidates: Candidate) -> Generation:
    return Generation(3, "p", (1, 2), candidates, Cost(2, 5, 6), 9, "sample", "m", "d")


def test_a_generation_becomes_json_with_the_derived_numbers_written_out():
    g = generation(candidate(-1.0, -2.0), candidate())
    data = json.loads(json.dumps(g.to_dict(), allow_nan=False))
    assert data["candidates"][0]["logprob"] == -3.0
    assert data["candidates"][0]["perplexity"] == pytest.approx(math.exp(1.5))
    assert data["candidates"][1]["perplexity"] is None
    assert data["cost"]["forward_tokens"] == 7
    assert data["prompt_tokens"] == [1, 2]
    assert (data["index"], data["seed"], data["strategy"], data["model"]) == (3, 9, "sample", "m")


def test_the_best_candidate_is_the_first():
    first = candidate(-5.0)
    assert generation(first, candidate(-1.0)).best is first


def test_values_cannot_be_changed():
    with pytest.raises(AttributeError):
        candidate().text = "other"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_chat_of_one_message_with_system_and_tools():
    chat = Chat.of("hi", system="be brief", tools=[{"type": "function"}])
    assert [m["role"] for m in chat.messages] == ["system", "user"]
    assert chat.tools == ({"type": "function"},)
