"""Epsilon sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.stage import StatelessProcessor, check_number
from decodelab.kernels.codes import EPSILON
from decodelab.kernels.fused import Fused

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EpsilonCutoff(StatelessProcessor):
    """Keep the tokens whose probability is at least epsilon.

    A token of exactly epsilon is kept. Where none reaches epsilon the most probable token is kept, and every token
    equal to it, as in transformers. Probabilities here are float64; transformers compares them in float32.

    Raises:
        InvalidParameter: if epsilon is not in (0, 1).

    >>> EpsilonCutoff(0.25).apply(torch.tensor([[0.5, 0.3, 0.2]]).log(), None).isinf().tolist()
    [[False, False, True]]
    """

    epsilon: Annotated[float, "smallest probability to keep, in (0, 1)"]

    name: ClassVar[str] = "epsilon_cutoff"
    source: ClassVar[str] = "Hewitt, Manning & Liang 2022 (Truncation sampling as language model desmoothing)"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(
            self,
            "epsilon",
            low=0.0,
            high=1.0,
            low_open=True,
            high_open=True,
            fix="leave epsilon_cutoff out to keep everything, try 3e-4 to 2e-3",
        )

    def fused(self, state: None) -> Fused:
        """How the compiled chain does the same."""
        return Fused(EPSILON, self.epsilon)

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Remove the improbable of float32 logits [rows, vocab]."""
        probs = torch.softmax(logits, dim=-1, dtype=torch.float64)
        below_best = logits < logits.amax(dim=-1, keepdim=True)
        return logits.masked_fill((probs < self.epsilon) & below_best, -torch.inf)
