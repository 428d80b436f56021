"""Nucleus (top-p) sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.capabilities import Need
from decodelab.core.stage import StatelessProcessor, check_number
from decodelab.kernels.codes import NOTHING, SAME_MASS, TOP_P
from decodelab.kernels.fused import Fused

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TopP(StatelessProcessor):
    """Keep the smallest set of most probable tokens whose mass reaches p.

    The token that crosses p is kept, so at least one always remains. Of equally probable tokens at the border those of
    lowest id are kept. transformers agrees except for such ties, which its unstable sort leaves open, and for
    masses: here they are float64, in float32 the border of a flat distribution over 150,000 tokens is off by a few
    tokens. A mass that rounding cannot tell from p reaches it: of 10 equal tokens 0.9 keeps 9.

    Raises:
        InvalidParameter: if p is not in (0, 1].

    >>> TopP(0.6).apply(torch.tensor([[0.5, 0.3, 0.2]]).log(), None).exp().round(decimals=3).tolist()
    [[0.5, 0.30000001192092896, 0.0]]
    """

    p: Annotated[float, "mass to keep, in (0, 1]"]

    name: ClassVar[str] = "top_p"
    needs: ClassVar[Need] = "text"
    source: ClassVar[str] = "Holtzman et al. 2020, section 3.1, eq. 2-3"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "p", low=0.0, high=1.0, low_open=True, fix="use 1.0 to keep everything")

    def no_effect(self) -> str | None:
        """The whole mass is every token."""
        return "p = 1 keeps every token" if self.p == 1.0 else None

    def fused(self, state: None) -> Fused:
        """How the compiled chain does the same."""
        return Fused(NOTHING) if self.p == 1.0 else Fused(TOP_P, self.p)

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Remove the tail of float32 logits [rows, vocab]."""
        if self.p == 1.0:
            return logits
        order = logits.argsort(dim=-1, descending=True, stable=True)
        probs = torch.softmax(logits.gather(-1, order), dim=-1, dtype=torch.float64)
        mass_before = probs.cumsum(-1) - probs
        enough = self.p * (1 - SAME_MASS)
        removed = torch.empty_like(order, dtype=torch.bool).scatter_(-1, order, mass_before >= enough)
        return logits.masked_fill(removed, -torch.inf)
