"""What continues texts, wherever it runs, and shows no logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from decodelab.backends.chat import Backend
from decodelab.backends.client import Results
from decodelab.core.protocols import Reader
from decodelab.core.values import Generation, Limits, Prompt
from decodelab.strategy.strategy import Strategy


@dataclass(frozen=True)
class TextJob:
    """One prompt under one strategy, for a server.

    Attributes:
        index: the `index` of its generation.
        prompt: what is continued.
        strategy: how.
        limits: when answers end.
        seed: of all draws.
        first: the index of its first sample.
        read: how the task that asks reads an answer from a text; None where no task asks.
    """

    index: int
    prompt: Prompt
    strategy: Strategy
    limits: Limits
    seed: int = 0
    first: int = 0
    read: Reader | None = None


@runtime_checkable
class TextModel(Protocol):
    """A model that continues texts under strategies that need nothing else.

    Attributes:
        name: as the user wrote it.
        digest: of everything that is known of it before it is asked.
    """

    name: str
    digest: str

    def check(self, strategy: Strategy, limits: Limits) -> None:
        """Refuse what it cannot do, without asking it anything.

        Raises:
            UnsupportedStrategy: naming the stage, and who could do it.
        """
        ...

    def request(self, job: TextJob) -> str:
        """What it is asked first for a job, as text."""
        ...

    def generations(self, jobs: Sequence[TextJob]) -> Results[Generation]:
        """Continue prompts; each comes as it is finished, or why it failed; closing it abandons the others.

        Raises:
            UnsupportedStrategy: before anything is asked.
            EndpointFailed: when nothing can be continued any more.
        """
        ...


@runtime_checkable
class TextBackend(Backend, Protocol):
    """A back end whose models continue texts."""

    def text_model(self, name: str) -> TextModel:
        """The model of a name, as the user wrote it.

        Raises:
            RequestError: for an invalid name or key.
        """
        ...
