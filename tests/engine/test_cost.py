"""What a generation cost, counted by hand."""

import pytest

import decodelab as dl
from decodelab.core.values import Cost


@pytest.fixture
def endless():
    return dl.TableModel(["a", "b"], {...: {"a": 0.6, "b": 0.4}}, eos=None, bos="<s>")


def counts(cost: Cost) -> tuple[int, int, int]:
    return cost.prefill_tokens, cost.decode_tokens, cost.forward_passes


def test_greedy_computes_the_prompt_and_every_new_token_but_the_last(endless):
    one, two = dl.generate(endless, ["a b", "a b a b"], "greedy", max_new_tokens=5)
    assert counts(one.cost) == (3, 4, 5)
    assert counts(two.cost) == (5, 4, 5)
    assert one.cost.forward_tokens == 7


def test_samples_share_the_prompt_and_pay_for_their_own_tokens(endless):
    (g,) = dl.generate(endless, "a b", "sample(n=8)", max_new_tokens=5)
    assert counts(g.cost) == (3, 8 * 4, 5)


def test_beams_pay_for_the_rows_they_have():
    # Two words: 1 beam, then 2, then 3 of the 4 there are.
    model = dl.TableModel(["a", "b"], {...: {"a": 0.6, "b": 0.4}}, eos=None, bos="<s>")
    (g,) = dl.generate(model, "a", "beam(width=3)", max_new_tokens=4)
    assert counts(g.cost) == (2, 2 + 3 + 3, 4)


def test_a_prompt_given_three_times_is_computed_once_and_costs_once(endless):
    found = dl.generate(endless, ["a b", "a", "a b", "a b"], "sample(n=2)", max_new_tokens=3)
    assert [g.cost.prefill_tokens for g in found] == [3, 2, 0, 0]
    assert [g.cost.decode_tokens for g in found] == [4, 4, 4, 4]
    assert found[0].candidates == found[2].candidates == found[3].candidates
    assert found[0].candidates == dl.generate(endless, "a b", "sample(n=2)", max_new_tokens=3)[0].candidates


def test_prompts_in_separate_batches_are_computed_separately(endless):
    found = dl.generate(endless, ["a b", "a b"], "greedy", max_new_tokens=3, max_rows=1)
    assert [g.cost.prefill_tokens for g in found] == [3, 3]


def test_rows_that_ended_cost_nothing_any_more():
    model = dl.TableModel(["a", "b"], {"a": {"</s>": 1.0}, "b": {"b": 1.0}}, bos="<s>")
    short, long = dl.generate(model, ["a", "b"], "greedy", max_new_tokens=6)
    assert counts(short.cost) == (2, 0, 1)  # EOS is the first token
    assert counts(long.cost) == (2, 5, 6)


def test_the_peak_of_the_cache_is_that_of_the_generations_own_rows(endless):
    # A table's cache is 8 bytes a token. Five new tokens: the last one never enters it.
    (g,) = dl.generate(endless, "a b", "greedy", max_new_tokens=5)
    assert g.cost.peak_cache_bytes == 8 * (3 + 4)
    (g,) = dl.generate(endless, "a b", "beam(width=4)", max_new_tokens=5)
    assert g.cost.peak_cache_bytes == 8 * 4 * (3 + 4)


def test_seconds_pass(endless):
    (g,) = dl.generate(endless, "a b", "greedy", max_new_tokens=5)
    assert g.cost.seconds > 0
