"""Top-H sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.stage import StatelessProcessor, check_number
from decodelab.kernels.codes import TOP_H
from decodelab.kernels.fused import Fused

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TopH(StatelessProcessor):
    """Keep the most probable tokens while their share of the entropy is at most h.

    Only the 100 most probable tokens are considered, and their distribution is normalised. In order of probability, a
    token stays while the running sum of -p log p is at most h times the sum over all candidates; the first always
    stays. Equal tokens are taken by lowest id. This is the distribution of the authors' code and of transformers; the
    authors describe it as a bound H(q) <= h H(p) on the entropy of the kept tokens renormalised, which keeps other
    sets. Sums are float64, so that h = 1 keeps exactly the candidates; transformers may lose the last to rounding.

    Raises:
        InvalidParameter: if h is not in (0, 1] or candidates is not an integer of at least 1.

    >>> TopH(0.7).apply(torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log(), None).isinf().tolist()
    [[False, False, True, True]]
    """

    h: Annotated[float, "share of the entropy to keep, in (0, 1]"]
    candidates: Annotated[int, "consider only this many of the most probable tokens, at least 1"] = 100

    name: ClassVar[str] = "top_h"
    source: ClassVar[str] = "Baghaei Potraghloo et al. 2025 (Top-H decoding), the authors' code"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "h", low=0.0, high=1.0, low_open=True, fix="try 0.4, the authors' value")
        check_number(self, "candidates", low=1, integer=True, fix="leave it out for 100, the authors' value")

    def fused(self, state: None) -> Fused:
        """How the compiled chain does the same."""
        return Fused(TOP_H, self.h, self.candidates)

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Remove the tail of float32 logits [rows, vocab]."""
        order = logits.argsort(dim=-1, descending=True, stable=True)[..., : self.candidates]
        probs = torch.softmax(logits.gather(-1, order), dim=-1, dtype=torch.float64)
        entropy = torch.special.entr(probs).cumsum(dim=-1)
        removed = entropy > self.h * entropy[..., -1:]
        removed[..., 0] = False
        return logits.masked_fill(torch.ones_like(logits, dtype=torch.bool).scatter_(-1, order, removed), -torch.inf)
