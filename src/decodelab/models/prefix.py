"""Prefixes that several rows share, and attention over them.

Rows of one prompt (samples, beams) have its keys and values in common. `Prefixes` holds them once; each row keeps only
what it added since, and attends to both parts under one softmax. One matrix product multiplies the queries of all rows
of a prompt with its keys, which are then read once and not once a row: in a batch of many continuations of few prompts,
that reading takes most of the time.

Source: Juravsky et al., "Hydragen: High-Throughput LLM Inference with Shared Prefixes" (2024), section 3. They run two
attention kernels and merge their outputs by the log-sum-exps; here the scores of both parts lie side by side and one
softmax normalises them, which is the same number, and stays defined where a window leaves nothing of one part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_PRODUCT = 8
"""The cost of one more matrix product, in rows of an existing one."""


@dataclass(frozen=True)
class Prefixes:
    """Keys and values of sequences that rows have in common, padded on the left to one length.

    Attributes:
        keys: [sequences, heads, positions, size] for each layer.
        values: the same for the values.
        pads: positions of padding before each sequence.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    pads: tuple[int, ...]

    @property
    def positions(self) -> int:
        """Positions of the buffers, padding included."""
        return self.keys[0].shape[-2]

    @cached_property
    def nbytes(self) -> int:
        """Bytes held, spare room in the memory behind the buffers included."""
        return sum(t.untyped_storage().nbytes() for t in (*self.keys, *self.values))

    def select(self, sequences: Sequence[int]) -> Prefixes:
        """A copy of the given sequences, without padding that all of them have."""
        trim = min(self.pads[i] for i in sequences)
        index = torch.tensor(sequences, device=self.keys[0].device)

        def kept(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(t.narrow(-2, trim, t.shape[-2] - trim).index_select(0, index) for t in tensors)

        return Prefixes(kept(self.keys), kept(self.values), tuple(self.pads[i] - trim for i in sequences))

    @staticmethod
    def merge(parts: Sequence[Prefixes]) -> Prefixes:
        """The sequences of several, one after the other."""
        width = max(part.positions for part in parts)

        def joined(layers: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
            return tuple(torch.cat([_padded(t, width) for t in tensors]) for tensors in zip(*layers, strict=True))

        pads = tuple(width - part.positions + pad for part in parts for pad in part.pads)
        return Prefixes(joined([p.keys for p in parts]), joined([p.values for p in parts]), pads)


def _padded(tensor: Tensor, width: int) -> Tensor:
    """Zeros before the positions; finite, because padding is multiplied by weights of zero."""
    return torch.nn.functional.pad(tensor, (0, 0, width - tensor.shape[-2], 0))


@dataclass(frozen=True)
class Bucket:
    """Sequences that are attended to in one matrix product, each with the same number of places for rows.

    Attributes:
        block: which of the cache's `Prefixes`.
        first: its first sequence in the bucket.
        count: how many follow.
        width: places for rows at each sequence.
        rows: int64 [places], the row in each place (any row where `taken` is false); None: row i in place i, for all.
        taken: bool [places]; None: all.
    """

    block: int
    first: int
    count: int
    width: int
    rows: Tensor | None = None
    taken: Tensor | None = None


def bucketed(owners: Sequence[tuple[int, int]], sizes: Sequence[int], device: torch.device) -> list[Bucket]:
    """Divide rows into groups with little padding.

    Args:
        owners: for each row its block and the sequence in it.
        sizes: sequences of each block.
        device: where the indices are needed.
    """
    buckets: list[Bucket] = []
    for block, size in enumerate(sizes):
        rows: list[list[int]] = [[] for _ in range(size)]
        for row, (b, sequence) in enumerate(owners):
            if b == block:
                rows[sequence].append(row)
        # Sequences with more rows than `width` get a product of their own.
        counts = [len(r) for r in rows]
        width = min(
            {0, *counts}, key=lambda w: size * w + _PRODUCT * (w > 0) + sum(c + _PRODUCT for c in counts if c > w)
        )
        parts = [(i, 1, counts[i]) for i in range(size) if counts[i] > width]
        if width:
            parts.insert(0, (0, size, width))
        for first, count, wide in parts:
            places = [
                row[place] if place < len(row) <= wide else -1
                for row in rows[first : first + count]
                for place in range(wide)
            ]
            index = torch.tensor(places, device=device)
            if places == list(range(len(owners))):
                buckets.append(Bucket(block, first, count, wide))
            else:
                taken = None if min(places) >= 0 else index >= 0
                buckets.append(Bucket(block, first, count, wide, index.clamp(min=0), taken))
    return buckets


class SharedAttention:
    """Attention of one forward pass: its rows see their prefixes and what they added since.

    Args:
        blocks: the prefixes.
        buckets: which rows attend to which, see `bucketed`.
        bases: tokens of each row's prefix, int64 [rows].
        pads: padding before each row's own positions, int64 [rows]; None when there is none.
        own: positions of the rows' own part, those of this pass included.
        count: tokens a row in this pass.
        longest: tokens of the longest row, those of this pass included.
    """

    def __init__(
        self,
        blocks: Sequence[Prefixes],
        buckets: Sequence[Bucket],
        bases: Tensor,
        pads: Tensor | None,
        own: int,
        count: int,
        longest: int,
    ) -> None:
        self.blocks = blocks
        self.buckets = buckets
        self.bases = bases
        self.pads = pads
        self.own = own
        self.count = count
        self.longest = longest
        self.masks: dict[tuple[int, int | None], Tensor | None] = {}

    def __call__(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        layer: int,
        *,
        scale: float | None = None,
        window: int | None = None,
        softcap: float | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """Attend with queries [rows, heads, count, size] to a layer's prefixes and own keys and values.

        Args:
            queries: as they were rotated, not scaled.
            keys: the rows' own part, [rows, key heads, own, size].
            values: the same for the values.
            layer: which of the layers that keep keys and values.
            scale: factor of the scores; size^-0.5 by default.
            window: how many positions back a query sees, itself included; None: all.
            softcap: scores become softcap * tanh(score / softcap).
            sinks: one more score for each head whose weight is dropped, [heads].

        Returns:
            [rows, count, heads, value size].
        """
        rows, heads, count, size = queries.shape
        kinds = keys.shape[1]
        share = heads // kinds * count
        if window is not None and window >= self.longest:
            window = None
        scaled = (queries * (size**-0.5 if scale is None else scale)).reshape(rows, kinds, share, size)
        own = _capped(scaled @ keys.mT, softcap)
        mask = self._mask(-1, window)
        if mask is not None:
            own = (own.view(rows, kinds, -1, count, self.own) + mask).view_as(own)
        sink = None
        if sinks is not None:
            sink = sinks.view(kinds, -1, 1).expand(-1, -1, count).reshape(1, kinds, 1, share, 1)

        weights = torch.empty_like(own)
        out: Tensor | None = None
        for at, bucket in enumerate(self.buckets):
            block = self.blocks[bucket.block]
            prefix_keys = block.keys[layer].narrow(0, bucket.first, bucket.count)
            prefix_values = block.values[layer].narrow(0, bucket.first, bucket.count)
            # [sequences, key heads, places, queries of a key head, ...]
            place = (bucket.count, bucket.width, kinds, share)
            mine = scaled if bucket.rows is None else scaled[bucket.rows]
            mine = mine.view(*place, size).transpose(1, 2).reshape(bucket.count, kinds, -1, size)
            scores = _capped(mine @ prefix_keys.mT, softcap).view(bucket.count, kinds, bucket.width, share, -1)
            mask = self._mask(at, window)
            if mask is not None:
                wide = scores.view(*scores.shape[:3], -1, count, scores.shape[-1])
                scores = (wide + mask).view_as(scores)
            parts = [scores, (own if bucket.rows is None else own[bucket.rows]).view(*place, -1).transpose(1, 2)]
            if sink is not None:
                parts.append(sink.expand(bucket.count, -1, bucket.width, -1, -1).to(scores.dtype))
            both = torch.cat(parts, -1).softmax(-1, dtype=torch.float32).to(values.dtype)
            length = scores.shape[-1]
            seen = both[..., :length].reshape(bucket.count, kinds, -1, length) @ prefix_values
            seen = seen.view(bucket.count, kinds, bucket.width, share, -1).transpose(1, 2).flatten(0, 1)
            rest = both[..., length : length + self.own].transpose(1, 2).flatten(0, 1)
            if bucket.rows is None:
                out, weights = seen, rest
                break
            index = bucket.rows
            if bucket.taken is not None:
                index, seen, rest = index[bucket.taken], seen[bucket.taken], rest[bucket.taken]
            if out is None:
                out = seen.new_empty(rows, *seen.shape[1:])
            out[index] = seen
            weights[index] = rest
        assert out is not None
        out = out + weights @ values
        return out.reshape(rows, heads, count, -1).transpose(1, 2)

    def _mask(self, bucket: int, window: int | None) -> Tensor | None:
        """What is added to the scores of a bucket's prefixes, or (-1) of the rows' own part; None: nothing."""
        key = (bucket, window)
        if key not in self.masks:
            seen = self._seen_own(window) if bucket < 0 else self._seen(self.buckets[bucket], window)
            self.masks[key] = None if seen is None else torch.where(seen, 0.0, -torch.inf)
        return self.masks[key]

    def _seen_own(self, window: int | None) -> Tensor | None:
        """Which own positions each query sees, bool [rows or 1, 1, 1, count, own]."""
        if self.count == 1 and self.pads is None and window is None:
            return None
        index = torch.arange(self.own, device=self.bases.device)
        back = index[-self.count :, None] - index
        seen = (back >= 0)[None]
        if window is not None:
            seen = seen & (back < window)
        if self.pads is not None:
            seen = seen & (index >= self.pads[:, None, None])
        return seen[:, None, None]

    def _seen(self, bucket: Bucket, window: int | None) -> Tensor | None:
        """Which positions of its prefix each query sees, bool [sequences, 1, places or 1, 1, count or 1, positions]."""
        block = self.blocks[bucket.block]
        pads = block.pads[bucket.first : bucket.first + bucket.count]
        if window is None and not any(pads):
            return None
        device = self.bases.device
        place = torch.arange(block.positions, device=device) - torch.tensor(pads, device=device)[:, None]
        seen = (place >= 0)[:, None, None, None, None]
        if window is None:
            return seen
        last = self.bases + self.own - 1 - (0 if self.pads is None else self.pads)
        queries = last[:, None] + torch.arange(1 - self.count, 1, device=device)
        if bucket.rows is not None:
            queries = queries[bucket.rows]
        queries = queries.view(bucket.count, 1, bucket.width, 1, self.count, 1)
        return seen & (queries - place[:, None, None, None, None] < window)


def _capped(scores: Tensor, softcap: float | None) -> Tensor:
    return scores if softcap is None else torch.tanh(scores / softcap) * softcap
