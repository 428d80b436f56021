"""An estimate: a number with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty.

    Attributes:
        value: the estimate.
        low: lower end of the confidence interval; NaN where there is none.
        high: its upper end.
        standard_error: standard deviation of the estimate over repetitions of the study; NaN where it is unknown.
        n: items it rests on.
        clusters: independent groups these items come from (n when items are independent).
        level: the share of studies whose interval holds the truth.

    >>> print(Estimate(0.5, 0.4, 0.6, 0.05, n=100, clusters=100))
    0.500 [0.400, 0.600]
    """

    value: float
    low: float
    high: float
    standard_error: float
    n: int
    clusters: int
    level: float = 0.95

    def __str__(self) -> str:
        """The value with its interval, to three decimals."""
        if math.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def to_dict(self) -> dict[str, Any]:
        """The estimate as JSON-ready data."""
        return asdict(self)
