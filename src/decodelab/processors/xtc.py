"""Exclude top choices (XTC)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.key import PROCESSOR, Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import TokenProcessor, check_number
from decodelab.core.values import Tokens
from decodelab.kernels.codes import EXCLUDE_TOP
from decodelab.kernels.fused import Fused

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Coins:
    """The coins of several rows: their keys, and which toss comes next (int64 [rows])."""

    keys: Keys
    position: Tensor

    def __getitem__(self, rows: Tensor) -> Coins:
        """The coins of the given rows."""
        return Coins(self.keys[rows], self.position[rows])

    def join(self, other: Coins) -> Coins:
        """The rows of this state followed by those of another."""
        return Coins(Keys.join([self.keys, other.keys]), torch.cat([self.position, other.position]))


@dataclass(frozen=True)
class XTC(TokenProcessor):
    """With some probability, remove all tokens that reach the threshold except the least probable.

    A coin is tossed for each row at each step; its toss depends on seed, prompt, sample index and position alone, so
    two xtc stages in one chain share it. A token of exactly the threshold counts; of equal tokens that of highest id
    ranks as the less probable, so exactly one of those that reach the threshold stays. Removed tokens do not
    count. llama.cpp's rule, except for ties, which its unstable sort leaves open; it reads probability 0
    and a threshold above 0.5 as "off", which follows from the distribution.

    Raises:
        InvalidParameter: if probability or threshold is not in [0, 1].

    >>> state = Coins(Keys.of(seed=0, prompt=[1], samples=[0]), torch.tensor([0]))
    >>> XTC(1.0, threshold=0.15).apply(torch.tensor([[0.5, 0.3, 0.2]]).log(), state).isinf().tolist()
    [[True, True, False]]
    """

    probability: Annotated[float, "how often top choices are removed, in [0, 1]"]
    threshold: Annotated[float, "smallest probability of a top choice, in [0, 1]; has no effect above 0.5"] = 0.1

    name: ClassVar[str] = "xtc"
    uses_randomness: ClassVar[bool] = True
    source: ClassVar[str] = "p-e-w 2024 (Exclude Top Choices, text-generation-webui pull request 6335)"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "probability", low=0.0, high=1.0, fix="try 0.5; leave xtc out to exclude nothing")
        check_number(self, "threshold", low=0.0, high=1.0, fix="try 0.1; above 0.5 nothing is excluded")

    def no_effect(self) -> str | None:
        """A coin that never falls, or a threshold that two tokens cannot reach."""
        if self.probability == 0.0:
            return "probability 0 excludes nothing"
        return "two tokens cannot both reach a threshold above 0.5" if self.threshold > 0.5 else None

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Coins:
        """The rows' coins, before the first toss."""
        return Coins(keys, torch.zeros_like(keys.sample))

    def fused(self, state: Coins) -> Fused:
        """How the compiled chain does the same."""
        falls = self._falls(state)
        threshold = torch.full(falls.shape, self.threshold, dtype=torch.float64, device=falls.device)
        return Fused(EXCLUDE_TOP, threshold.masked_fill(~falls, torch.nan))

    def apply(self, logits: Tensor, state: Coins) -> Tensor:
        """Remove the top choices of float32 logits [rows, vocab] in the rows whose coin falls."""
        falls = self._falls(state).to(logits.device)
        return torch.where(falls[:, None], self._excluded(logits), logits)

    def outcomes(self, logits: Tensor, state: Coins) -> list[tuple[float, Tensor]]:
        """The logits where the coin falls and where it does not, each with its probability."""
        return [(self.probability, self._excluded(logits)), (1 - self.probability, logits)]

    def update(self, state: Coins, logits: Tensor, tokens: Tensor) -> Coins:
        """The coins before the next toss."""
        return Coins(state.keys, state.position + 1)

    def observe(self, logits: Tensor, state: Coins) -> dict[str, Tensor]:
        """Whether the coin of each row falls in this step, bool [rows]."""
        return {"excludes": self._falls(state)}

    def _falls(self, state: Coins) -> Tensor:
        return state.keys.uniform(state.position, PROCESSOR) < self.probability

    def _excluded(self, logits: Tensor) -> Tensor:
        """The logits without the top choices."""
        order = logits.argsort(dim=-1, descending=True, stable=True)
        probs = torch.softmax(logits.gather(-1, order), dim=-1, dtype=torch.float64)
        reach = (probs >= self.threshold).sum(dim=-1, keepdim=True)
        reach = torch.minimum(reach, logits.isfinite().sum(dim=-1, keepdim=True))
        excluded = torch.arange(logits.shape[-1], device=logits.device) < reach - 1
        removed = torch.empty_like(order, dtype=torch.bool).scatter_(-1, order, excluded)
        return logits.masked_fill(removed, -torch.inf)
