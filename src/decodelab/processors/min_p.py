"""Min-p sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.stage import StatelessProcessor, check_number
from decodelab.kernels.codes import MIN_P
from decodelab.kernels.fused import Fused

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MinP(StatelessProcessor):
    """Keep the tokens at least p times as probable as the most probable one.

    The cut-off is relative to the largest probability, so it is a constant distance log p below the largest
    logit and needs no softmax. (A published package compares probabilities with p itself; that is
    epsilon sampling.)

    Raises:
        InvalidParameter: if p is not in (0, 1].

    >>> MinP(0.5).apply(torch.tensor([[0.5, 0.3, 0.2]]).log(), None).isinf().tolist()
    [[False, False, True]]
    """

    p: Annotated[float, "smallest probability to keep, relative to the largest, in (0, 1]"]

    name: ClassVar[str] = "min_p"
    source: ClassVar[str] = "Nguyen et al. 2025 (Turning up the heat), section 3"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(
            self, "p", low=0.0, high=1.0, low_open=True, fix="leave min_p out to keep everything, try 0.05 to 0.1"
        )

    def fused(self, state: None) -> Fused:
        """How the compiled chain does the same."""
        return Fused(MIN_P, self.p)

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Remove the improbable of float32 logits [rows, vocab]."""
        cutoff = logits.amax(dim=-1, keepdim=True) + math.log(self.p)
        return logits.masked_fill(logits < cutoff, -torch.inf)
