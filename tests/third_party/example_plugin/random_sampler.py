"""A sampler that tosses a coin for each token."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from decodelab.core.key import PROCESSOR, Keys
from decodelab.core.stage import TokenProcessor, check_number


@dataclass(frozen=True)
class Coins:
    """The coins of each row, and how many tokens it has: int64 [rows]."""

    keys: Keys
    position: Tensor

    def __getitem__(self, rows: Tensor) -> "Coins":
        return Coins(self.keys[rows], self.position[rows])


@dataclass(frozen=True)
class DropBest(TokenProcessor):
    """With some probability, remove the most probable token if there is another."""

    probability: Annotated[float, "how often it is removed, in [0, 1]"] = 0.5

    name: ClassVar[str] = "drop_best"
    source: ClassVar[str] = "docs/extending.md"
    uses_randomness: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "probability", low=0.0, high=1.0, fix="try 0.5")

    def init(self, prompts, vocab, keys):
        """No token yet; the coin of a row depends on its key and position alone."""
        return Coins(keys, torch.zeros_like(keys.sample))

    def apply(self, logits: Tensor, state: Coins) -> Tensor:
        """Remove the best token of the rows whose coin falls, float32 [rows, vocab]."""
        falls = state.keys.uniform(state.position, PROCESSOR) < self.probability
        falls &= logits.isfinite().sum(-1) > 1
        best = torch.zeros_like(logits, dtype=torch.bool).scatter(1, logits.argmax(-1, keepdim=True), True)
        return logits.masked_fill(best & falls[:, None], -math.inf)

    def update(self, state: Coins, logits: Tensor, tokens: Tensor) -> Coins:
        """One token more."""
        return Coins(state.keys, state.position + 1)
