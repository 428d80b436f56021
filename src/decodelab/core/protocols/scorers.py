"""Scorers: ratings of partial texts as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from decodelab.core.protocols.models import LanguageModel
from decodelab.core.values import Partial


class Scorer(Protocol):
    """An external rating of texts: a task's score, a reward model, a checker."""

    def __call__(self, prompt: str, texts: Sequence[str], /) -> Sequence[float]:
        """One finite number a text, higher is better."""
        ...


@runtime_checkable
class ModelScorer(Protocol):
    """A rating that queries the decoded model."""

    def score(self, model: LanguageModel, partials: Sequence[Partial]) -> Sequence[float]:
        """One finite number a continuation, higher is better; all continue the same prompt."""
        ...


AnyScorer = str | Scorer | ModelScorer
"""A scorer as a stage names it: by its name, or in Python as what it is."""


@dataclass(frozen=True)
class RewardReading:
    """How a reward model is asked, and what is read from its head.

    Attributes:
        label: the label that means good; None where there is no choice: one output, or the second of two labels.
        value: the probability of the label, or its log-odds; a single output is taken as it is.
        input: what the reward model reads: prompt and text as one text, as a pair, or as turns of its chat template.
    """

    label: str | None = None
    value: Literal["probability", "log_odds"] = "probability"
    input: Literal["text", "pair", "chat"] = "text"


class Rated(NamedTuple):
    """What texts are worth, and the token positions (padding included) and forward passes computed for that."""

    values: list[float]
    tokens: int
    passes: int


@runtime_checkable
class RewardModel(Protocol):
    """A network whose head rates texts."""

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    def check(self, reading: RewardReading) -> None:
        """Refuse a reading that this network does not have."""
        ...

    def rate(self, prompt: str, texts: Sequence[str], reading: RewardReading) -> Rated:
        """One number a text, each a continuation of the prompt that may not have ended."""
        ...


@runtime_checkable
class AsksRewardModel(Protocol):
    """A scorer that asks a reward model, which is loaded before anything is decoded."""

    def reward_model(self) -> tuple[str, RewardReading]:
        """The name of the reward model, and how it is asked."""
        ...


@runtime_checkable
class RewardModels(Protocol):
    """A model that has reward models beside it, for scorers that ask one."""

    def reward_model(self, name: str) -> RewardModel:
        """The reward model of that name."""
        ...
