"""Configurations of Llama networks that are computed here exactly as transformers computes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from decodelab.models.context import context_length
from decodelab.models.known_fields import (
    either,
    is_bool,
    is_integer,
    is_size,
    is_text,
    list_of,
    one_of,
    optional,
    understood,
    within,
)
from decodelab.models.pretrained import Declared

_TOKEN = optional(is_integer)
_TOKENS = either(_TOKEN, list_of(is_integer))
_NUMBER_FORMAT = one_of(None, "float32", "bfloat16", "float16")

_CONFIG = {
    "model_type": one_of("llama"),
    "architectures": one_of(["LlamaForCausalLM"]),
    "vocab_size": is_size,
    "hidden_size": is_size,
    "intermediate_size": is_size,
    "num_hidden_layers": is_size,
    "num_attention_heads": is_size,
    "num_key_value_heads": optional(is_size),
    "head_dim": optional(is_size),
    "max_position_embeddings": is_size,
    "hidden_act": one_of("silu"),
    "rms_norm_eps": lambda value: isinstance(value, float) and 0 < value < 1,
    "attention_bias": is_bool,
    "mlp_bias": is_bool,
    "tie_word_embeddings": is_bool,
    "rope_parameters": lambda value: isinstance(value, dict) and understood(value, _ROPE),
    "rope_theta": within(1),
    "rope_scaling": one_of(None),
    "bos_token_id": _TOKEN,
    "eos_token_id": _TOKENS,
    "pad_token_id": _TOKEN,
    # Without effect on logits in float32 or a format that is asked for.
    "attention_dropout": within(0, 1),
    "dtype": _NUMBER_FORMAT,
    "torch_dtype": _NUMBER_FORMAT,
    "initializer_range": within(0, 1),
    "pretraining_tp": optional(is_integer),
    "transformers_version": is_text,
    "use_cache": is_bool,
}
"""What config.json may say."""

_ROPE = {"rope_type": one_of("default"), "rope_theta": within(1)}

_NEEDED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "max_position_embeddings",
)  # fmt: skip

_DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": None, "head_dim": None, "rms_norm_eps": 1e-6, "attention_bias": False, "mlp_bias": False,
    "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None,
}  # fmt: skip
"""What transformers takes for fields that are not there."""

_GENERATION = {
    "bos_token_id": _TOKEN,
    "eos_token_id": _TOKENS,
    "pad_token_id": _TOKEN,
    "do_sample": optional(is_bool),
    "temperature": optional(within(1e-3)),
    "top_p": optional(within(1e-3, 1)),
    "top_k": optional(is_size),
    "min_p": optional(within(0, 1)),
    "typical_p": optional(within(1e-3, 1)),
    "repetition_penalty": optional(within(1e-3)),
    "max_length": optional(is_size),
    "max_new_tokens": optional(is_size),
    "use_cache": optional(is_bool),
    "output_attentions": one_of(None, False),
    "output_hidden_states": one_of(None, False),
    "transformers_version": is_text,
    "_from_model_config": is_bool,
}
"""What generation_config.json may say."""


@dataclass(frozen=True)
class LlamaConfig:
    """The sizes of a Llama network, and what else its logits depend on.

    Attributes:
        vocab: tokens.
        width: numbers of a hidden state.
        inner: numbers between the two projections of a feed-forward layer.
        layers: blocks.
        heads: query heads of a block.
        kinds: its key heads.
        head_dim: size of a head.
        attention_bias: whether the projections of attention have biases.
        mlp_bias: whether those of the feed-forward layers have.
        tied: whether the embeddings are the head.
        epsilon: of the norms.
        theta: the base of the rotary embedding.
        declared: what decoding depends on.
    """

    vocab: int
    width: int
    inner: int
    layers: int
    heads: int
    kinds: int
    head_dim: int
    attention_bias: bool
    mlp_bias: bool
    tied: bool
    epsilon: float
    theta: float
    declared: Declared

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors of its checkpoint, by name."""
        queries, keys = self.heads * self.head_dim, self.kinds * self.head_dim
        attention = {"q": (queries, self.width), "k": (keys, self.width), "v": (keys, self.width)}
        attention["o"] = (self.width, queries)
        mlp = {"gate": (self.inner, self.width), "up": (self.inner, self.width), "down": (self.width, self.inner)}
        found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab, self.width)}
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            for part, projections, biased in (
                ("self_attn", attention, self.attention_bias),
                ("mlp", mlp, self.mlp_bias),
            ):
                for name, shape in projections.items():
                    found[f"{prefix}{part}.{name}_proj.weight"] = shape
                    if biased:
                        found[f"{prefix}{part}.{name}_proj.bias"] = shape[:1]
            for norm in ("input_layernorm", "post_attention_layernorm"):
                found[f"{prefix}{norm}.weight"] = (self.width,)
        found["model.norm.weight"] = (self.width,)
        if not self.tied:
            found["lm_head.weight"] = (self.vocab, self.width)
        return found


def llama_config(config: Mapping[str, Any], generation: Mapping[str, Any] | None) -> LlamaConfig | None:
    """The network that a config.json describes; None when it says anything that is not known here.

    Args:
        config: the config.json.
        generation: the generation_config.json beside it, if there is one.
    """
    if not understood(config, _CONFIG) or not understood(generation or {}, _GENERATION):
        return None
    if "architectures" not in config or any(field not in config for field in _NEEDED):
        return None
    given = {**_DEFAULTS, **config}
    rope = given.get("rope_parameters") or {}
    thetas = {float(place["rope_theta"]) for place in (given, rope) if "rope_theta" in place}
    width, heads, vocab = given["hidden_size"], given["num_attention_heads"], given["vocab_size"]
    kinds, head_dim = given["num_key_value_heads"] or heads, given["head_dim"] or width // heads
    pad = given["pad_token_id"]
    if len(thetas) != 1 or width % heads or heads % kinds or head_dim % 2 or not head_dim:
        return None
    if pad is not None and not 0 <= pad < vocab:
        return None
    if generation is None:
        generation = {field: given[field] for field in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return LlamaConfig(
        vocab=vocab,
        width=width,
        inner=given["intermediate_size"],
        layers=given["num_hidden_layers"],
        heads=heads,
        kinds=kinds,
        head_dim=head_dim,
        attention_bias=given["attention_bias"],
        mlp_bias=given["mlp_bias"],
        tied=given["tie_word_embeddings"],
        epsilon=given["rms_norm_eps"],
        theta=thetas.pop(),
        declared=Declared(
            kind="llama",
            vocab_size=vocab,
            context_length=context_length(given),
            generation=generation,
            ends=(given["eos_token_id"],),
        ),
    )
