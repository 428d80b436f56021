"""The forward pass of Llama-like decoders on plain weights.

A step of a small model is mostly Python: in transformers, a hundred module calls, each through hooks, decorators and
output classes. This is the same arithmetic, operation by operation, as one function; for a model of a million
parameters on a CPU it takes a third of the time. The logits are equal to the last bit. The weights come from the files
of a model (`decodelab.models.llama_files`) or from a network of transformers (`decodelab.models.transformers_weights`).
Rows that share a prefix attend to it by `decodelab.models.prefix`, equal within rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear

from decodelab.models.cache import KeyValueCache
from decodelab.models.fused_attention import fused_attention

_PART = 2**20
"""Bytes of the head's weights that are multiplied at a time."""
_LEAST, _FEW = 64, 512
"""The fewest tokens of a part, and the most rows for which parts are worth it."""


class Projection(NamedTuple):
    """The weight [out, in] and the bias [out] of a linear layer."""

    weight: Tensor
    bias: Tensor | None = None


class Block(NamedTuple):
    """One layer's weights; norms of queries and keys are those of Qwen3."""

    attention_norm: Tensor
    query: Projection
    key: Projection
    value: Projection
    output: Projection
    mlp_norm: Tensor
    gate: Projection
    up: Projection
    down: Projection
    query_norm: Tensor | None = None
    key_norm: Tensor | None = None


@dataclass(frozen=True)
class Weights:
    """Everything that the forward pass computes with.

    Attributes:
        embeddings: [vocab, width].
        blocks: the layers, in order.
        norm: the weight of the last norm, [width].
        head: what makes logits of its output; its weight is `embeddings` where they are tied.
        head_dim: size of an attention head, even.
        epsilon: of the norms.
        activate: the activation of the feed-forward layers.
        angles: cosines and sines, [positions, head_dim] each in the weights' number format, of int64 positions.
    """

    embeddings: Tensor
    blocks: Sequence[Block]
    norm: Tensor
    head: Projection
    head_dim: int
    epsilon: float
    activate: Callable[[Tensor], Tensor]
    angles: Callable[[Tensor], tuple[Tensor, Tensor]]

    def tensors(self) -> Iterator[Tensor]:
        """All weights, each once."""
        yield self.embeddings
        for block in self.blocks:
            for part in block:
                yield from (one for one in (part if isinstance(part, Projection) else (part,)) if one is not None)
        yield self.norm
        if self.head.weight is not self.embeddings:
            yield self.head.weight
        if self.head.bias is not None:
            yield self.head.bias


class Direct:
    """The forward pass of a Llama, Mistral, Qwen2 or Qwen3 model with full attention.

    Args:
        weights: what it computes with; changed in place, they are seen.
    """

    def __init__(self, weights: Weights):
        self.weights = weights
        self.embeddings, self.head, self.norm = weights.embeddings, weights.head, weights.norm
        self.head_dim, self.epsilon = weights.head_dim, weights.epsilon
        self.cos = self.sin = self.embeddings.new_empty(0, self.head_dim)

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
        half, scale, activate = self.head_dim // 2, self.head_dim**-0.5, self.weights.activate
        hidden = embedding(ids, self.embeddings)
        for at, (block, layer) in enumerate(zip(self.weights.blocks, cache.growing, strict=True)):
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
            if shared is None:
                attended = fused_attention(turned[:, :heads], keys, values, mask, scale)
            else:
                attended = shared(turned[:, :heads], keys, values, at, scale=scale)
            hidden = hidden + linear(attended.reshape(rows, count, -1), *block.output)
            x = self._normed(hidden, block.mlp_norm)
            hidden = hidden + linear(activate(linear(x, *block.gate)) * linear(x, *block.up), *block.down)
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
        cos, sin = self.weights.angles(torch.arange(positions, device=self.embeddings.device))
        half = self.head_dim // 2
        self.cos, self.sin = cos, torch.cat((-sin[:, :half], sin[:, half:]), -1)
