"""Selections: which finished candidate wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from decodelab.core.key import Keys
from decodelab.core.protocols.models import LanguageModel
from decodelab.core.values import Candidate, Chat, Tokens

Reader = Callable[[str], str | None]
"""The answer that a text gives, in a form in which equal answers are equal texts, or None."""


@dataclass(frozen=True)
class Question:
    """What the candidates continue, for selections that look at more than the candidates.

    Attributes:
        prompt: as text.
        tokens: its token ids.
        keys: the randomness of the selection, one row, for the stream `SELECTION`.
        model: the model decoded, for scorers that ask it, or the one that the selection names as its judge; None where
            there is none at hand.
        read: how the task that asks reads an answer from a text; None where no task asks.
        chat: the conversation, where the prompt was one.
    """

    prompt: str
    tokens: Tokens
    keys: Keys
    model: LanguageModel | None = None
    read: Reader | None = None
    chat: Chat | None = None

    @staticmethod
    def of(prompt: str, tokens: Sequence[int] = (), seed: int = 0, read: Reader | None = None) -> Question:
        """A question without a model: candidates are judged by what is known of them."""
        return Question(prompt, tuple(tokens), Keys.of(seed, tokens, [0]), read=read)


Ranker = Callable[[Sequence[int]], list[tuple[int, float]]]
"""Ranks some of the candidates that it was made for: their places, in the order of their samples, to places with their
scores, best first."""


@runtime_checkable
class Selection(Protocol):
    """Which finished candidate wins."""

    def rank(self, candidates: Sequence[Candidate], question: Question) -> list[tuple[Candidate, float]]:
        """The candidates with their scores, best first; a function of what it is given."""
        ...


@runtime_checkable
class Prepared(Selection, Protocol):
    """A selection that looks at candidates once and then ranks any of them, as when k of n samples are chosen often."""

    def prepare(self, candidates: Sequence[Candidate], question: Question) -> Ranker:
        """What ranks some of these candidates as `rank` would."""
        ...


@runtime_checkable
class DrawsInWindows(Protocol):
    """A driver that has samples drawn in windows, one after the other, and says after each whether that is enough."""

    @property
    def window(self) -> int:
        """Samples of a window, at least 1; the last has fewer where they do not go into all evenly."""
        ...

    def settled(self, candidates: Sequence[Candidate], drawn: int, total: int, question: Question) -> bool:
        """Whether no more samples are drawn; a function of what it is given.

        Args:
            candidates: of the samples drawn, in their order.
            drawn: samples drawn, at least as many as there are candidates.
            total: the most that are drawn.
            question: what the candidates continue.
        """
        ...
