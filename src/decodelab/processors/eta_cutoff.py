"""Eta sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.stage import StatelessProcessor, check_number
from decodelab.kernels.codes import ETA
from decodelab.kernels.fused import Fused

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EtaCutoff(StatelessProcessor):
    """Keep the tokens whose probability is at least eta = min(epsilon, sqrt(epsilon) exp(-entropy)).

    The entropy is that of the distribution it is given, in nats: a flat distribution lowers the cut-off. A token of
    exactly eta is kept. Where none reaches eta the most probable token is kept, and every token equal to it, as in
    transformers. Probabilities and entropy here are float64; transformers has float32.

    Raises:
        InvalidParameter: if epsilon is not in (0, 1).

    >>> EtaCutoff(0.3).apply(torch.tensor([[0.5, 0.3, 0.2]]).log(), None).isinf().tolist()  # eta = 0.196
    [[False, False, False]]
    >>> EtaCutoff(0.3).apply(torch.tensor([[0.75, 0.2, 0.05]]).log(), None).isinf().tolist()  # eta = 0.275
    [[False, True, True]]
    """

    epsilon: Annotated[float, "largest cut-off, and its square root times exp(-entropy) the other, in (0, 1)"]

    name: ClassVar[str] = "eta_cutoff"
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
            fix="leave eta_cutoff out to keep everything, try 3e-4 to 4e-3",
        )

    def fused(self, state: None) -> Fused:
        """How the compiled chain does the same."""
        return Fused(ETA, self.epsilon)

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Remove the improbable of float32 logits [rows, vocab]."""
        probs = torch.softmax(logits, dim=-1, dtype=torch.float64)
        entropy = torch.special.entr(probs).sum(dim=-1, keepdim=True)
        eta = (math.sqrt(self.epsilon) * (-entropy).exp()).clamp(max=self.epsilon)
        below_best = logits < logits.amax(dim=-1, keepdim=True)
        return logits.masked_fill((probs < eta) & below_best, -torch.inf)
