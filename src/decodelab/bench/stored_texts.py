"""What stands for the model where texts are stored, and nothing is generated: reward models alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

from decodelab.core.protocols import LanguageModel, Rated, RewardModel, RewardReading
from decodelab.engine.counted import CountedReward
from decodelab.models.loading import load_reward
from decodelab.scorers.judging import NoModel

Load = Callable[[str], RewardModel]
"""Loads a reward model by name, each once."""


def reward_models() -> Load:
    """What loads reward models, each once as long as it is kept."""
    return functools.cache(load_reward)


class StoredTexts:
    """Stands for the model that wrote stored texts; scorers that ask another network find it here, and are counted.

    Args:
        load: loads reward models.

    Attributes:
        tokens, passes: computed by reward models so far.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self.tokens = 0
        self.passes = 0

    @property
    def model(self) -> LanguageModel:
        """As a question takes it."""
        return cast(LanguageModel, self)

    def reward_model(self, name: str) -> RewardModel:
        """The reward model of that name."""
        return _Checked(self._load(name), self)

    def __getattr__(self, name: str) -> Any:
        raise NoModel(name)


class _Checked(CountedReward):
    """A reward model that nobody has checked when it was loaded, as the engine does."""

    def rate(self, prompt: str, texts: Sequence[str], reading: RewardReading) -> Rated:
        self.check(reading)
        return super().rate(prompt, texts, reading)
