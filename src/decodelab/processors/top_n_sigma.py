"""Top-n-sigma sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.stage import StatelessProcessor, check_number
from decodelab.kernels.codes import TOP_N_SIGMA
from decodelab.kernels.fused import Fused

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TopNSigma(StatelessProcessor):
    """Keep the tokens whose logit is at most n standard deviations below the largest.

    The standard deviation is that of the logits themselves, so temperature before this stage changes nothing about
    which tokens stay. It is taken over the tokens still there (not -inf) and divides by their number, as in
    llama.cpp; the authors' code divides by one less, and gives NaN once a token is removed. A token on the border
    is kept. llama.cpp reads n = 0 as "off"; here that is refused. Moments are float64.

    Raises:
        InvalidParameter: if n is not greater than 0.

    >>> TopNSigma(1.0).apply(torch.tensor([[4.0, 3.0, 1.0, 0.0]]), None).tolist()  # sigma = 1.58
    [[4.0, 3.0, -inf, -inf]]
    """

    n: Annotated[float, "how many standard deviations below the largest logit to keep, greater than 0"]

    name: ClassVar[str] = "top_n_sigma"
    source: ClassVar[str] = "Tang et al. 2024 (Top-n-sigma: eliminating noise in logit space)"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "n", low=0.0, low_open=True, fix="leave top_n_sigma out to keep everything, try 1.0")

    def fused(self, state: None) -> Fused:
        """How the compiled chain does the same."""
        return Fused(TOP_N_SIGMA, self.n)

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Remove the tail of float32 logits [rows, vocab]."""
        kept = logits.isfinite()
        count = kept.sum(dim=-1, keepdim=True)
        # Measured from the largest logit, equal logits have a deviation of exactly 0.
        below = logits.amax(dim=-1, keepdim=True).double() - logits.double()
        mean = below.masked_fill(~kept, 0.0).sum(dim=-1, keepdim=True) / count
        variance = (below - mean).masked_fill(~kept, 0.0).square().sum(dim=-1, keepdim=True) / count
        return logits.masked_fill(below > self.n * variance.sqrt(), -torch.inf)
