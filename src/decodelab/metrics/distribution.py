"""Statistics of next-token distributions: entropy, surprise, rank, removed mass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def entropy_bits(logits: Tensor) -> Tensor:
    """Shannon entropy of the distribution of logits [..., vocab] in bits, float64 [...]; tokens of -inf count nothing.

    >>> entropy_bits(torch.zeros(2, 8)).tolist()
    [3.0, 3.0]
    """
    return torch.special.entr(torch.softmax(logits, dim=-1, dtype=torch.float64)).sum(-1) / math.log(2)


def surprise_bits(logits: Tensor, tokens: Tensor) -> Tensor:
    """Surprise -log2 p of int64 tokens [...] under the distribution of logits [..., vocab], float64 [...].

    >>> round(surprise_bits(torch.tensor([0.5, 0.25, 0.25]).log(), torch.tensor(2)).item(), 6)
    2.0
    """
    chosen = logits.gather(-1, tokens[..., None])[..., 0].double()
    return (logits.double().logsumexp(-1) - chosen) / math.log(2)


def rank(logits: Tensor, tokens: Tensor) -> Tensor:
    """Rank of int64 tokens [...] among logits [..., vocab], 1 for the most probable; ties by lowest id.

    >>> rank(torch.tensor([0.5, 2.0, 0.5]), torch.tensor(2)).item()
    3
    """
    chosen = logits.gather(-1, tokens[..., None])
    ids = torch.arange(logits.shape[-1], device=logits.device)
    ahead = (logits > chosen) | ((logits == chosen) & (ids < tokens[..., None]))
    return 1 + ahead.sum(-1)


def kept(logits: Tensor) -> Tensor:
    """How many tokens of logits [..., vocab] can be drawn, int64 [...].

    >>> kept(torch.tensor([0.0, -torch.inf, 1.0])).item()
    2
    """
    return (logits > -torch.inf).sum(-1)


def mass_removed(before: Tensor, after: Tensor) -> Tensor:
    """Probability, under the distribution of `before`, of the tokens that `after` has removed: float64 [...].

    Both are logits [..., vocab]. Exactly 0 when nothing was removed.

    >>> round(mass_removed(torch.tensor([0.5, 0.25, 0.25]).log(), torch.tensor([0.0, 0.0, -torch.inf])).item(), 6)
    0.25
    """
    removed = after == -torch.inf
    return torch.softmax(before, dim=-1, dtype=torch.float64).masked_fill(~removed, 0.0).sum(-1)
