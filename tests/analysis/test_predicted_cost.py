"""What `predict_cost` foretells is what the engine then counts."""

import itertools
import statistics
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

import decodelab as dl
from decodelab.analysis.cost import Work
from decodelab.core.errors import InvalidParameter, PromptTooLong, UnknownStage, UnsupportedStrategy
from decodelab.core.values import Cost
from decodelab.models.encoder_decoder import EncoderDecoderModel
from decodelab.strategy.strategy import StrategyLike

FIXED = ["greedy", "temperature=0.7 | sample(n=6)", "beam(width=4)", "beam(width=25, n=25)", "sample(n=3) | best_of"]


@pytest.fixture(scope="module")
def nano():
    return dl.load("pocket-nano")


@pytest.fixture(scope="module")
def small():
    return dl.load("pocket-small")


class Counting:
    """A model that counts its passes."""

    def __init__(self, model):
        self.model = model
        self.passes = 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def prefill(self, prompts):
        self.passes += 1
        return self.model.prefill(prompts)

    def decode(self, cache, tokens):
        self.passes += 1
        return self.model.decode(cache, tokens)


def prompts_of(count: int, length: int) -> list[tuple[int, ...]]:
    return [tuple(3 + (7 * i + k) % 90 for k in range(length)) for i in range(count)]


@pytest.mark.parametrize("strategy", FIXED)
@pytest.mark.parametrize(("prompts", "new"), [(1, 1), (1, 9), (5, 6)])
def test_continuations_of_fixed_length_cost_exactly_what_was_predicted(nano, strategy: str, prompts: int, new: int):
    said = dl.predict_cost(nano, strategy, prompt_tokens=12, new_tokens=new, prompts=prompts, max_rows=16).cached
    model: Any = Counting(nano)
    found = dl.generate(model, prompts_of(prompts, 12), strategy, max_new_tokens=new, min_new_tokens=new, max_rows=16)
    assert said.prefill_tokens == sum(g.cost.prefill_tokens for g in found)
    assert said.decode_tokens == sum(g.cost.decode_tokens for g in found)
    assert said.forward_tokens == sum(g.cost.forward_tokens for g in found)
    assert said.forward_passes == model.passes
    # Each counts the passes its own rows took part in.
    assert {g.cost.forward_passes for g in found} == {new}


@pytest.mark.parametrize("strategy", FIXED)
def test_a_cache_holds_no_more_than_was_predicted_and_not_much_less(nano, strategy: str):
    for prompt, new in ((8, 4), (200, 2), (200, 40)):
        said = dl.predict_cost(nano, strategy, prompt_tokens=prompt, new_tokens=new).cached.cache_bytes
        (found,) = dl.generate(nano, prompts_of(1, prompt), strategy, max_new_tokens=new, min_new_tokens=new)
        assert found.cost.peak_cache_bytes <= said <= 1.75 * found.cost.peak_cache_bytes


@pytest.mark.parametrize("strategy", ["default", "greedy", "top_p=0.9 | sample(n=5)", "beam(width=5)", "beam(width=9)"])
def test_where_texts_end_by_themselves_it_is_the_most_they_can_cost(small, strategy: str):
    prompts = ["What is 2 + 3?", "What is 17 + 25?"]
    found = dl.generate(small, prompts, strategy, max_new_tokens=40)
    for g in found:
        said = dl.predict_cost(small, strategy, prompt_tokens=len(g.prompt_tokens), new_tokens=40)
        assert g.cost.prefill_tokens == said.cached.prefill_tokens
        assert g.cost.decode_tokens <= said.cached.decode_tokens
        assert g.cost.forward_passes <= said.cached.forward_passes
        assert g.cost.peak_cache_bytes <= said.cached.cache_bytes


def test_beams_of_few_words_grow_from_one():
    model = dl.TableModel(["a", "b"], {...: {"a": 0.6, "b": 0.4}}, eos=None)
    said = dl.predict_cost(model, "beam(width=5)", prompt_tokens=1, new_tokens=5)
    (found,) = dl.generate(model, "a", "beam(width=5)", max_new_tokens=5)
    # Rows of the steps: 1, 2, 4, 5, 5; the first are the prompt's.
    assert said.cached.decode_tokens == found.cost.decode_tokens == 2 + 4 + 5 + 5
    assert said.scores == 2 * (1 + 2 + 4 + 5 + 5)


def test_a_beam_looks_at_every_score_of_every_row_of_every_step(nano):
    looked: list[int] = []

    def observer(event):
        if hasattr(event, "logits"):
            looked.append(event.logits.numel())

    dl.generate(nano, prompts_of(1, 5), "beam(width=6)", max_new_tokens=8, min_new_tokens=8, observers=[observer])
    said = dl.predict_cost(nano, "beam(width=6)", prompt_tokens=5, new_tokens=8)
    assert said.scores == sum(looked) == nano.vocab.size * (1 + 6 * 7)


def test_without_a_cache_every_sequence_is_computed_anew():
    model = dl.TableModel(["a", "b"], {...: {"a": 0.6, "b": 0.4}}, eos=None)
    said = dl.predict_cost(model, "sample(n=3)", prompt_tokens=10, new_tokens=4, prompts=2)
    assert said.uncached.prefill_tokens == 2 * 10
    assert said.uncached.decode_tokens == 2 * 3 * (11 + 12 + 13)
    assert said.uncached.forward_passes == said.cached.forward_passes == 4
    assert said.uncached.cache_bytes == 0
    assert said.cached.decode_tokens == 2 * 3 * 3


def test_a_table_multiplies_nothing():
    model = dl.TableModel(["a", "b"], {...: {"a": 0.6, "b": 0.4}}, eos=None)
    said = dl.predict_cost(model, prompt_tokens=3, new_tokens=2)
    assert said.cached.flops is said.uncached.flops is None


def checked(model, strategy: StrategyLike, prompt: int, new: int, **more) -> tuple[Work, Cost]:
    """What is foretold of one prompt, and what its generation counts; the cache holds no more than was said."""
    said = dl.predict_cost(model, strategy, prompt_tokens=prompt, new_tokens=new, **more).cached
    (found,) = dl.generate(model, prompts_of(1, prompt), strategy, max_new_tokens=new, min_new_tokens=new)
    assert said.prefill_tokens == found.cost.prefill_tokens
    assert found.cost.peak_cache_bytes <= said.cache_bytes
    return said, found.cost


@pytest.mark.parametrize(
    "strategy",
    [
        "diverse_beam(width=6, groups=3)",
        "stochastic_beam(width=4)",
        "arithmetic(n=5)",
        dl.SMC(4, lambda prompt, texts: [0.0] * len(texts)),
        "contrastive_search(k=3, alpha=0.5)",
    ],
)
def test_other_searches_of_fixed_length_cost_what_was_predicted(nano, strategy: StrategyLike):
    said, cost = checked(nano, strategy, 9, 7)
    assert (said.decode_tokens, said.forward_passes) == (cost.decode_tokens, cost.forward_passes)


@pytest.mark.parametrize("strategy", ["exact(budget=30)", "k_best(n=3, budget=30, rows=4)", "astar(budget=30)"])
def test_a_tree_search_takes_its_budget_at_most(nano, strategy: str):
    said, cost = checked(nano, strategy, 9, 7)
    assert cost.decode_tokens <= said.decode_tokens == 30
    assert cost.forward_passes <= said.forward_passes == 31


def test_best_first_takes_its_width_at_every_length_at_most(nano):
    said, cost = checked(nano, "best_first(width=3)", 9, 7)
    assert cost.decode_tokens <= said.decode_tokens == 3 * 6


def test_what_cannot_be_predicted_is_refused(nano):
    with pytest.raises(UnsupportedStrategy, match="its cost depends on what it finds"):
        dl.predict_cost(nano, "mcts(simulations=4)", prompt_tokens=5, new_tokens=5)


def test_models_made_of_models_cost_what_their_parts_do(nano, small):
    said, cost = checked(small, "mix(models=[pocket-nano]) | beam(width=3)", 9, 7)
    assert (said.decode_tokens, said.forward_passes) == (cost.decode_tokens, cost.forward_passes)
    both, one, other = (
        dl.predict_cost(model, strategy, prompt_tokens=9, new_tokens=7)
        for model, strategy in (
            (small, "mix(models=[pocket-nano]) | beam(width=3)"), (small, "beam(width=3)"), (nano, "beam(width=3)"),
        )
    )  # fmt: skip
    for name in ("cached", "uncached"):
        total, *parts = (getattr(found, name).flops for found in (both, one, other))
        assert total == sum(parts)


def test_without_its_prompt_the_guiding_model_has_less_to_read(small):
    plain, guided = (
        dl.predict_cost(small, strategy, prompt_tokens=50, new_tokens=1)
        for strategy in ("greedy", "guidance(scale=2) | greedy")
    )
    arithmetic = small.arithmetic()
    assert plain.cached.flops is not None
    # It reads the last token of the prompt alone.
    assert guided.cached.flops == plain.cached.flops + arithmetic.flops(1, 1, 1)


def says(word: str) -> dl.TableModel:
    """A model that always says the same."""
    return dl.TableModel(["a", "b"], {...: {word: 1.0}}, bos="<s>")


@pytest.mark.parametrize(("draft", "acceptance"), [("a", 1.0), ("b", 0.0)])
@pytest.mark.parametrize(
    ("search", "new", "k"), [("greedy", 1, 4), ("greedy", 2, 4), ("greedy", 23, 4), ("sample(n=3)", 9, 2)]
)
def test_a_draft_that_is_always_or_never_right_costs_what_was_predicted(
    draft: str, acceptance: float, search: str, new: int, k: int
):
    strategy = dl.Strategy.of(search).stages[0] | dl.Speculative(says(draft), k=k)
    said = dl.predict_cost(says("a"), strategy, prompt_tokens=2, new_tokens=new, acceptance=acceptance).cached
    (found,) = dl.generate(says("a"), "a", strategy, max_new_tokens=new, min_new_tokens=new)
    cost = found.cost
    assert (said.decode_tokens, said.forward_passes) == (cost.decode_tokens, cost.forward_passes)
    assert said.draft_tokens == cost.draft_tokens
    assert cost.peak_cache_bytes <= said.cache_bytes


def test_a_draft_that_is_right_half_of_the_time_costs_what_was_predicted_on_average():
    # The model tosses a fair coin for every token, the draft always says the same side.
    model = dl.TableModel(["a", "b"], {...: {"a": 0.5, "b": 0.5}}, bos="<s>")
    strategy = dl.Sample() | dl.Speculative(says("a"), k=3)
    said = dl.predict_cost(model, strategy, prompt_tokens=7, new_tokens=40, acceptance=0.5).cached
    prompts = [" ".join(sides) for sides in itertools.product("ab", repeat=6)]
    costs = [g.cost for g in dl.generate(model, prompts, strategy, max_new_tokens=40)]
    # About 21 passes, whose standard deviation is 1.9 for one text: within four standard errors.
    for name in ("forward_passes", "decode_tokens", "draft_tokens"):
        values = [getattr(cost, name) for cost in costs]
        error = statistics.stdev(values) / len(values) ** 0.5
        assert abs(statistics.fmean(values) - getattr(said, name)) < 4 * error + 0.5


def test_prompt_lookup_costs_no_draft(nano):
    said = dl.predict_cost(nano, "greedy | speculative(draft=ngram, k=3)", prompt_tokens=5, new_tokens=9)
    assert said.cached.draft_tokens == 0
    assert said.cached.flops is not None
    assert said.uncached == dl.predict_cost(nano, "greedy", prompt_tokens=5, new_tokens=9).uncached


def test_what_the_numbers_leave_out_is_said(nano):
    adaptive = "greedy | speculative(draft=ngram, adaptive=true)"
    (note,) = dl.predict_cost(nano, adaptive, prompt_tokens=5, new_tokens=9).notes
    assert "predicted for k = 4 throughout" in note
    (note,) = dl.predict_cost(nano, "value_beam(width=2, scorer=self_eval)", prompt_tokens=5, new_tokens=9).notes
    assert "what its scorer asks the model comes on top" in note
    assert dl.predict_cost(nano, "beam(width=2)", prompt_tokens=5, new_tokens=9).notes == ()


def numbered_words() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(97)}, unk_token="w0"))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w1", pad_token="w0")


@pytest.mark.parametrize("strategy", ["greedy", "sample(n=4)", "beam(width=3)"])
def test_encoder_decoder_models_read_their_prompt_once(strategy: str):
    config = T5Config(vocab_size=97, d_model=24, d_kv=6, d_ff=40, num_layers=2, num_heads=4)
    config.decoder_start_token_id = 0
    model = EncoderDecoderModel(T5ForConditionalGeneration(config).eval(), numbered_words())
    said, cost = checked(model, strategy, 9, 7)
    assert (said.decode_tokens, said.forward_passes) == (cost.decode_tokens, cost.forward_passes)
    assert said.flops is None


SIZES = {
    "vocab_size": 97, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 64, "attn_implementation": "eager",
}  # fmt: skip
LLAMA = {**SIZES, "intermediate_size": 40, "num_key_value_heads": 2}
NETWORKS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, tie_word_embeddings=True)),
    "llama, wide heads": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, head_dim=8)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**SIZES, bos_token_id=0, eos_token_id=0)),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_operations_are_those_torch_counts(kind: str):
    network = NETWORKS[kind]().eval()
    arithmetic = dl.TransformersModel(network, numbered_words()).arithmetic()
    assert arithmetic is not None

    def counted(**inputs):
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            out = network(**inputs, use_cache=True, logits_to_keep=1)
        return counter.get_total_flops(), out.past_key_values

    # Eager attention multiplies all pairs of a prompt and masks; counted are those that see one another.
    flops, cache = counted(input_ids=torch.arange(7)[None])
    assert flops == arithmetic.flops(7, 1, 7 * 7)
    flops, _ = counted(input_ids=torch.tensor([[5]]), past_key_values=cache)
    assert flops == arithmetic.flops(1, 1, 8)


def test_operations_of_a_run_are_those_of_its_tokens(nano):
    arithmetic = nano.arithmetic()
    said = dl.predict_cost(nano, "sample(n=2)", prompt_tokens=3, new_tokens=3, prompts=4)
    assert said.cached.flops == 4 * arithmetic.flops(3 + 2 * 2, 1 + 2 * 2, (1 + 2 + 3) + 2 * (4 + 5))
    assert said.uncached.flops == 4 * arithmetic.flops(
        3 + 2 * (4 + 5), 1 + 2 * 2, 6 + 2 * (1 + 2 + 3 + 4) + 2 * (1 + 2 + 3 + 4 + 5)
    )


def test_the_parameters_that_multiply_are_those_of_the_model(nano):
    arithmetic = nano.arithmetic()
    # Embedding and head are one; the rest of the parameters are the scales of the norms.
    matrices = sum(weight.numel() for weight in nano.weights if weight.dim() == 2)
    assert arithmetic.body + arithmetic.head == matrices


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"prompt_tokens": 0, "new_tokens": 4}, InvalidParameter, "prompt_tokens must be at least 1, got 0"),
        ({"prompt_tokens": 4, "new_tokens": -1}, InvalidParameter, "new_tokens must be at least 1, got -1"),
        ({"prompt_tokens": 4, "new_tokens": 4, "prompts": 0}, InvalidParameter, "prompts must be at least 1, got 0"),
        ({"prompt_tokens": 4, "new_tokens": 4, "max_rows": 0}, InvalidParameter, "max_rows must be at least 1, got 0"),
        ({"prompt_tokens": 4000, "new_tokens": 4}, PromptTooLong, "exceed the context length"),
        ({"prompt_tokens": 4, "new_tokens": 4, "acceptance": 1.5}, InvalidParameter, r"acceptance must be in \[0, 1\]"),
        (
            {"prompt_tokens": 4, "new_tokens": 4, "strategy": "beam(width=2) | speculative(draft=ngram)"},
            UnsupportedStrategy,
            "works with greedy and sample only",
        ),
        ({"prompt_tokens": 4, "new_tokens": 4, "strategy": "beem"}, UnknownStage, "did you mean 'beam'"),
    ],
)
def test_what_makes_no_sense_is_refused(nano, given, error, message: str):
    with pytest.raises(error, match=message):
        dl.predict_cost(nano, **given)
