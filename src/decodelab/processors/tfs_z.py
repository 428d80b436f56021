"""Tail-free sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.stage import StatelessProcessor, check_number

if TYPE_CHECKING:
    from torch import Tensor

_STRAIGHT = 1e-6
"""A curve whose second differences sum to no more than this has no tail to find; they then count as equal."""


@dataclass(frozen=True)
class TailFree(StatelessProcessor):
    """Keep tokens until the share z of the curvature of the sorted probabilities is used up.

    Sort the n tokens still there (not -inf) by probability, equal ones by id. The absolute second differences |p_i - 2
    p_{i+1} + p_{i+2}|, i = 1..n-2, are divided by their sum (all equal if the sum is at most 1e-6). The token of rank i
    is removed, with all after it, at the first i > 1 whose running sum exceeds z. This was llama.cpp's distribution
    until it dropped the sampler; KoboldAI's cuts one rank later and always removes the last token. Sums are float64.

    Raises:
        InvalidParameter: if z is not in (0, 1].

    >>> TailFree(0.5).apply(torch.tensor([[0.5, 0.2, 0.15, 0.1, 0.05]]).log(), None).isinf().tolist()
    [[False, True, True, True, True]]
    """

    z: Annotated[float, "share of the curvature to keep, in (0, 1]"]

    name: ClassVar[str] = "tfs_z"
    source: ClassVar[str] = "Bricken 2019 (Tail free sampling)"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "z", low=0.0, high=1.0, low_open=True, fix="use 1.0 to keep everything, try 0.95")

    def no_effect(self) -> str | None:
        """The whole curvature is every token."""
        return "z = 1 keeps every token" if self.z == 1.0 else None

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Remove the tail of float32 logits [rows, vocab]."""
        size = logits.shape[-1]
        if self.z == 1.0 or size <= 2:
            return logits
        order = logits.argsort(dim=-1, descending=True, stable=True)
        probs = torch.softmax(logits.gather(-1, order), dim=-1, dtype=torch.float64)
        rank = torch.arange(size - 2, device=logits.device)
        count = logits.isfinite().sum(dim=-1, keepdim=True)
        counted = rank < count - 2
        curvature = probs.diff().diff().abs().masked_fill(~counted, 0.0)
        curvature = torch.where(curvature.sum(-1, keepdim=True) > _STRAIGHT, curvature, counted.double())
        running = curvature.cumsum(-1)
        past = (running > self.z * running[..., -1:]) & (rank > 0) & (count > 3)
        removed = torch.cat([past, past[..., -1:], past[..., -1:]], dim=-1)
        return logits.masked_fill(torch.empty_like(order, dtype=torch.bool).scatter_(-1, order, removed), -torch.inf)
