"""Ancestral sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.capabilities import Need
from decodelab.core.protocols import Advance, Ranked, Rows
from decodelab.core.stage import Kind, Stage, check_choice, check_number
from decodelab.kernels.fused import draw, suits
from decodelab.search._independent import IndependentRows

if TYPE_CHECKING:
    from torch import Tensor


def inverse_cdf(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw a token per row by inverting the cumulative distribution over token ids.

    Args:
        logits: float32 [rows, vocab]; tokens of -inf are never drawn.
        uniform: float64 [rows] in (0, 1).

    Returns:
        int64 [rows]: the first token whose cumulative probability exceeds the number.

    >>> inverse_cdf(torch.tensor([[0.5, 0.0, 0.5]]).log(), torch.tensor([0.5], dtype=torch.float64))
    tensor([2])
    """
    if suits(logits):
        return draw(logits, uniform)
    cumulative = torch.softmax(logits, dim=-1, dtype=torch.float64).cumsum(-1)
    total = cumulative[:, -1]
    # Rounding may carry u * total up to total itself, which would fall off the end.
    target = torch.minimum(uniform * total, total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]


def gumbel_max(logits: Tensor, noise: Tensor) -> Tensor:
    """Draw a token a row as the largest of logit plus Gumbel noise, whose distribution is the softmax of the logits.

    Args:
        logits: float32 [rows, vocab]; tokens of -inf are never drawn.
        noise: float64 [rows, vocab], standard Gumbel.

    Returns:
        int64 [rows].

    >>> gumbel_max(torch.tensor([[0.0, 1.0, -torch.inf]]), torch.tensor([[0.5, 0.1, 9.0]]).double())
    tensor([1])
    """
    return (logits.double() + noise).argmax(dim=-1)


@dataclass(frozen=True)
class Sample(Stage):
    """Draw every token from the processed distribution: n independent continuations per prompt.

    Each draw depends only on (seed, prompt, sample index, position): sample 3 of 8 is the same text as
    sample 3 of 100, in any batch. transformers draws from one global generator, where all of this matters.

    `draw="gumbel"` takes the largest of logit plus Gumbel noise instead of inverting the cumulative distribution: the
    same distribution, but a number for each token where the other needs one for all (at 150,000 tokens some 100 times
    slower). With shared noise, a change of the logits of tokens that were not drawn then seldom changes the draw.

    Raises:
        InvalidParameter: if n is not an integer of at least 1, or draw is not one of those named.

    >>> str(Sample(n=8)), str(Sample())
    ('sample(n=8)', 'sample')
    """

    n: Annotated[int, "continuations per prompt, at least 1"] = 1
    draw: Annotated[str, "how to draw a token: inverse_cdf, or gumbel (argmax of logits plus Gumbel noise)"] = (
        "inverse_cdf"
    )

    name: ClassVar[str] = "sample"
    kind: ClassVar[Kind] = "search"
    needs: ClassVar[Need] = "text"
    independent_rows: ClassVar[bool] = True
    samples_by_index: ClassVar[bool] = True
    source: ClassVar[str] = "ancestral sampling; Philox keys (Salmon et al. 2011); Gumbel-max (Gumbel 1954)"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "n", low=1, integer=True, fix="use n=1 for one continuation")
        check_choice(self, "draw", ("inverse_cdf", "gumbel"), fix="leave it out for inverse_cdf, which is faster")

    @property
    def start_rows(self) -> int:
        """A row for each continuation."""
        return self.n

    peak_rows = start_rows

    def init(self, jobs: int, samples: Tensor) -> IndependentRows:
        """A row for each continuation of each job."""
        return IndependentRows.start(samples)

    def step(self, logits: Tensor, state: IndependentRows, rows: Rows) -> tuple[Advance, IndependentRows]:
        """Append a drawn token to every row."""
        if self.draw == "gumbel":
            tokens = gumbel_max(logits, rows.keys.gumbel(rows.positions, logits.shape[-1]))
        else:
            tokens = inverse_cdf(logits, rows.keys.uniform(rows.positions))
        return state.advance(logits, tokens, rows)

    def finished(self, state: IndependentRows, job: int) -> list[Ranked]:
        """The continuations by sample index."""
        return state.finished(job)
