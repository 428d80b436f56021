"""The key/value cache of a decoder as the forward passes of transformers take it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DummyLayer

from decodelab.models.cache import KeyValueCache
from decodelab.models.growing_layer import ROOM, GrowingLayer


class TransformersLayer(GrowingLayer, CacheLayerMixin):
    """A `GrowingLayer` that answers what transformers asks of a layer."""

    is_sliding = False
    keys = values = None

    def __init__(self, room: int = ROOM) -> None:
        GrowingLayer.__init__(self, room)

    @property
    def is_initialized(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  (set by nobody)
        """Whether there are buffers."""
        return self.key_buffer is not None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """There is nothing to prepare: the first update makes the buffers."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys the next `query_length` tokens will meet."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Positions held."""
        return self.length

    def get_max_length(self) -> int:
        """-1: no maximum."""
        return -1


class TransformersCache(KeyValueCache, Cache):
    """A `KeyValueCache` that transformers takes for one of its own.

    Args:
        growing: the layers that keep keys and values.
        pads: as in `KeyValueCache`, and so are device and unshared.
        dummies: the places, among all layers, of those that keep nothing because they read another layer's.
    """

    layers: list[Any]

    def __init__(
        self,
        growing: Sequence[GrowingLayer],
        pads: Sequence[int],
        device: torch.device,
        unshared: str | None = None,
        dummies: Collection[int] = (),
    ):
        KeyValueCache.__init__(self, growing, pads, device, unshared)
        kept = iter(self.growing)
        count = len(self.growing) + len(dummies)
        layers: list[Any] = [DummyLayer() if at in dummies else next(kept) for at in range(count)]
        Cache.__init__(self, layers=layers)
        self._dummies = dummies
        self._no = [False] * count
        self._dummy = [at in dummies for at in range(count)]

    def _with(self, growing: Sequence[GrowingLayer]) -> Self:
        return type(self)(growing, [], self.device, self.unshared, self._dummies)

    # Overrides of what transformers asks at every step, which would walk over all layers.

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
        """Append the states of new positions to a layer; returns those of all positions the rows hold themselves."""
        return self.layers[layer_idx].update(key_states, value_states, *args, **kwargs)
