"""Keys and values of one layer, in buffers with room to grow."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor

ROOM = 32
"""Positions of spare room a new buffer gets at least."""


class GrowingLayer:
    """Keys and values of one layer, [rows, heads, positions, size], in buffers with room to grow.

    `transformers.DynamicLayer` concatenates (and so copies) everything at every step; here a step writes its
    own positions, and a copy is made only when the buffer is full, half as large again each time. Layers with
    a sliding window are kept at full length too: the window is in the mask, and rewinding stays possible.
    """

    def __init__(self, room: int = ROOM) -> None:
        self.key_buffer: Tensor | None = None
        self.value_buffer: Tensor | None = None
        self.length = 0
        self.room = room

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append the states of new positions; returns those of all positions, as views."""
        if self.key_buffer is None or self.value_buffer is None:
            capacity = key_states.shape[-2] + self.room
            self.key_buffer, self.value_buffer = resized(key_states, capacity), resized(value_states, capacity)
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

    def fork(self, rows: Tensor, trim: int) -> Self:
        """An independent copy of the given rows (int64 [n]), without their first `trim` positions."""
        copy = type(self)(self.room)
        copy.length = self.length - trim
        if self.key_buffer is not None and self.value_buffer is not None:
            held = min(self.key_buffer.shape[-2], self.length + self.room) - trim
            copy.key_buffer = self.key_buffer.narrow(-2, trim, held).index_select(0, rows)
            copy.value_buffer = self.value_buffer.narrow(-2, trim, held).index_select(0, rows)
        return copy

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
