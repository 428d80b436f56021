"""P-less sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from decodelab.core.stage import StatelessProcessor
from decodelab.kernels.codes import P_LESS
from decodelab.kernels.fused import Fused

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PLess(StatelessProcessor):
    """Keep the tokens at least as probable as the sum of squared probabilities; has no parameters.

    That sum is the probability that two draws agree. It never exceeds the largest probability, so the most probable
    token always stays; a flat distribution keeps everything. With u = p / max p the rule is u sum(u) >= sum(u^2), which
    is how it is computed, in float64: on a flat distribution both sides are equal to the last bit. (llama.cpp's
    proposed p-less lowers the cut-off by 1e-5 to the same end, which keeps tokens that the paper removes.)

    >>> PLess().apply(torch.tensor([[0.5, 0.4, 0.1]]).log(), None).isinf().tolist()  # at least 0.42
    [[False, True, True]]
    """

    name: ClassVar[str] = "p_less"
    source: ClassVar[str] = "Tan, Wu & Howard 2025 (p-less sampling)"

    def fused(self, state: None) -> Fused:
        """How the compiled chain does the same."""
        return Fused(P_LESS)

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Remove the improbable of float32 logits [rows, vocab]."""
        ratio = (logits.double() - logits.amax(dim=-1, keepdim=True).double()).exp()
        total, squares = ratio.sum(dim=-1, keepdim=True), ratio.square().sum(dim=-1, keepdim=True)
        # Rounded sums may put the border a hair above the largest of many equal tokens.
        below_best = logits < logits.amax(dim=-1, keepdim=True)
        return logits.masked_fill((ratio * total < squares) & below_best, -torch.inf)
