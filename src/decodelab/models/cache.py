"""The key/value cache of a decoder: written in place, gathered by row, with prefixes that rows share."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from decodelab.core.notices import PlainCacheWarning
from decodelab.core.protocols import Cache as ProtocolCache
from decodelab.models.growing_layer import ROOM, GrowingLayer
from decodelab.models.prefix import Bucket, Prefixes, SharedAttention, bucketed

ROOM_OF_FORKS = 8
"""The same for what rows hold beyond a shared prefix: there are many of them, and beams move every step anyway."""

SHARED_FROM = 2048
"""Positions that sharing a prefix must save to be worth it: attention in two parts takes more operations."""

_MOST_BLOCKS = 4
"""Blocks of prefixes before two are merged: each costs a few operations a layer in every step."""


@dataclass(frozen=True)
class Segment:
    """Keys and values of some consecutive tokens of a sequence, in memory of their own.

    Attributes:
        tensors: keys, then values of each layer, [heads, tokens, size].
    """

    tensors: tuple[Tensor, ...]

    def __len__(self) -> int:
        """Its tokens."""
        return self.tensors[0].shape[-2]

    @cached_property
    def prefixes(self) -> Prefixes:
        """It as prefixes that rows share, in the same memory; always the same object."""
        return Prefixes(tuple(t[None] for t in self.tensors[::2]), tuple(t[None] for t in self.tensors[1::2]), (0,))

    @property
    def nbytes(self) -> int:
        """Bytes of the memory behind its tensors, each piece once."""
        behind = {s.data_ptr(): s.nbytes() for s in (tensor.untyped_storage() for tensor in self.tensors)}
        return sum(behind.values())

    def split(self, at: int) -> tuple[Segment, Segment]:
        """Its first `at` tokens and the others, each in memory of its own."""
        head, tail = ([t.narrow(-2, a, n).clone() for t in self.tensors] for a, n in ((0, at), (at, len(self) - at)))
        return Segment(tuple(head)), Segment(tuple(tail))


class KeyValueCache:
    """The keys and values of a decoder's rows.

    The rows' own parts end at the same position: shorter ones are padded on the left. When rows are forked, what they
    hold becomes a block of shared prefixes (`blocks`), and their own parts start empty: a fork copies no prefix, and
    selecting, rewinding and joining rows moves only what they added since. Rows of different prompts with a common
    prefix are `headed`: that prefix is a block, the rest of the prompt is their own. Before such rows are forked, each
    gets a copy of its whole prompt.

    Keys are stored as the model rotated them at their absolute positions, so moving a row along the buffer
    changes nothing but its padding.

    Attributes:
        growing: the rows' own parts, layer by layer.
        pads: positions of padding before each row's own part.
        pad_tensor: the same as int64 [rows] on the model's device; None when no row is padded.
        blocks: the prefixes rows share; none at first.
        owners: for each row, the block and the sequence in it that is its prefix; empty without blocks.
        headed: whether blocks hold common prefixes of prompts whose rest is in the rows' own parts.
        unshared: why the model cannot attend to shared prefixes, so that forks copy (a warning at the first fork, if it
            is not empty); None when it can.
    """

    def __init__(
        self,
        growing: Sequence[GrowingLayer],
        pads: Sequence[int],
        device: torch.device,
        unshared: str | None = None,
    ):
        self.growing = list(growing)
        self.device = device
        self.unshared = unshared
        self.blocks: list[Prefixes] = []
        self.owners: list[tuple[int, int]] = []
        self.headed = False
        self._buckets: list[Bucket] | None = None
        self._set_pads(list(pads))

    def _set_pads(self, pads: list[int]) -> None:
        self.pads = pads
        self.pad_tensor = torch.tensor(pads, device=self.device) if any(pads) else None
        self.bases = [self.blocks[b].positions - self.blocks[b].pads[i] for b, i in self.owners]
        self.base_tensor = torch.tensor(self.bases, device=self.device) if self.bases else None
        self._buckets = None

    def _with(self, growing: Sequence[GrowingLayer]) -> Self:
        """A cache of the same kind, without rows yet, around these layers."""
        return type(self)(growing, [], self.device, self.unshared)

    # What a forward pass over `count` more tokens a row needs; None throughout when no row is padded.

    def positions(self, count: int) -> Tensor | None:
        """Positions of the next tokens in their own sequences, int64 [rows, count]."""
        if self.pad_tensor is None and self.base_tensor is None:
            return None
        index = torch.arange(self.length, self.length + count, device=self.device)[None]
        if self.pad_tensor is not None:
            index = (index - self.pad_tensor[:, None]).clamp(min=0)
        return index if self.base_tensor is None else index + self.base_tensor[:, None]

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

    def attention(self, count: int) -> SharedAttention | None:
        """Attention of the next pass over `count` tokens a row, where prefixes are shared."""
        if self.base_tensor is None:
            return None
        if self._buckets is None:
            self._buckets = bucketed(self.owners, [len(block.pads) for block in self.blocks], self.device)
        own = self.length + count
        longest = max(self.lengths) + count
        return SharedAttention(self.blocks, self._buckets, self.base_tensor, self.pad_tensor, own, count, longest)

    @torch.inference_mode()
    def segment(self, row: int, start: int, stop: int) -> Segment:
        """A copy of the keys and values of a row's tokens `start` to `stop`."""
        base = self.bases[row] if self.bases else 0
        parts: list[list[Tensor]] = []
        if start < base:
            block, sequence = self.owners[row]
            past = self.blocks[block]
            first, count = past.pads[sequence] + start, min(stop, base) - start
            shared = (t for pair in zip(past.keys, past.values, strict=True) for t in pair)
            parts.append([t[sequence].narrow(-2, first, count) for t in shared])
        if stop > base:
            first, count = self.pads[row] + max(start - base, 0), stop - max(start, base)
            own = (buffer for layer in self.growing for buffer in layer.buffers())
            parts.append([buffer[row].narrow(-2, first, count) for buffer in own])
        return Segment(tuple(torch.cat(tensors, -2) for tensors in zip(*parts, strict=True)))

    @torch.inference_mode()
    def fill(self, segments: Sequence[Sequence[Segment]], lengths: Sequence[int], room: int) -> None:
        """Copy the first `lengths` tokens of these segments into the rows of an empty cache, with room for more.

        A first segment that all rows have in common is shared instead, where that is worth it and the model can.
        """
        head, rows = segments[0][0], len(segments)
        saved = len(head) * (rows - 1)
        alike = len(head) <= min(lengths) and all(own[0] is head for own in segments)
        if self.unshared is None and saved >= SHARED_FROM and alike:
            self.blocks, self.owners, self.headed = [head.prefixes], [(0, 0)] * rows, True
            segments, lengths = [own[1:] for own in segments], [length - len(head) for length in lengths]
        width = max(lengths)
        for at, layer in enumerate(self.growing if width else ()):
            for kind, name in enumerate(("key_buffer", "value_buffer")):
                like = head.tensors[2 * at + kind]
                whole = like.new_zeros((rows, like.shape[0], width + max(room, layer.room), like.shape[-1]))
                for row, (past, length) in enumerate(zip(segments, lengths, strict=True)):
                    place = width - length
                    for segment in past:
                        part = segment.tensors[2 * at + kind].narrow(-2, 0, min(len(segment), width - place))
                        whole[row].narrow(-2, place, part.shape[-2]).copy_(part)
                        place += part.shape[-2]
                setattr(layer, name, whole)
            layer.length = width
        self._set_pads([width - length for length in lengths])

    # decodelab.core.protocols.Cache

    @property
    def length(self) -> int:
        """Positions of the rows' own buffers in use, padding included."""
        return self.growing[0].length

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens held for each row."""
        length = self.length
        if not self.bases:
            return [length - pad for pad in self.pads]
        return [base + length - pad for base, pad in zip(self.bases, self.pads, strict=True)]

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers, their room to grow included; what rows share counts once."""
        own = sum(b.nbytes for layer in self.growing for b in layer.buffers())
        return own + sum(block.nbytes for block in self.blocks)

    @torch.inference_mode()
    def select(self, rows: Tensor) -> Self:
        """The given rows (int64 [n]), in that order; padding common to all that remain is dropped."""
        index = rows.tolist()
        if index == list(range(len(self.pads))):
            return self
        if (self.headed or not self.blocks) and len(set(index)) < len(index):
            self._share()
        pads = [self.pads[i] for i in index]
        trim = min(pads, default=0)
        rows = rows.to(self.device)
        for layer in self.growing:
            for name in ("key_buffer", "value_buffer"):
                buffer = getattr(layer, name)
                if buffer is not None:
                    kept = buffer.narrow(-2, trim, min(buffer.shape[-2], layer.length + layer.room) - trim)
                    setattr(layer, name, kept.index_select(0, rows))
            layer.length -= trim
        if self.blocks:
            self.owners = [self.owners[i] for i in index]
            self._drop_unused()
        self._set_pads([pad - trim for pad in pads])
        return self

    @torch.inference_mode()
    def fork(self, rows: Tensor) -> Self:
        """An independent copy of the given rows (int64 [n]); prefixes they share are not copied."""
        if self.headed or not self.blocks:
            self._share()
        index = rows.tolist()
        trim = min(self.pads[i] for i in index)
        rows = rows.to(self.device)
        forked = self._with([layer.fork(rows, trim) for layer in self.growing])
        forked.blocks = list(self.blocks)
        forked.owners = [self.owners[i] for i in index] if self.blocks else []
        forked._drop_unused()
        forked._set_pads([self.pads[i] - trim for i in index])
        return forked

    @torch.inference_mode()
    def rewind(self, lengths: Sequence[int]) -> Self:
        """Forget the last tokens of each row so that `lengths` remain."""
        held = self.lengths
        if len(lengths) != len(held) or any(not 0 < n <= m for n, m in zip(lengths, held, strict=True)):
            raise ValueError(
                f"rewind: lengths must be in [1, tokens held] for each row, got {list(lengths)} for {held}"
            )
        if any(n < base for n, base in zip(lengths, self.bases, strict=False)):
            self._move_to_rows()
        own = [n - base for n, base in zip(lengths, self.bases, strict=True)] if self.bases else list(lengths)
        width = max(own, default=0)
        pads = [width - n for n in own]
        # How far the row starts from where it has to be once all rows end at `width`.
        shifts = [old - new for old, new in zip(self.pads, pads, strict=True)]
        if any(shifts) and width:
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
    def join(self, other: ProtocolCache) -> Self:
        """The rows of this cache followed by those of another of the same model."""
        assert isinstance(other, KeyValueCache)
        if bool(self.blocks) != bool(other.blocks) or self.headed != other.headed:
            # A row with a whole prompt in its own part would pad the rows whose prompt is shared.
            for cache in (self, other):
                if cache.headed or not cache.blocks:
                    cache._move_to_blocks()
        places: list[int] = []
        for block in other.blocks:  # rows forked from the same cache share blocks
            known = next((at for at, mine in enumerate(self.blocks) if mine is block), len(self.blocks))
            if known == len(self.blocks):
                self.blocks = [*self.blocks, block]
            places.append(known)
        self.owners = [*self.owners, *((places[block], i) for block, i in other.owners)]
        width = max(self.length, other.length)
        pads = [width - cache.length + pad for cache in (self, other) for pad in cache.pads]
        for mine, theirs in zip(self.growing, other.growing, strict=True):
            for name in ("key_buffer", "value_buffer"):
                rows = len(self.pads), len(other.pads)
                setattr(mine, name, self._joined(mine, theirs, name, width, rows) if width else None)
            mine.length = width
        if len(self.blocks) > _MOST_BLOCKS:
            self._merge_smallest()
        self._set_pads(pads)
        return self

    @staticmethod
    def _joined(mine: GrowingLayer, theirs: GrowingLayer, name: str, width: int, rows: tuple[int, int]) -> Tensor:
        """One buffer of the rows of two layers, all ending at `width`."""
        buffers = [getattr(layer, name) for layer in (mine, theirs)]
        like = next(buffer for buffer in buffers if buffer is not None)
        # Zeros, because whatever padding holds is multiplied by zero: it must be finite.
        joined = like.new_zeros((sum(rows), *like.shape[1:-2], width + mine.room, like.shape[-1]))
        row = 0
        for buffer, layer, count in zip(buffers, (mine, theirs), rows, strict=True):
            if layer.length:
                place = joined.narrow(0, row, count).narrow(-2, width - layer.length, layer.length)
                place.copy_(buffer.narrow(-2, 0, layer.length))
            row += count
        return joined

    def _share(self) -> None:
        """Turn what rows hold into shared prefixes before a fork, or warn that the model cannot share them."""
        if self.unshared is None:
            self._move_to_blocks()
        elif self.unshared:
            warnings.warn(self.unshared, PlainCacheWarning, stacklevel=3)

    def _move_to_blocks(self) -> None:
        """Turn what each row holds into a shared prefix; the rows' own parts are empty afterwards."""
        if self.headed:
            self._move_to_rows()
        held = [(layer.buffers(), layer.length) for layer in self.growing]
        keys, values = (tuple(buffers[i].narrow(-2, 0, n) for buffers, n in held) for i in (0, 1))
        self.blocks = [Prefixes(keys, values, tuple(self.pads))]
        self.owners = [(0, i) for i in range(len(self.pads))]
        for layer in self.growing:
            layer.key_buffer = layer.value_buffer = None
            layer.length = 0
            layer.room = ROOM_OF_FORKS
        self._set_pads([0] * len(self.pads))

    def _move_to_rows(self) -> None:
        """Copy each row's prefix into its own part; nothing is shared afterwards."""
        lengths = list(self.lengths)
        width = max(lengths)
        for at, layer in enumerate(self.growing):
            for name in ("key_buffer", "value_buffer"):
                own = getattr(layer, name)
                shared = [(b.keys if name == "key_buffer" else b.values)[at] for b in self.blocks]
                like = shared[0]
                whole = like.new_zeros((len(lengths), *like.shape[1:-2], width + ROOM, like.shape[-1]))
                for row, (block, sequence) in enumerate(self.owners):
                    base, mine = self.bases[row], self.length - self.pads[row]
                    start = width - lengths[row]
                    past = shared[block][sequence]
                    whole[row].narrow(-2, start, base).copy_(past.narrow(-2, past.shape[-2] - base, base))
                    if mine:
                        whole[row].narrow(-2, start + base, mine).copy_(own[row].narrow(-2, self.pads[row], mine))
                setattr(layer, name, whole)
        for layer in self.growing:
            layer.length = width
            layer.room = ROOM
        self.blocks, self.owners, self.headed = [], [], False
        self._set_pads([width - n for n in lengths])

    def _drop_unused(self) -> None:
        """Drop blocks that no row uses, and unused sequences once they are half of a block."""
        blocks: list[Prefixes] = []
        moved: dict[tuple[int, int], tuple[int, int]] = {}
        for at, block in enumerate(self.blocks):
            used = sorted({i for b, i in self.owners if b == at})
            if not used:
                continue
            kept = used if 2 * len(used) <= len(block.pads) else range(len(block.pads))
            blocks.append(block.select(used) if kept is used else block)
            moved |= {(at, i): (len(blocks) - 1, new) for new, i in enumerate(kept)}
        self.blocks = blocks
        self.headed = self.headed and bool(blocks)
        self.owners = [moved[owner] for owner in self.owners]

    def _merge_smallest(self) -> None:
        """Merge the two smallest blocks."""
        order = sorted(range(len(self.blocks)), key=lambda i: self.blocks[i].nbytes)
        one, two = sorted(order[:2])
        shift = len(self.blocks[one].pads)
        merged = Prefixes.merge([self.blocks[one], self.blocks[two]])
        rest = [i for i in range(len(self.blocks)) if i not in (one, two)]
        places = {**{i: (at, 0) for at, i in enumerate(rest)}, one: (len(rest), 0), two: (len(rest), shift)}
        self.blocks = [*(self.blocks[i] for i in rest), merged]
        self.owners = [(places[block][0], places[block][1] + i) for block, i in self.owners]
