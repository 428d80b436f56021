"""Ancestral sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from decodelab.core.protocols import Advance, Ranked, Rows
from decodelab.core.stage import Kind, Stage, check_number
from decodelab.search.independent import IndependentRows


def inverse_cdf(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw a token a row by inverting the cumulative distribution over token ids.

    Args:
        logits: float32 [rows, vocab]; tokens of -inf are never drawn.
        uniform: float64 [rows] in (0, 1).

    Returns:
        int64 [rows]: the first token whose cumulative probability exceeds the number.

    >>> inverse_cdf(torch.tensor([[0.5, 0.0, 0.5]]).log(), torch.tensor([0.5], dtype=torch.float64))
    tensor([2])
    """
    cumulative = torch.softmax(logits, dim=-1, dtype=torch.float64).cumsum(-1)
    total = cumulative[:, -1]
    # Rounding may carry u * total up to total itself, which would fall off the end.
    target = torch.minimum(uniform * total, total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]


@dataclass(frozen=True)
class Sample(Stage):
    """Draw every token from the processed law, n independent continuations a prompt.

    Each draw depends only on (seed, prompt, sample index, position): sample 3 of 8 is the same text as
    sample 3 of 100, in any batch. transformers draws from one global generator, where all of this matters.

    Raises:
        InvalidParameter: if n is not an integer of at least 1.

    >>> str(Sample(n=8)), str(Sample())
    ('sample(n=8)', 'sample')
    """

    n: Annotated[int, "continuations a prompt, at least 1"] = 1

    name: ClassVar[str] = "sample"
    kind: ClassVar[Kind] = "search"
    source: ClassVar[str] = "ancestral sampling by inverse CDF, Philox keys (Salmon et al. 2011)"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "n", low=1, integer=True, fix="use n=1 for one continuation")

    @property
    def start_rows(self) -> int:
        """A row for each continuation."""
        return self.n

    @property
    def peak_rows(self) -> int:
        """A row for each continuation."""
        return self.n

    def init(self, jobs: int, samples: Tensor) -> IndependentRows:
        """A row for each continuation of each job."""
        return IndependentRows.start(samples)

    def step(self, logits: Tensor, state: IndependentRows, rows: Rows) -> tuple[Advance, IndependentRows]:
        """Append a drawn token to every row."""
        return state.advance(logits, inverse_cdf(logits, rows.keys.uniform(rows.positions)), rows)

    def finished(self, state: IndependentRows, job: int) -> list[Ranked]:
        """The continuations by sample index."""
        return state.finished(job)
