"""Networks whose head rates sequences, by the logits of its labels after the last token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from decodelab.core.protocols import PAD
from decodelab.core.values import Tokens

MOST_TOKENS = 16_384
"""Positions that are computed together, at most, unless one sequence alone has more."""


class Logits(NamedTuple):
    """Logits of labels, float64 [sequences, labels], and the positions and passes computed for them."""

    logits: Tensor
    tokens: int
    passes: int


class Head(NamedTuple):
    """A network with a head for labels, and its sizes.

    Attributes:
        rater: the network.
        labels: how many labels the head has.
        vocab_size: how many ids the network takes.
    """

    rater: Rater
    labels: int
    vocab_size: int


class Rater(Protocol):
    """Rates sequences."""

    def __call__(self, sequences: Sequence[Tokens], segments: Sequence[Tokens] | None) -> Logits:
        """The logits of the labels of each sequence, none of them empty.

        Args:
            sequences: token ids.
            segments: the segment of each token, for networks that tell the two texts of a pair apart.
        """
        ...


class _Row(NamedTuple):
    """A sequence that begins no other, and the lengths at which it is a sequence that was asked for."""

    tokens: Tokens
    ends: list[int]


class CausalRater:
    """A causal network: what sequences begin with is computed once, and a sequence that begins another on its way.

    Args:
        begin: computes what rows begin with, never empty: the logits after it [labels], and a cache.
        go_on: computes what follows it in rows, int64 [rows, k] with `PAD` after the shorter ones: the logits after
            each token, [rows, k, labels].
    """

    def __init__(self, begin: Callable[[Tokens], tuple[Tensor, Any]], go_on: Callable[[Any, Tensor], Tensor]) -> None:
        self._begin, self._go_on = begin, go_on

    @torch.inference_mode()
    def __call__(self, sequences: Sequence[Tokens], segments: Sequence[Tokens] | None) -> Logits:
        """The logits of the labels of each sequence, none of them empty; a causal network has no segments."""
        found: dict[Tokens, Tensor] = {}
        tokens = passes = 0
        for _, group in groupby(_rows(sequences), key=lambda row: row.tokens[0]):
            rows = list(group)
            shared = _common([row.tokens[: row.ends[0]] for row in rows])
            first, cache = self._begin(shared)
            found[shared] = first
            tokens, passes = tokens + len(shared), passes + 1
            for batch in batches([row for row in rows if len(row.tokens) > len(shared)], lambda row: len(row.tokens)):
                rests = [row.tokens[len(shared) :] for row in batch]
                longest = max(map(len, rests))
                padded = torch.tensor([[*rest, *[PAD] * (longest - len(rest))] for rest in rests])
                logits = self._go_on(cache, padded)
                for row, own in zip(batch, logits, strict=True):
                    found |= {row.tokens[:end]: own[end - len(shared) - 1] for end in row.ends if end > len(shared)}
                tokens, passes = tokens + padded.numel(), passes + 1
        return Logits(torch.stack([found[tuple(one)] for one in sequences]).cpu().double(), tokens, passes)


def _rows(sequences: Sequence[Tokens]) -> list[_Row]:
    """The sequences that begin no other, in order."""
    # In order, a sequence stands right before one that it begins, if there is any.
    different = sorted(set(map(tuple, sequences)))
    rows: list[_Row] = []
    ends: list[int] = []
    for one, following in zip(different, [*different[1:], ()], strict=True):
        ends.append(len(one))
        if following[: len(one)] != one:
            rows.append(_Row(one, ends))
            ends = []
    return rows


def _common(sequences: Sequence[Tokens]) -> Tokens:
    """What all sequences begin with."""
    least, most = min(sequences), max(sequences)
    return least[: next((i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), len(least))]


def batches(rows: Sequence[Any], length: Callable[[Any], int]) -> Iterator[Sequence[Any]]:
    """Rows of similar length, as many at once as are computed together."""
    ordered = sorted(rows, key=length)
    begin = 0
    for number, row in enumerate(ordered):
        if number > begin and length(row) * (number + 1 - begin) > MOST_TOKENS:
            yield ordered[begin:number]
            begin = number
    if ordered:
        yield ordered[begin:]
