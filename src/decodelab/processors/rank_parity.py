"""Every other rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.stage import StatelessProcessor, check_choice

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RankParity(StatelessProcessor):
    """Keep the tokens of odd rank, or those of even rank.

    Rank 1 is the most probable token, equal tokens rank by lowest id, and every row has its own ranks. Removed tokens
    have no rank. A row with one token left keeps it, also where even ranks are asked for.

    Raises:
        InvalidParameter: if parity is neither "odd" nor "even".

    >>> RankParity("odd").apply(torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]]), None).tolist()
    [[3.0, 1.0, -inf], [0.0, 5.0, -inf]]
    """

    parity: Annotated[str, "odd keeps ranks 1, 3, 5, ..., even keeps ranks 2, 4, 6, ..."] = "odd"

    name: ClassVar[str] = "rank_parity"
    source: ClassVar[str] = "course exercise (OddSampling)"
    keeps_argmax: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_choice(self, "parity", ("odd", "even"), fix="odd keeps the most probable token, even removes it")

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Remove every other rank of float32 logits [rows, vocab]."""
        order = logits.argsort(dim=-1, descending=True, stable=True)
        is_even = (torch.arange(logits.shape[-1], device=logits.device) % 2 == 1).expand_as(order)
        removed = torch.empty_like(order, dtype=torch.bool).scatter_(-1, order, is_even)
        if self.parity == "even":
            removed = ~removed & (logits.isfinite().sum(dim=-1, keepdim=True) > 1)
        return logits.masked_fill(removed, -torch.inf)
