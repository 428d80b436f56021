"""Every architecture we vouch for gives, through padding, cache, forks, rewinds and joins, the logits of the bare
sequence; what keeps its past elsewhere is refused."""

from contextlib import nullcontext

import pytest
import torch

from decodelab.core.errors import ModelError
from decodelab.core.notices import PlainCacheWarning
from decodelab.models.transformers_model import PROVEN, SHARING
from decodelab.testing.model import check_model

GPT2_SIZES = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128}
ROTARY = {**GPT2_SIZES, "rotary_dim": 4}
HEADS_OF_8 = {"head_dim": 8}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
# Windows shorter than the sequences, so that what leaves the window matters.
WINDOW = {"sliding_window": 5}

ARCHITECTURES = {
    "apertus": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    "arcee": {},
    "biogpt": {"pad_token_id": 1},
    "bitnet": {},
    "bloom": {"n_layer": 3, "n_head": 4},
    "codegen": {**ROTARY, "n_ctx": 128},
    "cohere": {},
    "cohere2": WINDOW,
    "ctrl": {**GPT2_SIZES, "dff": 48},
    "deepseek_v3": {
        "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "moe_intermediate_size": 16,
        "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
        "num_key_value_heads": 4,
    },
    "diffllama": {},
    "doge": {},
    "ernie4_5": {},
    "exaone4": WINDOW,
    "falcon": {"alibi": False, "new_decoder_architecture": False},
    "falcon (ALiBi)": {"alibi": True},
    "gemma": HEADS_OF_8,
    "gemma2": {**HEADS_OF_8, **WINDOW, "query_pre_attn_scalar": 8},
    "gemma3_text": {**HEADS_OF_8, **WINDOW, "query_pre_attn_scalar": 8, "num_hidden_layers": 7},
    "gemma4_text": {**HEADS_OF_8, **WINDOW, "num_hidden_layers": 6, "vocab_size_per_layer_input": 64},
    "glm4": {**HEADS_OF_8, "pad_token_id": 0},
    "gpt2": GPT2_SIZES,
    "gpt_bigcode": GPT2_SIZES,
    "gpt_neo": {
        "num_layers": 2, "num_hidden_layers": 2, "num_heads": 4, "window_size": 5,
        "attention_types": [[["global", "local"], 1]],
    },
    "gpt_neox": {},
    "gpt_oss": {
        **HEADS_OF_8, **WINDOW, **EXPERTS, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "gptj": ROTARY,
    "granite": {},
    "helium": HEADS_OF_8,
    "jetmoe": {},
    "lfm2": {"layer_types": ["full_attention"] * 3},
    "llama": {},
    "llama4_text": {**HEADS_OF_8, "attention_chunk_size": 5, "num_local_experts": 2, "intermediate_size_mlp": 48},
    "minimax_m2": {},
    "mistral": {},
    "mistral (sliding window)": WINDOW,
    "mixtral": EXPERTS,
    "modernbert-decoder": {"pad_token_id": 0, "local_attention": 6, "cls_token_id": 1, "sep_token_id": 2},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 3, "max_seq_len": 128},
    "nemotron": {},
    "olmo2": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32, "pad_token_id": 1},
    "persimmon": {},
    "phi": {},
    "phi3": {"pad_token_id": 0},
    "qwen2": {},
    "qwen3": HEADS_OF_8,
    "qwen3_moe": {**HEADS_OF_8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "seed_oss": {},
    "smollm3": {"pad_token_id": 0},
    "stablelm": {},
    "starcoder2": WINDOW,
    "vaultgemma": {},
    "xglm": {"d_model": 32, "ffn_dim": 48, "num_layers": 3, "attention_heads": 4, "pad_token_id": 1},
}  # fmt: skip

PROMPTS = ["w3 w41 w5", "w7 w2 w60 w13 w13 w9 w28 w33 w4 w50", "w11 w12 w13 w14 w15 w16"]


def test_the_architectures_we_vouch_for_are_those_tested_here():
    assert {name.split(" ")[0] for name in ARCHITECTURES} == PROVEN


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_cache_and_padding_change_nothing(build, name):
    architecture = name.split(" ")[0]
    model = build(architecture, **ARCHITECTURES[name])

    # Forked rows share their past, or a notice says that they cannot.
    with nullcontext() if architecture in SHARING else pytest.warns(PlainCacheWarning, match="do not share its cache"):
        check_model(model, PROMPTS)

    # What check_model takes as the truth is itself the bare network's.
    tokens = model.vocab.encode(PROMPTS[1])
    with torch.no_grad():
        bare = model.model(input_ids=torch.tensor([tokens]), use_cache=False).logits[:, -1]
    torch.testing.assert_close(model.prefill([tokens])[0], bare, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_attention_implementation_reads_the_cache(build, attention):
    check_model(build("llama", attention=attention), PROMPTS)


def test_an_architecture_we_do_not_know_is_probed_and_used_when_it_keeps_its_promise(build):
    model = build("bert", is_decoder=True, pad_token_id=0)
    with pytest.warns(PlainCacheWarning):
        check_model(model, PROMPTS)


@pytest.mark.parametrize(
    ("name", "sizes", "reason"),
    [
        ("mamba", {}, "MambaForCausalLM: a recurrent or hybrid model; not supported yet"),
        ("rwkv", {}, "RwkvForCausalLM: a recurrent or hybrid model"),
        ("jamba", {}, "JambaForCausalLM: a recurrent or hybrid model"),
        ("qwen3_next", {}, "Qwen3NextForCausalLM: a recurrent or hybrid model"),
        ("minimax", {}, "MiniMaxForCausalLM: a layer keeps its state as LinearAttentionLayer"),
        ("lfm2", {"layer_types": ["conv", "full_attention", "conv"]}, "keeps its state as LinearAttentionLayer"),
        ("openai-gpt", GPT2_SIZES, "OpenAIGPTLMHeadModel: its forward pass takes no key/value cache"),
        ("bert", {"pad_token_id": 0}, "BertLMHeadModel: a cache or padding changes its logits"),
    ],
)
def test_other_than_decoders_with_a_key_value_cache_are_refused(build, name, sizes, reason):
    with pytest.raises(ModelError, match=reason) as caught:
        build(name, **sizes)
    assert "\n" not in str(caught.value)
