"""The cache of an encoder-decoder model: what its decoder wrote, row by row, and what it reads, prompt by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, EncoderDecoderCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from decodelab.core.protocols import Cache as ProtocolCache
from decodelab.models.prefix import Bucket, Prefixes, bucketed
from decodelab.models.transformers_cache import TransformersCache


class CrossLayer(CacheLayerMixin):
    """Keys and values of the prompts in one layer of the decoder, [prompts, heads, positions, size], computed once."""

    is_sliding = False

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """There is nothing to prepare."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Take what a layer made of the encoder's output."""
        self.keys, self.values = key_states, value_states
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that every query meets."""
        return self.get_seq_length(), 0

    def get_seq_length(self) -> int:
        """Positions held."""
        return 0 if self.keys is None else self.keys.shape[-2]

    def get_max_length(self) -> int:
        """-1: no maximum."""
        return -1


class DecoderCache:
    """The rows of an encoder-decoder model.

    A prompt's keys and values are held once, whatever the number of rows (samples, beams) that read them; what a row
    wrote is its own. The length of a row counts its prompt and its new tokens, not what the decoder began with.

    Attributes:
        own: what the decoder wrote, what it began with included.
        layers: what its layers read, prompt by prompt, padded on the left.
        pads: positions of padding before each prompt.
        owners: for each row its prompt.
        begun: how many tokens the decoder began with.
        pair: both as the forward pass of transformers takes them.
    """

    def __init__(
        self,
        own: TransformersCache,
        layers: Sequence[CrossLayer],
        pads: Sequence[int],
        owners: Sequence[int],
        begun: int,
    ) -> None:
        self.own = own
        self.layers: list[Any] = list(layers)
        self.pads = list(pads)
        self.owners = list(owners)
        self.begun = begun
        self.pair = EncoderDecoderCache(own, Cache(layers=self.layers))
        self._buckets: list[Bucket] | None = None

    @property
    def _prompts(self) -> Prefixes:
        keys, values = ([getattr(layer, name) for layer in self.layers] for name in ("keys", "values"))
        return Prefixes(tuple(keys), tuple(values), tuple(self.pads))

    @_prompts.setter
    def _prompts(self, prompts: Prefixes) -> None:
        for layer, keys, values in zip(self.layers, prompts.keys, prompts.values, strict=True):
            layer.update(keys, values)
        self.pads = list(prompts.pads)

    def attention(self, count: int) -> CrossAttention:
        """Attention of the next pass over `count` tokens a row."""
        if self._buckets is None:
            owners = [(0, prompt) for prompt in self.owners]
            self._buckets = bucketed(owners, [len(self.pads)], self.own.device)
        return CrossAttention(self.layers, self.pads, self._buckets, self.own.mask(count))

    # decodelab.core.protocols.Cache

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens held for each row: its prompt and its new ones."""
        width = self.layers[0].get_seq_length()
        held = zip(self.own.lengths, self.owners, strict=True)
        return [width - self.pads[prompt] + own - self.begun for own, prompt in held]

    @property
    def nbytes(self) -> int:
        """Bytes held; a prompt that rows share counts once."""
        return self.own.nbytes + self._prompts.nbytes

    @torch.inference_mode()
    def select(self, rows: Tensor) -> DecoderCache:
        """The given rows (int64 [n]), in that order; prompts are dropped once half of them are unused."""
        self.own = self.own.select(rows)
        self._own([self.owners[i] for i in rows.tolist()])
        return self

    def _own(self, owners: list[int]) -> None:
        """Give the rows these prompts."""
        self._buckets = None
        used = sorted(set(owners))
        if used and 2 * len(used) <= len(self.pads):
            self._prompts = self._prompts.select(used)
            owners = [used.index(prompt) for prompt in owners]
        self.owners = owners

    @torch.inference_mode()
    def fork(self, rows: Tensor) -> DecoderCache:
        """An independent copy of the given rows (int64 [n]); prompts are not copied."""
        layers = [CrossLayer() for _ in self.layers]
        for mine, copy in zip(self.layers, layers, strict=True):
            assert mine.keys is not None
            assert mine.values is not None
            copy.update(mine.keys, mine.values)
        forked = DecoderCache(self.own.fork(rows), layers, self.pads, [], self.begun)
        forked._own([self.owners[i] for i in rows.tolist()])
        return forked

    @torch.inference_mode()
    def rewind(self, lengths: Sequence[int]) -> DecoderCache:
        """Forget the last new tokens of each row so that `lengths` remain."""
        held, mine = self.lengths, self.own.lengths
        own = [written - (had - n) for n, had, written in zip(lengths, held, mine, strict=False)]
        if len(lengths) != len(held) or any(not self.begun <= n <= most for n, most in zip(own, mine, strict=True)):
            raise ValueError(
                f"rewind: lengths must be between a row's prompt and the tokens held, got {list(lengths)} for {held}"
            )
        self.own = self.own.rewind(own)
        return self

    @torch.inference_mode()
    def join(self, other: ProtocolCache) -> DecoderCache:
        """The rows of this cache followed by those of another of the same model."""
        assert isinstance(other, DecoderCache)
        first = len(self.pads)
        self._prompts = Prefixes.merge([self._prompts, other._prompts])
        self.own = self.own.join(other.own)
        self._own([*self.owners, *(first + prompt for prompt in other.owners)])
        return self


class CrossAttention:
    """Attention of one pass of a decoder: to what its rows wrote, and to the prompts they share.

    The queries of all rows of a prompt meet its keys in one product, see `decodelab.models.prefix`.

    Args:
        layers: what the layers read.
        pads: positions of padding before each prompt.
        buckets: which rows read which prompts.
        mask: which of its own positions each query sees, as `KeyValueCache.mask`.
    """

    def __init__(
        self, layers: Sequence[CrossLayer], pads: Sequence[int], buckets: Sequence[Bucket], mask: Tensor | None
    ) -> None:
        self.layers = layers
        self.pads = pads
        self.buckets = buckets
        self.mask = mask

    def __call__(
        self,
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float | None = None,
        position_bias: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """What a layer's attention gives, [rows, count, heads, size]; keys tell what it attends to."""
        if key is self.layers[module.layer_idx].keys:
            return self._read(query, key, value, scaling)
        return sdpa_attention_forward(
            module, query, key, value, self.mask, scaling=scaling, position_bias=position_bias
        )[0]

    def _read(self, queries: Tensor, keys: Tensor, values: Tensor, scale: float | None) -> Tensor:
        """Attend with queries [rows, heads, count, size] to keys and values [prompts, heads, positions, size]."""
        rows, heads, count, size = queries.shape
        scaled = queries * (size**-0.5 if scale is None else scale)
        out = queries.new_empty(rows, heads, count, values.shape[-1])
        for bucket in self.buckets:
            some = slice(bucket.first, bucket.first + bucket.count)
            mine = scaled if bucket.rows is None else scaled[bucket.rows]
            places = (bucket.count, bucket.width, heads, count)
            mine = mine.view(*places, size).transpose(1, 2).reshape(bucket.count, heads, -1, size)
            scores = mine @ keys[some].mT
            if any(self.pads[some]):
                pads = torch.tensor(self.pads[some], device=keys.device)[:, None, None, None]
                padding = torch.arange(keys.shape[-2], device=keys.device) < pads
                scores = scores.masked_fill(padding, -torch.inf)
            seen = scores.softmax(-1, dtype=torch.float32).to(values.dtype) @ values[some]
            seen = seen.view(bucket.count, heads, bucket.width, count, -1).transpose(1, 2).flatten(0, 1)
            if bucket.rows is None:
                out = seen
            elif bucket.taken is None:
                out[bucket.rows] = seen
            else:
                out[bucket.rows[bucket.taken]] = seen[bucket.taken]
        return out.transpose(1, 2)
