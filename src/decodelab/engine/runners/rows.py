"""The rows that run, and which of them are computed: rows with identical tokens are computed once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from decodelab.core.protocols import Cache
from decodelab.engine.batch import Batch, is_identity

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class RunningRows:
    """The batches that run, and what the model computes for them.

    All strategies and samples of a prompt begin with the same row. It is computed once for those that choose the same
    tokens: greedy decoding and the first of some beams, say, or samples at a low temperature.

    Attributes:
        batches: in order; their rows are numbered from 0 across all of them.
        cache: of the computed rows.
        logits: after the last token of each computed row, [computed, vocab].
        computed: for each row of the batches, the computed row that stands for it, int64 [rows]; None: its own.
    """

    batches: list[Batch] = field(default_factory=list)
    cache: Cache | None = None
    logits: Tensor | None = None
    computed: Tensor | None = None

    def rows_of(self, rows: Tensor) -> Tensor:
        """Which computed rows stand for these rows of the batches."""
        return rows if self.computed is None else self.computed[rows]

    def logits_of(self, first: int, last: int) -> Tensor:
        """The logits of the rows `first` to `last` of the batches."""
        assert self.logits is not None
        if self.computed is None:
            return self.logits[first:last]
        rows = self.computed[first:last]
        start = int(rows[0])
        if is_identity(rows - start, last - first):
            return self.logits[start : start + last - first]
        return self.logits[rows.to(self.logits.device)]


def deduplicated(parents: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Continuations without repetitions.

    Args:
        parents: int64 [rows], the computed row that each continues.
        tokens: int64 [rows], the token it is continued with.

    Returns:
        Parents and tokens of the distinct continuations, in order of first occurrence, and for each row which of them
        is its own (None: all are distinct).

    >>> deduplicated(torch.tensor([1, 0, 1]), torch.tensor([7, 7, 7]))
    (tensor([1, 0]), tensor([7, 7]), tensor([0, 1, 0]))
    """
    pairs = parents * (int(tokens.max()) + 1) + tokens
    different, which = pairs.unique(return_inverse=True)
    if len(different) == len(pairs):
        return parents, tokens, None
    rows = torch.arange(len(pairs))
    first = rows.new_full((len(different),), len(pairs)).scatter_reduce(0, which, rows, "amin")
    kept, order = first.sort()
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    return parents[kept], tokens[kept], place[which]
