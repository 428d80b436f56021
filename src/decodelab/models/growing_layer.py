"""Keys and values of one layer, in buffers with room to grow."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import CacheLayerMixin

ROOM = 32
"""Positions of spare room a new buffer gets at least."""


class GrowingLayer(CacheLayerMixin):
    """Keys and values of one layer, [rows, heads, positions, size], in buffers with room to grow.

    `transformers.DynamicLayer` concatenates (and so copies) everything at every step; here a step writes its
    own positions, and a copy is made only when the buffer is full, half as large again each time. Layers with
    a sliding window are kept at full length too: the window is in the mask, and rewinding stays possible.
    """

    is_sliding = False

    def __init__(self, room: int = ROOM) -> None:
        super().__init__()
        self.key_buffer: Tensor | None = None
        self.value_buffer: Tensor | None = None
        self.length = 0
        self.room = room

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make empty buffers shaped for these states."""
        capacity = key_states.shape[-2] + self.room
        self.key_buffer = resized(key_states, capacity)
        self.value_buffer = resized(value_states, capacity)
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
            capacity = grown(end, self.room)
            self.key_buffer = copied(self.key_buffer, start, capacity)
            self.value_buffer = copied(self.value_buffer, start, capacity)
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


def grown(positions: int, room: int) -> int:
    """New capacity, in positions, of a buffer that must grow to hold this many, given the room of its kind."""
    return positions + max(room, positions // 2 if room == ROOM else positions // 8)


def resized(like: Tensor, positions: int) -> Tensor:
    """An empty buffer like another, of this many positions."""
    return like.new_empty((*like.shape[:-2], positions, like.shape[-1]))


def copied(buffer: Tensor, length: int, capacity: int) -> Tensor:
    """The first `length` positions of a buffer in a new one of this capacity."""
    copy = resized(buffer, capacity)
    copy.narrow(-2, 0, length).copy_(buffer.narrow(-2, 0, length))
    return copy
