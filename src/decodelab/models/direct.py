"""The forward pass of Llama-like decoders without the overhead of transformers' modules.

A step of a small model is mostly Python: a hundred module calls, each through hooks, decorators and output classes.
This is the same arithmetic, operation by operation, on the same weights, as one function; for a model of a million
parameters on a CPU it takes a third of the time. The logits are equal to the last bit, and `Direct.of` runs both on a
padded batch to see that they are, so that anything unforeseen is left to transformers. Rows that share a prefix attend
to it by `decodelab.models.prefix`, equal within rounding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.models.mistral.modeling_mistral import MistralForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM

from decodelab.models.cache import KeyValueCache
from decodelab.models.growing_layer import GrowingLayer

_CLASSES = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)
_ROPE_TYPES = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embedding whose angles depend on the position alone, not on the length of the sequence."""

_PART = 2**20
"""Bytes of the head's weights that are multiplied at a time."""
_LEAST, _FEW = 64, 512
"""The fewest tokens of a part, and the most rows for which parts are worth it."""


class _Linear(NamedTuple):
    weight: Tensor
    bias: Tensor | None


class _Block(NamedTuple):
    """One layer's weights."""

    attention: Any
    attention_norm: Tensor
    query: _Linear
    key: _Linear
    value: _Linear
    output: _Linear
    query_norm: Tensor | None
    key_norm: Tensor | None
    mlp_norm: Tensor
    gate: _Linear
    up: _Linear
    down: _Linear


class Direct:
    """The forward pass of a Llama, Mistral, Qwen2 or Qwen3 model with full attention.

    Args:
        model: an instance of one of these `ForCausalLM` classes that passed `Direct.of`.
    """

    def __init__(self, model: Any):
        self.embeddings: Tensor = model.model.embed_tokens.weight
        self.head = _linear(model.lm_head)
        self.norm: Tensor = model.model.norm.weight
        self.epsilon: float = model.model.norm.variance_epsilon
        self.rotary = model.model.rotary_emb
        self.act = model.model.layers[0].mlp.act_fn
        self.head_dim: int = model.model.layers[0].self_attn.head_dim
        self.blocks = [_block(layer) for layer in model.model.layers]
        self.cos = self.sin = self.embeddings.new_empty(0, self.head_dim)

    @staticmethod
    def of(model: Any) -> Direct | None:
        """The direct forward pass of a model, or None for one that it does not reproduce exactly."""
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
            and all(
                type(layer.get_submodule(path)) is nn.Linear for layer in model.model.layers for path in _PROJECTIONS
            )
            and not any(part._forward_hooks or part._forward_pre_hooks or hasattr(part, "_hf_hook") for part in parts)
            and len({parameter.dtype for parameter in model.parameters()}) == 1
        )
        if not plain:
            return None
        direct = Direct(model)
        return direct if direct._reproduces(model) else None

    @torch.inference_mode()
    def _reproduces(self, model: Any) -> bool:
        """Whether a padded prefill, a padded step and a step of one row alone come out as from the model."""
        vocab, device = self.embeddings.shape[0], self.embeddings.device
        tokens = torch.tensor([(7 * i + 3) % vocab for i in range(18)], device=device).view(2, 9)
        mine, theirs = (KeyValueCache([GrowingLayer() for _ in self.blocks], [0, 4], device) for _ in range(2))
        for ids, rows in ((tokens[:, :6], [0, 1]), (tokens[:, 6:8], [0, 1]), (tokens[:1, 8:], [0])):
            mine, theirs = (cache.select(torch.tensor(rows)) for cache in (mine, theirs))
            padding, positions = theirs.padding(ids.shape[1]), theirs.positions(ids.shape[1])
            expected = model(
                input_ids=ids, attention_mask=padding, position_ids=positions, past_key_values=theirs, use_cache=True
            ).logits
            if not torch.equal(self(ids, mine), expected):
                return False
        return True

    def __call__(
        self, ids: Tensor, cache: KeyValueCache, last: bool = False, shown: list[Tensor] | None = None
    ) -> Tensor:
        """Logits [rows, k, vocab] of int64 tokens [rows, k] appended to the cache; only of the last with `last`.

        Hidden states [rows, k, width] are put into `shown`: the embedding, each block's output, what the head reads.
        """
        rows, count = ids.shape
        start = cache.length
        end = start + count
        longest = max(cache.bases, default=0) + end
        if longest > len(self.cos):
            self._extend_angles(max(longest, 2 * len(self.cos), 256))
        shared = cache.attention(count)
        mask = cache.mask(count) if shared is None else None
        positions = cache.positions(count)
        if positions is None:
            cos, sin = self.cos[start:end], self.sin[start:end]
        else:
            cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        shape = (rows, count, -1, self.head_dim)
        half = self.head_dim // 2
        hidden = embedding(ids, self.embeddings)
        for at, (block, layer) in enumerate(zip(self.blocks, cache.growing, strict=True)):
            if shown is not None:
                shown.append(hidden)
            x = self._normed(hidden, block.attention_norm)
            queries = linear(x, *block.query).view(shape)
            keys = linear(x, *block.key).view(shape)
            values = linear(x, *block.value).view(shape).transpose(1, 2)
            if block.query_norm is not None and block.key_norm is not None:
                queries, keys = self._normed(queries, block.query_norm), self._normed(keys, block.key_norm)
            # Queries and keys turn together; sin carries the sign of the half that is swapped in.
            turned = torch.cat((queries, keys), 2).transpose(1, 2)
            turned = turned * cos + torch.roll(turned, half, -1) * sin
            heads = queries.shape[2]
            keys, values = layer.update(turned[:, heads:], values)
            scale = block.attention.scaling
            if shared is None:
                attended, _ = sdpa_attention_forward(
                    block.attention, turned[:, :heads], keys, values, mask, scaling=scale
                )
            else:
                attended = shared(turned[:, :heads], keys, values, at, scale=scale)
            hidden = hidden + linear(attended.reshape(rows, count, -1), *block.output)
            x = self._normed(hidden, block.mlp_norm)
            hidden = hidden + linear(self.act(linear(x, *block.gate)) * linear(x, *block.up), *block.down)
        if shown is not None:
            hidden = self._normed(hidden, self.norm)
            shown.append(hidden)
            return self._scores(hidden[:, -1:] if last else hidden)
        if last:
            hidden = hidden[:, -1:]
        return self._scores(self._normed(hidden, self.norm))

    def _scores(self, hidden: Tensor) -> Tensor:
        """The head: logits [rows, k, vocab] of hidden states.

        For a few rows on a CPU it is done in parts whose weights fit in a core's cache: a product of few rows and a
        large matrix rearranges the matrix first, which takes as long as multiplying, and what was rearranged is then
        still at hand.
        """
        weight, bias = self.head
        vocab, width = weight.shape
        rows = hidden.shape[0] * hidden.shape[1]
        part = _PART // (width * weight.element_size())
        if not (
            bias is None and 1 < rows <= _FEW and _LEAST <= part < vocab
            and weight.device.type == "cpu" and weight.dtype == torch.float32
        ):  # fmt: skip
            return linear(hidden, weight, bias)
        flat, out = hidden.reshape(rows, width), hidden.new_empty(rows, vocab)
        for at in range(0, vocab, part):
            torch.mm(flat, weight[at : at + part].t(), out=out[:, at : at + part])
        return out.view(*hidden.shape[:2], vocab)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        """Root-mean-square normalisation in float32, as these models do it."""
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return weight * wide.to(x.dtype)

    def _extend_angles(self, positions: int) -> None:
        """Cosines and sines of the first `positions` positions; the first half of the sines is negated."""
        index = torch.arange(positions, device=self.embeddings.device)[None]
        cos, sin = self.rotary(self.embeddings[:1], index)
        half = self.head_dim // 2
        self.cos, self.sin = cos[0], torch.cat((-sin[0, :, :half], sin[0, :, half:]), -1)


_PROJECTIONS = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip


def _linear(module: nn.Linear) -> _Linear:
    return _Linear(module.weight, module.bias)


def _block(layer: Any) -> _Block:
    query, key, value, output, gate, up, down = (_linear(layer.get_submodule(path)) for path in _PROJECTIONS)
    attention = layer.self_attn
    return _Block(
        attention,
        layer.input_layernorm.weight,
        query,
        key,
        value,
        output,
        attention.q_norm.weight if hasattr(attention, "q_norm") else None,
        attention.k_norm.weight if hasattr(attention, "k_norm") else None,
        layer.post_attention_layernorm.weight,
        gate,
        up,
        down,
    )
