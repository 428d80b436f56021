"""What `predict_cost` foretells is what the engine then counts."""

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import decodelab as dl
from decodelab.core.errors import InvalidParameter, PromptTooLong, UnknownStage
from decodelab.models.arithmetic import arithmetic_of

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

    def start(self, prompts):
        self.passes += 1
        return self.model.start(prompts)

    def extend(self, cache, tokens):
        self.passes += 1
        return self.model.extend(cache, tokens)


def prompts_of(count: int, length: int) -> list[tuple[int, ...]]:
    return [tuple(3 + (7 * i + k) % 500 for k in range(length)) for i in range(count)]


@pytest.mark.parametrize("strategy", FIXED)
@pytest.mark.parametrize(("prompts", "new"), [(1, 1), (1, 9), (5, 6)])
def test_continuations_of_fixed_length_cost_exactly_what_was_foretold(nano, strategy: str, prompts: int, new: int):
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
def test_a_cache_holds_no_more_than_was_foretold_and_not_much_less(nano, strategy: str):
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


SIZES = {
    "vocab_size": 97, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 64, "attn_implementation": "eager",
}  # fmt: skip
LLAMA = {**SIZES, "intermediate_size": 40, "num_key_value_heads": 2}
NETWORKS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, tie_word_embeddings=True)),
    "llama, wide heads": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, head_dim=8)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**SIZES)),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_operations_are_those_torch_counts(kind: str):
    network = NETWORKS[kind]().eval()
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(97)}, unk_token="w0"))
    arithmetic = arithmetic_of(dl.TransformersModel(network, PreTrainedTokenizerFast(tokenizer_object=words)))
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
    arithmetic = arithmetic_of(nano)
    assert arithmetic is not None
    said = dl.predict_cost(nano, "sample(n=2)", prompt_tokens=3, new_tokens=3, prompts=4)
    assert said.cached.flops == 4 * arithmetic.flops(3 + 2 * 2, 1 + 2 * 2, (1 + 2 + 3) + 2 * (4 + 5))
    assert said.uncached.flops == 4 * arithmetic.flops(
        3 + 2 * (4 + 5), 1 + 2 * 2, 6 + 2 * (1 + 2 + 3 + 4) + 2 * (1 + 2 + 3 + 4 + 5)
    )


def test_the_parameters_that_multiply_are_those_of_the_model(nano):
    arithmetic = arithmetic_of(nano)
    assert arithmetic is not None
    # Embedding and head are one; the rest of the parameters are the scales of the norms.
    matrices = sum(p.numel() for p in nano.model.parameters() if p.dim() == 2)
    assert arithmetic.body + arithmetic.head == matrices


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"prompt_tokens": 0, "new_tokens": 4}, InvalidParameter, "prompt_tokens must be at least 1, got 0"),
        ({"prompt_tokens": 4, "new_tokens": -1}, InvalidParameter, "new_tokens must be at least 1, got -1"),
        ({"prompt_tokens": 4, "new_tokens": 4, "prompts": 0}, InvalidParameter, "prompts must be at least 1, got 0"),
        ({"prompt_tokens": 4, "new_tokens": 4, "max_rows": 0}, InvalidParameter, "max_rows must be at least 1, got 0"),
        ({"prompt_tokens": 4000, "new_tokens": 4}, PromptTooLong, "exceed the context of"),
        ({"prompt_tokens": 4, "new_tokens": 4, "strategy": "beem"}, UnknownStage, "did you mean 'beam'"),
    ],
)
def test_what_makes_no_sense_is_refused(nano, given, error, says: str):
    with pytest.raises(error, match=says):
        dl.predict_cost(nano, **given)
