"""Locally typical sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.stage import StatelessProcessor, check_number
from decodelab.kernels.codes import NOTHING, SAME_DISTANCE, TYPICAL_P
from decodelab.kernels.fused import Fused

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TypicalP(StatelessProcessor):
    """Keep the tokens whose surprise is nearest the entropy, until their mass reaches p.

    The most probable token can be removed, when it says less than expected. Tokens as far from the
    entropy as the last one kept (to 1e-10 nats) are kept too, as in transformers. (llama.cpp cuts among them.)
    Entropy and masses are float64; transformers has float32, in which the border moves by a few tokens of 150,000.

    Raises:
        InvalidParameter: if p is not in (0, 1].

    >>> TypicalP(0.2).apply(torch.tensor([[0.5, 0.3, 0.2]]).log(), None).isinf().tolist()
    [[True, False, True]]
    """

    p: Annotated[float, "mass to keep, in (0, 1]"]

    name: ClassVar[str] = "typical_p"
    source: ClassVar[str] = "Meister et al. 2023, Locally typical sampling, section 4, eq. 9"
    keeps_argmax: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "p", low=0.0, high=1.0, low_open=True, fix="use 1.0 to keep everything")

    def no_effect(self) -> str | None:
        """The whole mass is every token."""
        return "p = 1 keeps every token" if self.p == 1.0 else None

    def fused(self, state: None) -> Fused:
        """How the compiled chain does the same."""
        return Fused(NOTHING) if self.p == 1.0 else Fused(TYPICAL_P, self.p)

    def apply(self, logits: Tensor, state: None) -> Tensor:
        """Remove the untypical of float32 logits [rows, vocab]."""
        if self.p == 1.0:
            return logits
        logprobs = torch.log_softmax(logits, dim=-1, dtype=torch.float64)
        probs = logprobs.exp()
        entropy = torch.special.entr(probs).sum(dim=-1, keepdim=True)
        distance = (-logprobs - entropy).abs()
        ascending, order = distance.sort(dim=-1, stable=True)
        mass = probs.gather(-1, order).cumsum(-1)
        last = (mass < self.p).sum(dim=-1, keepdim=True).clamp_(max=logits.shape[-1] - 1)
        return logits.masked_fill(distance > ascending.gather(-1, last) + SAME_DISTANCE, -torch.inf)
