"""The last few tokens of each row, int64 [rows, count] with -1 where there is none: a state that is a plain tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from decodelab.core.values import Tokens

if TYPE_CHECKING:
    from torch import Tensor


def recent_tokens(texts: Sequence[Tokens], count: int) -> Tensor:
    """The last `count` tokens of each text, the last one at the end.

    >>> recent_tokens([(1, 2, 3), (4,)], 2)
    tensor([[ 2,  3],
            [-1,  4]])
    """
    recent = torch.full((len(texts), count), -1)
    for row, text in enumerate(texts):
        kept = text[max(0, len(text) - count) :]
        if kept:
            recent[row, -len(kept) :] = torch.tensor(kept)
    return recent


def followed_by(recent: Tensor, tokens: Tensor) -> Tensor:
    """The last tokens after one more, int64 [rows], in each row.

    >>> followed_by(torch.tensor([[1, 2]]), torch.tensor([3]))
    tensor([[2, 3]])
    """
    return torch.cat([recent, tokens[:, None]], dim=1)[:, 1:]
