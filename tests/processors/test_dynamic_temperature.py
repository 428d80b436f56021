"""Dynamic temperature: the temperature of a distribution follows from its entropy alone."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import decodelab as dl

LAWS = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1], [1.0, 0.0, 0.0, 0.0]]).log()


def temperatures(logits: torch.Tensor, **parameters: float) -> list[float]:
    return dl.DynamicTemperature(**parameters).observe(logits, None)["temperature"].tolist()


def test_a_flat_distribution_gets_the_highest_temperature_and_a_sure_one_the_lowest():
    flat, between, sure = temperatures(LAWS, range=0.5)
    assert flat == pytest.approx(1.5)
    assert sure == 0.5
    entropy = -(0.7 * math.log(0.7) + 0.3 * math.log(0.1))
    assert between == pytest.approx(0.5 + entropy / math.log(4), abs=1e-6)


def test_the_exponent_bends_the_way_between_them():
    entropy = -(0.7 * math.log(0.7) + 0.3 * math.log(0.1)) / math.log(4)
    for exponent in (0.0, 0.5, 2.0):
        assert temperatures(LAWS, range=0.5, exponent=exponent)[1] == pytest.approx(0.5 + entropy**exponent, abs=1e-6)


def test_the_lowest_temperature_is_never_below_0_and_0_is_greedy():
    assert temperatures(LAWS, range=3.0, temperature=2.0)[2] == 0.0
    # A distribution so sure that its entropy is 0 in float64: only the most probable token stays.
    after = dl.DynamicTemperature(1.0).apply(torch.tensor([[0.0, 2000.0, 0.0]]), None)
    assert after.softmax(-1).tolist() == [[0.0, 1.0, 0.0]]


def test_entropy_is_compared_with_that_of_the_tokens_still_there():
    # llama.cpp counts candidates, and cut-offs before it take them away.
    removed = torch.tensor([[0.0, 0.0, -torch.inf, -torch.inf]])
    assert temperatures(removed, range=0.5) == [1.5]
    alone = torch.tensor([[0.0, -torch.inf, -torch.inf, -torch.inf]])
    assert dl.DynamicTemperature(0.5).apply(alone, None).softmax(-1).tolist() == [[1.0, 0.0, 0.0, 0.0]]


@given(st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=12), st.floats(0, 2), st.floats(0, 4))
def test_a_row_is_divided_by_the_temperature_it_reports(values, spread, exponent):
    stage = dl.DynamicTemperature(spread, exponent=exponent)
    logits = torch.tensor([values])
    (temperature,) = stage.observe(logits, None)["temperature"].tolist()
    expected = dl.distribution(logits, [{"temperature": temperature}])
    assert stage.apply(logits, None).softmax(-1).flatten().tolist() == pytest.approx(
        expected.flatten().tolist(), abs=1e-5
    )


def test_a_range_of_0_is_one_temperature():
    logits = torch.tensor([[3.0, 1.0, 2.0]])
    for t in (0.0, 0.5, 1.0, 2.0):
        same = dl.DynamicTemperature(0.0, temperature=t).apply(logits, None)
        assert torch.equal(same, dl.Temperature(t).apply(logits, None))
    assert dl.DynamicTemperature(0.0).no_effect() is not None
    assert dl.DynamicTemperature(0.0, temperature=0.5).no_effect() is None
