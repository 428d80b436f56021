"""Dynamic temperature."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.stage import StatelessProcessor, check_number
from decodelab.kernels.codes import DYNAMIC_TEMPERATURE
from decodelab.kernels.fused import Fused
from decodelab.processors.temperature import Temperature, kept_finite

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DynamicTemperature(StatelessProcessor):
    """Divide the logits by a temperature that grows with the entropy of the distribution.

    With H the entropy and H_max = log n that of a flat distribution over the n tokens still there (not -inf), the
    temperature is

        low + (high - low) (H / H_max)^exponent,  low = max(0, temperature - range), high = temperature + range.

    A sure distribution is sharpened, an unsure one flattened; at temperature 0 only the most probable token stays (of
    equal ones that of lowest id). The distribution is llama.cpp's (`--dynatemp-range`, `--dynatemp-exp`), in float64.

    Raises:
        InvalidParameter: if range, exponent or temperature is negative or not a finite number.

    >>> stage = DynamicTemperature(0.5)
    >>> stage.observe(torch.tensor([[0.0, 0.0], [9.0, 0.0]]), None)["temperature"].round(decimals=3).tolist()
    [1.5, 0.502]
    """

    range: Annotated[float, "largest deviation of the temperature to either side, at least 0"]
    exponent: Annotated[
        float, "exponent of the relative entropy, at least 0; above 1 keeps the temperature low for longer"
    ] = 1.0
    temperature: Annotated[float, "middle of the range, at least 0"] = 1.0

    name: ClassVar[str] = "dynamic_temperature"
    source: ClassVar[str] = "kalomaze 2024 (Dynamic temperature; llama.cpp pull request 4972)"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "range", low=0.0, fix="use 0 for one fixed temperature")
        check_number(self, "exponent", low=0.0, fix="use 1.0 for a linear rise")
        check_number(self, "temperature", low=0.0, fix="use 1.0 for a range around 1")

    def no_effect(self) -> str | None:
        """A fixed temperature of 1 is the identity."""
        return "range 0 around temperature 1 changes nothing" if (self.range, self.temperature) == (0.0, 1.0) else None

    def fused(self, state: None) -> Fused:
        """How the compiled chain does the same."""
        if self.range == 0.0:
            return Temperature(self.temperature).fused(None)
        return Fused(DYNAMIC_TEMPERATURE, self.range, self.exponent, self.temperature)

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Scale float32 logits [rows, vocab], each row by its own temperature."""
        if self.range == 0.0:
            return Temperature(self.temperature).apply(logits, None)
        temperature = self.observe(logits, state)["temperature"][..., None]
        below = logits.double() - logits.amax(dim=-1, keepdim=True).double()
        scaled = kept_finite((below / temperature.clamp(min=torch.finfo(torch.float64).tiny)).float(), logits)
        greedy = torch.full_like(logits, -torch.inf).scatter_(-1, logits.argmax(dim=-1, keepdim=True), 0.0)
        return torch.where(temperature > 0, scaled, greedy)

    def observe(self, logits: Tensor, state: None) -> dict[str, Tensor]:
        """The temperature of each row, float64 [rows]."""
        entropy = torch.special.entr(torch.softmax(logits, dim=-1, dtype=torch.float64)).sum(dim=-1)
        # A single token has no entropy to compare with: 0 / log 1 counts as sure.
        largest = logits.isfinite().sum(dim=-1).clamp(min=2).double().log()
        low = max(0.0, self.temperature - self.range)
        high = min(self.temperature + self.range, sys.float_info.max)
        return {"temperature": low + (high - low) * (entropy / largest).clamp(max=1.0) ** self.exponent}
