"""The exact next-token law of a strategy."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import EmptySupport, NonFiniteLogits, StrategyError


def test_it_takes_numbers_and_tensors_of_any_shape_and_gives_the_same_shape():
    assert dl.distribution([0.0, 0.0], "sample").tolist() == [0.5, 0.5]
    law = dl.distribution(torch.zeros(2, 3, 4), "top_k=1")
    assert law.shape == (2, 3, 4)
    assert law.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64])
def test_it_computes_in_float32_whatever_it_is_given(dtype):
    law = dl.distribution(torch.tensor([2, 1, 0], dtype=dtype), "temperature=0.5")
    assert law.dtype == torch.float32
    assert law.tolist() == pytest.approx(torch.tensor([4.0, 2.0, 0.0]).softmax(0).tolist(), abs=1e-6)


def test_greedy_puts_everything_on_the_argmax_of_lowest_id():
    assert dl.distribution([1.0, 3.0, 3.0], "greedy").tolist() == [0.0, 1.0, 0.0]


@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=9), st.floats(0.05, 0.999))
def test_it_is_the_law_the_engine_samples_from(logits, p):
    probs = torch.tensor(logits).double().softmax(0).tolist()
    words = [f"w{i}" for i in range(len(logits))]
    model = dl.TableModel(words, {...: dict(zip(words, probs, strict=True))}, eos=None, bos="<s>")
    law = dl.distribution(model.start([(len(logits),)])[0][0], [dl.TopP(p)])
    for c in dl.generate(model, "", dl.TopP(p) | dl.Sample(n=5), max_new_tokens=1)[0].candidates:
        assert c.law_logprobs[0] == pytest.approx(float(law[c.tokens[0]].log()), abs=1e-5)


@pytest.mark.parametrize("strategy", ["beam(width=3)", "default", "default | sample"])
def test_a_strategy_without_one_law_is_refused(strategy):
    with pytest.raises(StrategyError, match=r"^distribution: .* has no single next-token law"):
        dl.distribution([0.0, 1.0], strategy)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_law_are_refused(value):
    with pytest.raises(NonFiniteLogits):
        dl.distribution([0.0, value], "sample")
    with pytest.raises(NonFiniteLogits):
        dl.distribution([-float("inf")] * 2, "sample")


def test_a_stage_that_leaves_nothing_is_named():
    class Nothing(dl.Temperature):
        name = "nothing"

        def apply(self, logits, state):
            return torch.full_like(logits, -torch.inf)

    with pytest.raises(EmptySupport, match=r"nothing.* left no token"):
        dl.distribution([0.0, 1.0], Nothing(0.5))
