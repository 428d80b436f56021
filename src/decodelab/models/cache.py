"""The key/value cache of a transformers model, written in place and gathered by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DummyLayer

from decodelab.core.protocols import Cache as ProtocolCache

_ROOM = 32
"""Positions of spare room a new buffer gets at least."""


class GrowingLayer(CacheLayerMixin):
    """Keys and values of one layer, [rows, heads, positions, size], in buffers with room to grow.

    `transformers.DynamicLayer` concatenates (and so copies) everything at every step; here a step writes its
    own positions, and a copy is made only when the buffer is full, half as large again each time. Layers with
    a sliding window are kept at full length too: the window is in the mask, and rewinding stays possible.
    """

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.key_buffer: Tensor | None = None
        self.value_buffer: Tensor | None = None
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make empty buffers shaped for these states."""
        capacity = key_states.shape[-2] + _ROOM
        self.key_buffer = _resized(key_states, capacity)
        self.value_buffer = _resized(value_states, capacity)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append the states of new positions; returns those of all positions, as views."""
        if self.key_buffer is None or self.value_buffer is None:
            self.lazy_initialization(key_states, value_states)
            assert self.key_buffer is not None
            assert self.value_buffer is not None
        start, count = self.length, key_states.shape[-2]
        end = start + count
        if end > self.key_buffer.shape[-2]:
            capacity = end + max(_ROOM, end // 2)
            self.key_buffer = _grown(self.key_buffer, start, capacity)
            self.value_buffer = _grown(self.value_buffer, start, capacity)
        self.key_buffer.narrow(-2, start, count).copy_(key_states)
        self.value_buffer.narrow(-2, start, count).copy_(value_states)
        self.length = end
        return self.key_buffer.narrow(-2, 0, end), self.value_buffer.narrow(-2, 0, end)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys the next `query_length` tokens will meet."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Positions held."""
        return self.length

    def get_max_length(self) -> int:
        """-1: no maximum."""
        return -1

    def buffers(self) -> list[Tensor]:
        """The key and the value buffer; none before the first update."""
        return [b for b in (self.key_buffer, self.value_buffer) if b is not None]


def _resized(like: Tensor, positions: int) -> Tensor:
    return like.new_empty((*like.shape[:-2], positions, like.shape[-1]))


def _grown(buffer: Tensor, length: int, capacity: int) -> Tensor:
    grown = _resized(buffer, capacity)
    grown.narrow(-2, 0, length).copy_(buffer.narrow(-2, 0, length))
    return grown


class KeyValueCache(Cache):
    """The cache of a transformers model's rows, which end together: shorter ones are padded on the left.

    Keys are stored as the model rotated them at their absolute positions, so moving a row along the buffer
    changes nothing but its padding.

    Attributes:
        pads: positions of padding before each row.
        pad_tensor: the same as int64 [rows] on the model's device; None when no row is padded.
    """

    layers: list[Any]

    def __init__(self, layers: Sequence[GrowingLayer | DummyLayer], pads: Sequence[int], device: torch.device):
        super().__init__(layers=list(layers))
        self.device = device
        self.growing = [layer for layer in layers if isinstance(layer, GrowingLayer)]
        self._no = [False] * len(layers)
        self._dummy = [isinstance(layer, DummyLayer) for layer in layers]
        self._set_pads(list(pads))

    def _set_pads(self, pads: list[int]) -> None:
        self.pads = pads
        self.pad_tensor = torch.tensor(pads, device=self.device) if any(pads) else None

    # What transformers asks at every step, without its walk over all layers.

    @property
    def is_sliding(self) -> list[bool]:
        """Which layers drop old positions: none."""
        return self._no

    @property
    def is_linear(self) -> list[bool]:
        """Which layers are recurrent: none."""
        return self._no

    @property
    def is_dummy(self) -> list[bool]:
        """Which layers hold nothing because they read another layer's keys and values."""
        return self._dummy

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        """Append the states of new positions to a layer; returns those of all positions."""
        return self.layers[layer_idx].update(key_states, value_states, *args, **kwargs)

    # What a forward pass over `count` more tokens a row needs; None throughout when no row is padded.

    def positions(self, count: int) -> Tensor | None:
        """Positions of the next tokens in their own sequences, int64 [rows, count]."""
        if self.pad_tensor is None:
            return None
        index = torch.arange(self.length, self.length + count, device=self.device)
        return (index - self.pad_tensor[:, None]).clamp(min=0)

    def padding(self, count: int) -> Tensor | None:
        """Which positions hold tokens once these are appended, bool [rows, positions]."""
        if self.pad_tensor is None:
            return None
        return torch.arange(self.length + count, device=self.device) >= self.pad_tensor[:, None]

    def mask(self, count: int) -> Tensor | None:
        """Which positions the next tokens see, bool [rows or 1, 1, count, positions].

        None also stands for what fused attention does by itself: one token that sees all, or all from the start.
        """
        padding = self.padding(count)
        if count == 1:
            return None if padding is None else padding[:, None, None, :]
        if padding is None and self.length == 0:
            return None
        index = torch.arange(self.length + count, device=self.device)
        causal = (index <= index[self.length :, None])[None, None]
        return causal if padding is None else causal & padding[:, None, None, :]

    # decodelab.core.protocols.Cache

    @property
    def length(self) -> int:
        """Positions of the buffers in use, padding included."""
        return self.growing[0].length

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens held for each row."""
        length = self.length
        return [length - pad for pad in self.pads]

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers, their room to grow included."""
        return len(self.growing) * sum(b.nbytes for b in self.growing[0].buffers())

    @torch.inference_mode()
    def select(self, rows: Tensor) -> KeyValueCache:
        """The given rows (int64 [n]), in that order; padding common to all that remain is dropped."""
        index = rows.tolist()
        if index == list(range(len(self.pads))):
            return self
        pads = [self.pads[i] for i in index]
        trim = min(pads, default=0)
        rows = rows.to(self.device)
        for layer in self.growing:
            for name in ("key_buffer", "value_buffer"):
                buffer = getattr(layer, name)
                kept = buffer.narrow(-2, trim, min(buffer.shape[-2], layer.length + _ROOM) - trim)
                setattr(layer, name, kept.index_select(0, rows))
            layer.length -= trim
        self._set_pads([pad - trim for pad in pads])
        return self

    @torch.inference_mode()
    def rewind(self, lengths: Sequence[int]) -> KeyValueCache:
        """Forget the last tokens of each row so that `lengths` remain."""
        held = self.lengths
        if len(lengths) != len(held) or any(not 0 < n <= m for n, m in zip(lengths, held, strict=True)):
            raise ValueError(
                f"rewind: lengths must be in [1, tokens held] for each row, got {list(lengths)} for {held}"
            )
        width = max(lengths, default=0)
        pads = [width - n for n in lengths]
        # How far the row starts from where it has to be once all rows end at `width`.
        shifts = [old - new for old, new in zip(self.pads, pads, strict=True)]
        if any(shifts):
            source = torch.arange(width)[None, :] + torch.tensor(shifts)[:, None]
            source = source.clamp(min=0).to(self.device)[:, None, :, None]
            for layer in self.growing:
                for buffer in layer.buffers():
                    moved = torch.take_along_dim(buffer, source, dim=-2)
                    buffer.narrow(-2, 0, width).copy_(moved)
        for layer in self.growing:
            layer.length = width
        self._set_pads(pads)
        return self

    @torch.inference_mode()
    def join(self, other: ProtocolCache) -> KeyValueCache:
        """The rows of this cache followed by those of another of the same model."""
        assert isinstance(other, KeyValueCache)
        width = max(self.length, other.length)
        capacity = width + _ROOM
        pads = [width - n for cache in (self, other) for n in cache.lengths]
        for mine, theirs in zip(self.growing, other.growing, strict=True):
            for name in ("key_buffer", "value_buffer"):
                parts = [(getattr(layer, name), layer.length) for layer in (mine, theirs)]
                rows = sum(part.shape[0] for part, _ in parts)
                first = parts[0][0]
                # Zeros, because whatever padding holds is multiplied by zero: it must be finite.
                joined = first.new_zeros((rows, *first.shape[1:-2], capacity, first.shape[-1]))
                row = 0
                for part, length in parts:
                    place = joined.narrow(0, row, part.shape[0]).narrow(-2, width - length, length)
                    place.copy_(part.narrow(-2, 0, length))
                    row += part.shape[0]
                setattr(mine, name, joined)
            mine.length = width
        self._set_pads(pads)
        return self
