"""Greedy search takes the argmax, and the lowest id of equals."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.key import Keys
from decodelab.core.protocols import Rows


@given(seed=st.integers(0, 2**32 - 1), steps=st.sampled_from([0.0, 1.0]))
def test_every_token_is_the_most_probable_one(random_table, seed, steps):
    model = random_table(seed, steps=steps)
    (g,) = dl.generate(model, "", "greedy", max_new_tokens=5)
    prefix, expected = (model.vocab.bos_id,), []
    while len(expected) < 5 and (not expected or expected[-1] not in model.vocab.eos_ids):
        logits = model.prefill([prefix])[0][0].tolist()
        expected.append(logits.index(max(logits)))
        prefix = (*prefix, expected[-1])
    assert g.best.tokens == tuple(expected)
    assert len(g.candidates) == 1


@given(seed=st.integers(0, 2**32 - 1), steps=st.sampled_from([0.0, 1.0]))
def test_temperature_0_is_greedy_whatever_the_seed(random_table, seed, steps):
    model = random_table(seed, steps=steps)
    greedy = dl.generate(model, "", "greedy", max_new_tokens=5)[0].best
    cold = dl.generate(model, "", "temperature=0 | sample(n=3)", max_new_tokens=5, seed=seed)[0]
    assert [c.tokens for c in cold.candidates] == [greedy.tokens] * 3
    assert cold.best.processed_logprobs == (0.0,) * len(greedy.tokens)
    assert cold.best.token_logprobs == greedy.token_logprobs


def test_a_lead_too_narrow_for_log_probabilities_still_decides():
    # Over 150,000 nearly equal tokens the log-sum-exp is 11.9; subtracting it rounds a lead of 1e-8 away.
    logits = torch.zeros(1, 150_000).index_fill(1, torch.tensor([7]), 1e-8)
    assert logits.log_softmax(-1).argmax() == 0
    search = dl.Greedy()
    zero = torch.zeros(1, dtype=torch.int64)
    rows = Rows(
        zero,
        zero,
        Keys.of(0, [0], [0]),
        zero + 9,
        0,
        lambda p, t: torch.zeros_like(t),
        lambda p, t: [],
        lambda s, p, t: t.double(),
        lambda: logits,
        lambda: logits,
    )
    assert search.step(logits, search.init(1, zero), rows)[0].tokens.tolist() == [7]


def test_the_score_is_the_log_probability_of_the_sequence(random_table):
    (g,) = dl.generate(random_table(1), "", "greedy", max_new_tokens=5)
    assert g.best.score == pytest.approx(g.best.logprob, abs=1e-12)
