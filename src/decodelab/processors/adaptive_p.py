"""Adaptive-p sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import Kind, Stage, check_number
from decodelab.core.values import Tokens

if TYPE_CHECKING:
    from torch import Tensor

_PEAK = 5.0
_SHARPNESS = 10.0
_WIDTH = 0.3
"""The authors' constants: logit at the target, steepness beside it, and the distance that counts as 1."""


@dataclass(frozen=True)
class Averages:
    """Decayed sums over the chosen tokens of several rows, float64 [rows]: of their probabilities, and of 1."""

    weighted_sum: Tensor
    total_weight: Tensor

    def __getitem__(self, rows: Tensor) -> Averages:
        """The averages of the given rows."""
        return Averages(self.weighted_sum[rows], self.total_weight[rows])

    def join(self, other: Averages) -> Averages:
        """The rows of this state followed by those of another."""
        sums = torch.cat([self.weighted_sum, other.weighted_sum])
        return Averages(sums, torch.cat([self.total_weight, other.total_weight]))


@dataclass(frozen=True)
class AdaptiveP(Stage):
    """Favour tokens of probability near a moving target, so that the chosen tokens average `target`.

    Every token gets the logit 5 - 10 d^2 / (1 + d), where d = |p - aim| / 0.3 and p is its probability in this stage's
    input distribution. The aim is 2 target - average, clipped to [0, 1]; the average over the chosen tokens' p weights
    a token of k steps ago by decay^k and starts as if it had always been the target. Removed tokens stay removed, so
    put min_p or top_k before this stage and only a search after it. The distribution is llama.cpp's, which also draws
    the token; there a negative target means "off" and decay is clamped to 0.99, here both raise errors.

    Raises:
        InvalidParameter: if target is not in [0, 1] or decay not in [0, 0.99].

    >>> stage = AdaptiveP(0.3)
    >>> state = Averages(torch.tensor([3.0]), torch.tensor([10.0]))
    >>> stage.apply(torch.tensor([[0.6, 0.3, 0.1]]).log(), state).int().tolist()
    [[0, 5, 2]]
    """

    target: Annotated[float, "average probability of the chosen tokens to reach, in [0, 1]"]
    decay: Annotated[float, "weight of the past, in [0, 0.99]; averages over about 1 / (1 - decay) tokens"] = 0.9

    name: ClassVar[str] = "adaptive_p"
    kind: ClassVar[Kind] = "processor"
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = "MrJackSpade 2025 (Adaptive-P; llama.cpp pull request 17927)"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "target", low=0.0, high=1.0, fix="try 0.3 to 0.6; leave adaptive_p out to disable it")
        check_number(self, "decay", low=0.0, high=0.99, fix="try 0.9, which averages over about ten tokens")

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Averages:
        """Averages of rows that have always hit the target."""
        weight = torch.full((len(prompts),), 1 / (1 - self.decay), dtype=torch.float64, device=keys.sample.device)
        return Averages(self.target * weight, weight)

    def apply(self, logits: Tensor, state: Averages) -> Tensor:
        """New logits for float32 logits [rows, vocab]."""
        probs = torch.softmax(logits, dim=-1, dtype=torch.float64)
        distance = (probs - self.observe(logits, state)["aim"][:, None]).abs() / _WIDTH
        favoured = _PEAK - _SHARPNESS * distance.square() / (1 + distance)
        return favoured.float().masked_fill(logits == -torch.inf, -torch.inf)

    def update(self, state: Averages, logits: Tensor, tokens: Tensor) -> Averages:
        """Averages with the chosen tokens' probabilities in the distribution of `logits`."""
        chosen = torch.softmax(logits, dim=-1, dtype=torch.float64).gather(-1, tokens[:, None])[:, 0]
        return Averages(chosen + self.decay * state.weighted_sum, 1 + self.decay * state.total_weight)

    def observe(self, logits: Tensor, state: Averages) -> dict[str, Tensor]:
        """The average so far and the probability aimed at in this step, float64 [rows]."""
        average = state.weighted_sum / state.total_weight
        return {"average": average, "aim": (2 * self.target - average).clamp(0.0, 1.0)}
