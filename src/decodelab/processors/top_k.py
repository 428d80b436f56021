"""Top-k sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.stage import StatelessProcessor, check_number
from decodelab.kernels.codes import TOP_K
from decodelab.kernels.fused import Fused

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TopK(StatelessProcessor):
    """Keep the k most probable tokens.

    The cut-off is the k-th largest logit: tokens equal to it are all kept, as in transformers, so more than k
    remain only when there is a tie at the k-th place. A k of at least the vocabulary keeps everything.

    Raises:
        InvalidParameter: if k is not an integer of at least 1 (elsewhere 0 means "off": leave the stage out).

    >>> TopK(2).apply(torch.tensor([[3.0, 1.0, 2.0]]), None).tolist()
    [[3.0, -inf, 2.0]]
    """

    k: Annotated[int, "how many tokens to keep, at least 1"]

    name: ClassVar[str] = "top_k"
    source: ClassVar[str] = "Fan, Lewis & Dauphin 2018, section 5.1"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "k", low=1, integer=True, fix="leave top_k out to keep every token")

    def fused(self, state: None) -> Fused:
        """How the compiled chain does the same."""
        return Fused(TOP_K, self.k)

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Remove all but the k largest of float32 logits [rows, vocab]."""
        if self.k >= logits.shape[-1]:
            return logits
        cutoff = logits.topk(self.k, dim=-1).values[..., -1:]
        return logits.masked_fill(logits < cutoff, -torch.inf)
