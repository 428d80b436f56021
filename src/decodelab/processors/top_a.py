"""Top-a sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.stage import StatelessProcessor, check_number
from decodelab.kernels.codes import TOP_A
from decodelab.kernels.fused import Fused

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TopA(StatelessProcessor):
    """Keep the tokens whose probability is at least a times the square of the largest probability.

    With u = p / max p and Z = 1 / max p the rule is u Z >= a, which is how it is computed, in float64: a
    token on the border is kept, and the most probable token always is.

    Raises:
        InvalidParameter: if a is not in (0, 1].

    >>> TopA(1.0).apply(torch.tensor([[0.5, 0.3, 0.2]]).log(), None).isinf().tolist()  # at least 0.25
    [[False, False, True]]
    """

    a: Annotated[float, "factor of the squared largest probability, in (0, 1]"]

    name: ClassVar[str] = "top_a"
    source: ClassVar[str] = "BlinkDL 2022 (RWKV-LM, The top-a sampling method)"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(
            self, "a", low=0.0, high=1.0, low_open=True, fix="leave top_a out to keep everything, try 0.1 to 0.3"
        )

    def fused(self, state: None) -> Fused:
        """How the compiled chain does the same."""
        return Fused(TOP_A, self.a)

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Remove the improbable of float32 logits [rows, vocab]."""
        ratio = (logits.double() - logits.amax(dim=-1, keepdim=True).double()).exp()
        return logits.masked_fill(ratio * ratio.sum(dim=-1, keepdim=True) < self.a, -torch.inf)
