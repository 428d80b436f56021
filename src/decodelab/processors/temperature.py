"""Temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.capabilities import Need
from decodelab.core.float32 import FLOAT32_MAX, FLOAT32_TINY
from decodelab.core.stage import StatelessProcessor, check_number
from decodelab.kernels.codes import HUGE, NOTHING, TEMPERATURE
from decodelab.kernels.fused import Fused

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Temperature(StatelessProcessor):
    """Divide the logits by a temperature; 0 keeps only the most probable token.

    The distribution is p_i^(1/T) / sum_j p_j^(1/T). Each row is shifted so that its largest logit is 0 before
    dividing, and a finite logit stays finite, so no temperature overflows. At 0 the limit is taken exactly: the most
    probable token (of equal ones that of lowest id) gets probability 1. transformers refuses 0; llama.cpp does the same
    as we.

    Raises:
        InvalidParameter: if the temperature is negative or not a finite number.

    >>> Temperature(0.5).apply(torch.tensor([[3.0, 1.0, 0.5]]), None).tolist()
    [[0.0, -4.0, -5.0]]
    """

    temperature: Annotated[float, "at least 0; below 1 sharpens, above 1 flattens, 0 is greedy"]

    name: ClassVar[str] = "temperature"
    needs: ClassVar[Need] = "text"
    source: ClassVar[str] = "Ackley, Hinton & Sejnowski 1985, eq. 5"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "temperature", low=0.0, fix="use 0 for greedy, 1.0 to change nothing")

    def no_effect(self) -> str | None:
        """Temperature 1 is the identity."""
        return "temperature 1 changes nothing" if self.temperature == 1.0 else None

    def fused(self, state: None) -> Fused:
        """How the compiled chain does the same."""
        return Fused(NOTHING) if self.temperature == 1.0 else Fused(TEMPERATURE, self.temperature)

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Scale float32 logits [rows, vocab]."""
        if self.temperature == 1.0:
            return logits
        if self.temperature == 0.0:
            kept = logits.argmax(dim=-1, keepdim=True)
            return torch.full_like(logits, -torch.inf).scatter_(-1, kept, 0.0)
        top = logits.amax(dim=-1, keepdim=True)
        if not FLOAT32_TINY <= self.temperature <= FLOAT32_MAX:
            # As a float32 this temperature is 0 or infinite, and 0 / 0 and inf / inf are NaN.
            return kept_finite(self._wide(logits, top), logits)
        scaled = (logits - top) / self.temperature
        if self.temperature > 1.0 and bool((top >= HUGE).any()):
            scaled = torch.where(top >= HUGE, self._wide(logits, top), scaled)
        return kept_finite(scaled, logits)

    def _wide(self, logits: Tensor, top: Tensor) -> Tensor:
        """The same in float64."""
        return ((logits.double() - top.double()) / self.temperature).float()


def kept_finite(scaled: Tensor, logits: Tensor) -> Tensor:
    """Scaled float32 logits [rows, vocab], of which only those are -inf that were so before.

    >>> kept_finite(torch.tensor([[0.0, -torch.inf]]), torch.tensor([[3e38, -3e38]])).isfinite().tolist()
    [[True, True]]
    """
    if not len(scaled) or bool(scaled.amin() > -torch.inf):
        return scaled
    return scaled.clamp(min=-FLOAT32_MAX).masked_fill(logits.isneginf(), -torch.inf)
