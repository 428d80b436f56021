"""Statistics of a traced text, with separate names for token perplexity and sequence perplexity."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

LABELS = {
    "mean_surprise_bits": "mean surprise per token (bits)",
    "median_surprise_bits": "median surprise per token (bits)",
    "std_surprise_bits": "std of the surprise (bits)",
    "mean_token_perplexity": "mean perplexity per token",
    "median_token_perplexity": "median perplexity per token",
    "std_token_perplexity": "std of the token perplexity",
    "sequence_perplexity": "perplexity of the sequence",
}
"""The label of each statistic, by field."""


@dataclass(frozen=True)
class Statistics:
    """Surprise and perplexity over the tokens of one text or several.

    A token of probability p has a surprise of -log2 p bits and a perplexity of 1/p. The perplexity of a sequence is
    2 to the mean surprise: the geometric mean of its tokens' perplexities, which the mean of them exceeds. Standard
    deviations are those of these very tokens (divided by their number). NaN without tokens.

    >>> Statistics.of([1.0, 3.0])
    Statistics(tokens=2, mean_surprise_bits=2.0, median_surprise_bits=2.0, std_surprise_bits=1.0,
               mean_token_perplexity=5.0, median_token_perplexity=5.0, std_token_perplexity=3.0,
               sequence_perplexity=4.0)
    """

    tokens: int
    mean_surprise_bits: float
    median_surprise_bits: float
    std_surprise_bits: float
    mean_token_perplexity: float
    median_token_perplexity: float
    std_token_perplexity: float
    sequence_perplexity: float

    @staticmethod
    def of(surprises_bits: Iterable[float]) -> Statistics:
        """The statistics of tokens of these surprises, in bits."""
        bits = list(surprises_bits)
        perplexities = [_two_to(b) for b in bits]
        of_bits = _three(bits)
        return Statistics(len(bits), *of_bits, *_three(perplexities), _two_to(of_bits[0]))

    def rows(self) -> list[tuple[str, str]]:
        """Each label with its value, for the eye."""
        return [(label, _short(getattr(self, field))) for field, label in LABELS.items()]

    def to_dict(self) -> dict[str, float]:
        """The statistics as JSON-ready data."""
        return dataclasses.asdict(self)


def _three(values: list[float]) -> tuple[float, float, float]:
    """Mean, median and standard deviation."""
    if not values:
        return math.nan, math.nan, math.nan
    # Perplexities may be as large as floats get: sums and products go to infinity, where fsum and ** would raise.
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) * (v - mean) for v in values) / len(values))
    return mean, median(values), spread


def _two_to(bits: float) -> float:
    """2^bits, infinite where that exceeds all floats."""
    try:
        return 2.0**bits
    except OverflowError:
        return math.inf


def _short(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if value < 1e5 else f"{value:.2e}"
