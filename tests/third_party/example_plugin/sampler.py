"""A sampler: tokens at least as probable as under the uniform distribution."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from decodelab.core.stage import StatelessProcessor, check_number


@dataclass(frozen=True)
class AboveUniform(StatelessProcessor):
    """Keep the tokens whose probability is at least `factor` / vocabulary size.

    Raises:
        InvalidParameter: if factor is not in [0, 1].
    """

    factor: Annotated[float, "multiple of 1 / vocabulary size that a token must reach, in [0, 1]"] = 1.0

    name: ClassVar[str] = "above_uniform"
    source: ClassVar[str] = "docs/extending.md"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "factor", low=0.0, high=1.0, fix="use 1.0 for the uniform probability")

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Remove the improbable tokens of float32 logits [rows, vocab]."""
        least = self.factor / logits.shape[-1] * (1 - 1e-6)  # rounding must not remove tokens of a uniform distribution
        return logits.masked_fill(logits.softmax(-1) < least, -math.inf)
