"""The exact next-token distribution of a strategy."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import decodelab as dl
from decodelab.analysis.distribution import TracedDistribution
from decodelab.core.errors import (
    EmptySupport,
    NonFiniteLogits,
    RequestError,
    StrategyError,
    UnknownToken,
    VocabularyMismatch,
)
from decodelab.core.events import Event, Step
from decodelab.core.key import PROCESSOR, Keys
from decodelab.core.stage import Kind, Stage


def test_it_takes_numbers_and_tensors_of_any_shape_and_gives_the_same_shape():
    assert dl.distribution([0.0, 0.0], "sample").tolist() == [0.5, 0.5]
    distribution = dl.distribution(torch.zeros(2, 3, 4), "top_k=1")
    assert distribution.shape == (2, 3, 4)
    assert distribution.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64])
def test_it_computes_in_float32_whatever_it_is_given(dtype):
    distribution = dl.distribution(torch.tensor([2, 1, 0], dtype=dtype), "temperature=0.5")
    assert distribution.dtype == torch.float32
    assert distribution.tolist() == pytest.approx(torch.tensor([4.0, 2.0, 0.0]).softmax(0).tolist(), abs=1e-6)


def test_greedy_puts_everything_on_the_argmax_of_lowest_id():
    assert dl.distribution([1.0, 3.0, 3.0], "greedy").tolist() == [0.0, 1.0, 0.0]


@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=9), st.floats(0.05, 0.999))
def test_it_is_the_distribution_the_engine_samples_from(logits, p):
    probs = torch.tensor(logits).double().softmax(0).tolist()
    words = [f"w{i}" for i in range(len(logits))]
    model = dl.TableModel(words, {...: dict(zip(words, probs, strict=True))}, eos=None, bos="<s>")
    distribution = dl.distribution(model.prefill([(len(logits),)])[0][0], [dl.TopP(p)])
    for c in dl.generate(model, "", dl.TopP(p) | dl.Sample(n=5), max_new_tokens=1)[0].candidates:
        assert c.processed_logprobs[0] == pytest.approx(float(distribution[c.tokens[0]].log()), abs=1e-5)


@pytest.mark.parametrize("strategy", ["beam(width=3)", "default", "default | sample"])
def test_a_strategy_without_one_distribution_is_refused(strategy):
    with pytest.raises(StrategyError, match=r"^distribution: .* has no single next-token distribution"):
        dl.distribution([0.0, 1.0], strategy)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_distribution_are_refused(value):
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


class Stateful(Stage):
    """What the stages below share."""

    kind: ClassVar[Kind] = "processor"
    source: ClassVar[str] = "here"


@dataclass(frozen=True)
class OneLessForEach(Stateful):
    """Take 1 from the logit of a token for each time it stands in the prompt or was generated."""

    name: ClassVar[str] = "one_less"

    def init(self, prompts, vocab, keys):
        return torch.tensor([[p.count(t) for t in range(vocab.size)] for p in prompts], dtype=torch.float32)

    def apply(self, logits, state):
        return logits - state

    def update(self, state, logits, tokens):
        return state.scatter_add(1, tokens[:, None], torch.ones(len(tokens), 1))


@dataclass(frozen=True)
class WarmerAfterSurprises(Stateful):
    """Divide the logits by 1 plus the mean surprise of the chosen tokens in the distribution this stage was given."""

    name: ClassVar[str] = "warmer"

    def init(self, prompts, vocab, keys):
        return torch.zeros(len(prompts), 2)

    def apply(self, logits, state):
        return logits / (1 + state[:, :1] / state[:, 1:].clamp(min=1))

    def update(self, state, logits, tokens):
        surprise = -logits.log_softmax(-1).gather(1, tokens[:, None])
        return state + torch.cat([surprise, torch.ones_like(surprise)], dim=1)


@dataclass(frozen=True)
class WithoutEOS(Stateful):
    """Remove the end-of-sequence tokens."""

    name: ClassVar[str] = "without_eos"

    def init(self, prompts, vocab, keys):
        return torch.tensor([vocab.eos_ids] * len(prompts))

    def apply(self, logits, state):
        return logits.scatter(1, state, -torch.inf)

    def update(self, state, logits, tokens):
        return state


@dataclass(frozen=True)
class SometimesOnlyTheRest(Stateful):
    """Remove the most probable token where the coin of the step falls below a chance."""

    chance: float = 0.25
    name: ClassVar[str] = "sometimes"

    def init(self, prompts, vocab, keys):
        return keys

    def apply(self, logits, state):
        falls = state.uniform(torch.zeros(len(state), dtype=torch.int64), PROCESSOR) < self.chance
        return torch.where(falls[:, None], self._rest(logits), logits)

    def update(self, state, logits, tokens):
        return state

    def outcomes(self, logits, state):
        return [(self.chance, self._rest(logits)), (1 - self.chance, logits)]

    def _rest(self, logits):
        return logits.scatter(1, logits.argmax(1, keepdim=True), -torch.inf)


def softmax(*logits: float) -> Any:
    return pytest.approx(torch.tensor(logits).double().softmax(0).tolist(), abs=1e-6)


def test_the_prompt_and_what_was_generated_count():
    assert dl.distribution([0.0] * 3, [OneLessForEach()]).tolist() == softmax(0, 0, 0)
    assert dl.distribution([0.0] * 3, [OneLessForEach()], prompt_tokens=[2, 2]).tolist() == softmax(0, 0, -2)
    distribution = dl.distribution([0.0] * 3, [OneLessForEach()], prompt_tokens=[2, 2], generated=[0, 2])
    assert distribution.tolist() == softmax(-1, 0, -3)


def test_rows_share_one_past_or_have_each_their_own():
    logits = torch.zeros(2, 3)
    shared = dl.distribution(logits, [OneLessForEach()], prompt_tokens=[1])
    assert shared.tolist() == [softmax(0, -1, 0)] * 2
    own = dl.distribution(logits, [OneLessForEach()], prompt_tokens=[[1], [0, 0]], generated=[[], [2]])
    assert own.tolist() == [softmax(0, -1, 0), softmax(-2, 0, -1)]
    as_tensor = dl.distribution(logits, [OneLessForEach()], prompt_tokens=torch.tensor([[1, 1], [0, 1]]))
    assert as_tensor.tolist() == [softmax(0, -2, 0), softmax(-1, -1, 0)]


@given(st.integers(0, 99), st.sampled_from(["temperature=0.7", "top_p=0.8", "sample(n=3)"]))
def test_it_is_the_distribution_of_every_step_of_the_engine_with_the_state_or_the_tokens(seed, rest):
    steps: list[Event] = []
    words = ["a", "b", "c"]
    model = dl.TableModel(words, {"a": {"b": 0.7, "c": 0.3}, ...: {"a": 0.5, "b": 0.2, "</s>": 0.3}}, bos="<s>")
    strategy = dl.Strategy.of([OneLessForEach(), WarmerAfterSurprises(), rest])
    prompt = (0, 1)
    dl.generate(model, [prompt], strategy, max_new_tokens=4, seed=seed, observers=[steps.append])
    past: dict[int, list[int]] = {}
    for step in (e for e in steps if isinstance(e, Step)):
        distribution = dl.distribution(step.logits, strategy, state=[view.state for view in step.stages])
        assert torch.allclose(distribution, step.processed.softmax(-1), atol=1e-6)
        samples = step.samples.tolist()
        pasts = [past.get(sample, []) for sample in samples]
        again = dl.distribution(
            step.logits, strategy, prompt_tokens=[prompt] * len(samples), generated=pasts, model=model
        )
        assert torch.allclose(again, distribution, atol=1e-6)
        for parent, token in zip(step.parents.tolist(), step.tokens.tolist(), strict=True):
            past[samples[parent]] = [*past.get(samples[parent], []), token]


def test_a_stage_that_learns_from_logits_says_what_it_lacks():
    assert dl.distribution([0.0, 1.0], [WarmerAfterSurprises()], prompt_tokens=[0]).tolist() == softmax(0, 1)
    with pytest.raises(
        StrategyError, match=r"^distribution: warmer updates its state from each token's logits; pass model= or state="
    ):
        dl.distribution([0.0, 1.0], [OneLessForEach(), WarmerAfterSurprises()], generated=[0])


def test_a_stage_that_needs_the_vocabulary_says_so_and_takes_it_from_a_model():
    model = dl.TableModel(["a", "b"], {...: {"a": 1.0}})
    with pytest.raises(StrategyError, match=r"^distribution: without_eos needs the vocabulary; pass vocab= or model="):
        dl.distribution([0.0, 0.0, 0.0], [WithoutEOS()])
    assert dl.distribution([0.0, 0.0, 0.0], [WithoutEOS()], vocab=model.vocab).tolist() == [0.5, 0.5, 0.0]
    assert dl.distribution([0.0, 0.0, 0.0], [WithoutEOS()], model=model).tolist() == [0.5, 0.5, 0.0]
    with pytest.raises(VocabularyMismatch, match="the vocabulary has 3 tokens, the logits 2"):
        dl.distribution([0.0, 0.0], "sample", model=model)


def test_a_model_stands_for_its_default():
    model = dl.TableModel(["a", "b"], {...: {"a": 1.0}})
    assert dl.distribution([0.0, 1.0, 0.0], "default", model=model).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("given", "error", "why"),
    [
        ({"prompt_tokens": [0, 2]}, UnknownToken, "prompt_tokens: token ids must be in"),
        ({"generated": [-1]}, UnknownToken, "generated: token ids must be in"),
        ({"prompt_tokens": "a b"}, RequestError, "prompt_tokens must be token ids"),
        ({"prompt_tokens": [[0], [1]]}, RequestError, "one for each of the 1 rows"),
        ({"prompt_tokens": [[0], 1]}, RequestError, "one for each of the 1 rows"),
        ({"prompt_tokens": [0.5]}, RequestError, "must be text or token ids"),
        ({"state": []}, RequestError, "state must be a list with the state of each of the 1 processors"),
        ({"state": [None], "generated": [1]}, RequestError, "the tokens or the state after them, not both"),
    ],
)
def test_a_past_that_does_not_fit_is_refused(given, error, why):
    with pytest.raises(error, match=rf"^distribution: .*{why}"):
        dl.distribution([0.0, 1.0], [OneLessForEach()], **given)


def test_of_a_coin_it_gives_the_mixture():
    distribution = dl.distribution([2.0, 1.0, 0.0], [SometimesOnlyTheRest(0.25)])
    whole, rest = torch.tensor([2.0, 1.0, 0.0]).softmax(0), torch.tensor([-torch.inf, 1.0, 0.0]).softmax(0)
    assert distribution.tolist() == pytest.approx((0.75 * whole + 0.25 * rest).tolist())
    certain = dl.distribution([2.0, 1.0, 0.0], [SometimesOnlyTheRest(1.0)], trace=True)
    assert certain.probs.tolist() == pytest.approx(rest.tolist())
    assert certain.stages[0].kept.item() == 2


def test_of_xtc_it_gives_how_often_the_engine_draws_each_token():
    words = ["a", "b", "c"]
    model = dl.TableModel(words, {...: {"a": 0.5, "b": 0.3, "c": 0.2}}, bos="<s>", eos=None)
    strategy = "xtc(probability=0.5, threshold=0.15) | sample(n=4000)"
    distribution = dl.distribution(torch.tensor([0.5, 0.3, 0.2]).log(), strategy)
    assert distribution.tolist() == pytest.approx([0.25, 0.15, 0.6], abs=1e-6)
    drawn = [c.tokens[0] for c in dl.generate(model, "", strategy, max_new_tokens=1, max_rows=4000)[0].candidates]
    assert [drawn.count(t) / 4000 for t in range(3)] == pytest.approx(distribution.tolist(), abs=0.03)


def test_stages_of_one_chain_share_the_coin():
    chain = [SometimesOnlyTheRest(0.25), SometimesOnlyTheRest(0.5)]
    distribution = dl.distribution([2.0, 1.0, 0.0], chain)
    both, second, none = (torch.tensor(x).softmax(0) for x in ([-1e9, -1e9, 0.0], [-1e9, 1.0, 0.0], [2.0, 1.0, 0.0]))
    assert distribution.tolist() == pytest.approx((0.25 * both + 0.25 * second + 0.5 * none).tolist())
    state = Keys.of(0, (), range(4000))
    logits = torch.tensor([[2.0, 1.0, 0.0]]).expand(4000, 3)
    for stage in chain:
        logits = stage.apply(logits, state)
    assert logits.softmax(-1).mean(0).tolist() == pytest.approx(distribution.tolist(), abs=0.03)


def test_a_trace_tells_what_each_stage_did():
    logits = torch.tensor([4.0, 2.0, 1.0, 1.0]).log()
    traced = dl.distribution(logits, "temperature=0.5 | top_k=2 | sample", trace=True)
    assert isinstance(traced, TracedDistribution)
    warm, cut = traced.stages
    assert (warm.name, cut.name) == ("temperature=0.5", "top_k=2")
    assert warm.entropy_bits_before.item() == pytest.approx(1.75)
    assert (warm.kept.item(), warm.mass_removed.item()) == (4, 0.0)
    assert cut.mass_removed.item() == pytest.approx(2 / 22)
    assert cut.kept.item() == 2
    assert cut.entropy_bits_before.item() == warm.entropy_bits.item()
    assert cut.entropy_bits.item() == pytest.approx(-(0.8 * math.log2(0.8) + 0.2 * math.log2(0.2)))
    assert traced.probs.tolist() == pytest.approx([0.8, 0.2, 0.0, 0.0])
    assert torch.equal(traced.probs, dl.distribution(logits, "temperature=0.5 | top_k=2"))


def test_a_trace_has_the_shape_of_the_logits_without_the_vocabulary():
    traced = dl.distribution(torch.zeros(2, 3, 4), "top_p=0.5", trace=True)
    (cut,) = traced.stages
    assert cut.kept.tolist() == [[2, 2, 2]] * 2
    assert cut.mass_removed.shape == cut.entropy_bits.shape == cut.entropy_bits_before.shape == (2, 3)
    assert dl.distribution(torch.zeros(2, 4), "greedy", trace=True).stages == ()
