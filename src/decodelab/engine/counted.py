"""`Counted`: a model that counts what is computed through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from decodelab.core.errors import UnsupportedStrategy
from decodelab.core.protocols import Cache, LanguageModel, Rated, RewardModel, RewardReading
from decodelab.core.values import Tokens

if TYPE_CHECKING:
    from torch import Tensor


_NONE: Mapping[str, RewardModel] = MappingProxyType({})


class Counted:
    """Stands for a model and counts the tokens and passes computed through it, and through the reward models beside it.

    Args:
        model: that is counted.
        rewards: the reward models of a job, by name.
    """

    def __init__(self, model: LanguageModel, rewards: Mapping[str, RewardModel] = _NONE) -> None:
        self._model = model
        self._rewards = rewards
        self.tokens = 0
        self.passes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, Cache]:
        self.passes += 1
        self.tokens += sum(map(len, prompts))
        return self._model.prefill(prompts)

    def decode(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, Cache]:
        self.passes += 1
        self.tokens += tokens.numel()
        return self._model.decode(cache, tokens)

    def reward_model(self, name: str) -> RewardModel:
        """The reward model of that name, which is counted, too.

        Raises:
            UnsupportedStrategy: if the job has not loaded it.
        """
        if name not in self._rewards:
            raise UnsupportedStrategy(f"reward(model={name}): no reward model is at hand here; let the engine ask it")
        return CountedReward(self._rewards[name], self)


class Counter(Protocol):
    """Counts tokens and passes."""

    tokens: int
    passes: int


class CountedReward:
    """Stands for a reward model, and counts what is computed through it as computed by a model."""

    def __init__(self, model: RewardModel, counted: Counter) -> None:
        self._model, self._counted = model, counted
        self.name = model.name

    def check(self, reading: RewardReading) -> None:
        self._model.check(reading)

    def rate(self, prompt: str, texts: Sequence[str], reading: RewardReading) -> Rated:
        rated = self._model.rate(prompt, texts, reading)
        self._counted.tokens += rated.tokens
        self._counted.passes += rated.passes
        return rated
