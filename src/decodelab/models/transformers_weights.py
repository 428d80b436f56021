"""The weights of a network of transformers for the direct forward pass, where that gives the same logits.

`direct_of` runs both on a padded batch to see that they do, so that anything unforeseen is left to transformers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.models.mistral.modeling_mistral import MistralForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM

from decodelab.models.direct import Block, Direct, Projection, Weights
from decodelab.models.transformers_cache import TransformersCache, TransformersLayer

_CLASSES = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)
_ROPE_TYPES = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embedding whose angles depend on the position alone, not on the length of the sequence."""

_PROJECTIONS = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip


def direct_of(model: Any) -> Direct | None:
    """The direct forward pass of a `PreTrainedModel`, or None for one that it does not reproduce exactly."""
    if type(model) not in _CLASSES:
        return None
    config = model.config
    parts = list(model.modules())
    plain = (
        config._attn_implementation == "sdpa"
        and getattr(model.model.rotary_emb, "rope_type", None) in _ROPE_TYPES
        and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and (type(model) is not MistralForCausalLM or config.sliding_window is None)
        # Quantised or adapted projections are other classes; hooks may move or change anything.
        and all(type(layer.get_submodule(path)) is nn.Linear for layer in model.model.layers for path in _PROJECTIONS)
        and not any(part._forward_hooks or part._forward_pre_hooks or hasattr(part, "_hf_hook") for part in parts)
        and len({parameter.dtype for parameter in model.parameters()}) == 1
    )
    if not plain:
        return None
    direct = Direct(_weights(model))
    return direct if _reproduces(direct, model) else None


@torch.inference_mode()
def _reproduces(direct: Direct, model: Any) -> bool:
    """Whether a padded prefill, a padded step and a step of one row alone come out as from the model."""
    vocab, device = direct.embeddings.shape[0], direct.embeddings.device
    tokens = torch.tensor([(7 * i + 3) % vocab for i in range(18)], device=device).view(2, 9)
    layers = range(len(direct.weights.blocks))
    mine, theirs = (TransformersCache([TransformersLayer() for _ in layers], [0, 4], device) for _ in range(2))
    for ids, rows in ((tokens[:, :6], [0, 1]), (tokens[:, 6:8], [0, 1]), (tokens[:1, 8:], [0])):
        mine, theirs = (cache.select(torch.tensor(rows)) for cache in (mine, theirs))
        padding, positions = theirs.padding(ids.shape[1]), theirs.positions(ids.shape[1])
        expected = model(
            input_ids=ids, attention_mask=padding, position_ids=positions, past_key_values=theirs, use_cache=True
        ).logits
        if not torch.equal(direct(ids, mine), expected):
            return False
    return True


def _weights(model: Any) -> Weights:
    """The weights of a network, in its own memory."""
    inner = model.model
    embeddings: Tensor = inner.embed_tokens.weight

    def angles(positions: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = inner.rotary_emb(embeddings[:1], positions[None])
        return cos[0], sin[0]

    return Weights(
        embeddings=embeddings,
        blocks=[_block(layer) for layer in inner.layers],
        norm=inner.norm.weight,
        head=_projection(model.lm_head),
        head_dim=inner.layers[0].self_attn.head_dim,
        epsilon=inner.norm.variance_epsilon,
        activate=inner.layers[0].mlp.act_fn,
        angles=angles,
    )


def _projection(module: nn.Linear) -> Projection:
    return Projection(module.weight, module.bias)


def _block(layer: Any) -> Block:
    query, key, value, output, gate, up, down = (_projection(layer.get_submodule(path)) for path in _PROJECTIONS)
    attention = layer.self_attn
    return Block(
        attention_norm=layer.input_layernorm.weight,
        query=query,
        key=key,
        value=value,
        output=output,
        mlp_norm=layer.post_attention_layernorm.weight,
        gate=gate,
        up=up,
        down=down,
        query_norm=attention.q_norm.weight if hasattr(attention, "q_norm") else None,
        key_norm=attention.k_norm.weight if hasattr(attention, "k_norm") else None,
    )
