"""Min-k sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.stage import StatelessProcessor, check_number

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MinK(StatelessProcessor):
    """Cut the sorted logits at their steepest relative drop.

    Sort the n logits still there (not -inf), the largest first, and let R be the largest minus the smallest. The cut
    comes after the rank i that has the largest (l_i - l_{i+1}) / (R i), the first of equal ones, so that drops near the
    top count more. At least floor(tau / R) tokens are kept, which matters for nearly flat logits alone; equal logits
    (R = 0) are all kept. So are all ties with the last one kept. Differences are float64.

    With tau = 0, temperature before this stage changes nothing about which tokens stay; floor(tau / R) does depend on
    it, so put `temperature` after this stage, as the paper does. The implementation proposed for vLLM adds 1e-8 to R,
    which can make floor(tau / R) one smaller where tau / R is a whole number.

    Raises:
        InvalidParameter: if tau is negative.

    >>> MinK().apply(torch.tensor([[9.0, 8.5, 3.0, 2.0, 0.0]]), None).tolist()  # drops / rank: 0.5, 2.75, 0.33, 0.5
    [[9.0, 8.5, -inf, -inf, -inf]]
    """

    tau: Annotated[float, "keeps at least tau / (largest - smallest logit) tokens, rounded down; 0 has no least"] = 3.0

    name: ClassVar[str] = "min_k"
    source: ClassVar[str] = "Ding et al. 2026 (Min-k sampling: decoupling truncation from temperature), algorithm 1"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "tau", low=0.0, fix="use 3.0 as the paper does")

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Remove the tail of float32 logits [rows, vocab]."""
        size = logits.shape[-1]
        ordered = logits.sort(dim=-1, descending=True).values.double()
        count = ordered.isfinite().sum(dim=-1, keepdim=True)
        spread = ordered[..., :1] - ordered.gather(-1, count - 1)
        rank = torch.arange(1, size + 1, device=logits.device)
        # R is the same at every rank, so it decides nothing about which drop is the largest.
        drops = (ordered - torch.cat([ordered[..., 1:], ordered[..., -1:]], dim=-1)) / rank
        cliff = drops.masked_fill(rank >= count, 0.0).argmax(dim=-1, keepdim=True) + 1
        least = (self.tau / spread).nan_to_num(nan=0.0).floor().clamp(max=size).long()
        cut = ordered.gather(-1, torch.maximum(cliff, torch.minimum(least, count)) - 1)
        return logits.masked_fill(logits < cut, -torch.inf)
