"""What answers conversations, wherever it runs."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from decodelab.core.errors import DecodelabError, RequestError
from decodelab.core.values import Chat


@dataclass(frozen=True)
class Reply:
    """The next turn of a conversation.

    Attributes:
        text: what it says, which may be anything.
        prompt_tokens, completion_tokens: as the model or server counted them; None where it did not.
        seconds: from question to reply, without waiting for a turn or for a server to recover.
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float


Replies = Generator[tuple[int, Reply | DecodelabError], None, None]
"""Replies as they come, each with the number of its conversation; an error where only this conversation failed."""


class ChatModel(Protocol):
    """A model, or a server, that answers conversations."""

    @property
    def identity(self) -> str:
        """Everything its replies depend on but the conversation, as text."""
        ...

    def tokens(self, chat: Chat) -> int:
        """Tokens of a conversation, or an estimate of them where only a server can count."""
        ...

    def replies(self, chats: Sequence[Chat]) -> Replies:
        """Continue conversations; closing the generator abandons those in progress.

        Raises:
            EndpointFailed: when no conversation can be answered any more, after the replies under way.
        """
        ...


@dataclass(frozen=True)
class ChatSettings:
    """How a chat model answers.

    Attributes:
        temperature: 0 for the most probable reply.
        max_tokens: most tokens of a reply; None leaves it to a server, and means 64 for a local model.
        at_once: concurrent requests.
        timeout: seconds after which a request is retried.

    Raises:
        RequestError: for a number out of its range.
    """

    temperature: float = 0.0
    max_tokens: int | None = None
    at_once: int = 8
    timeout: float = 300.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for what, least in (("temperature", 0), ("max_tokens", 1), ("at_once", 1)):
            value = getattr(self, what)
            if value is not None and not least <= value < 1e6:
                raise RequestError(f"{what} must be at least {least}, got {value}; leave it out for the default")
        if not 0 < self.timeout < 1e6:
            raise RequestError(f"timeout must be above 0 seconds, got {self.timeout}; leave it out for the default")


class Backend(Protocol):
    """Where chat models run."""

    @property
    def remote(self) -> bool:
        """Whether a server answers: nothing can be known of the model before it is asked."""
        ...

    def check_name(self, name: str) -> None:
        """Refuse a malformed name without loading or asking anything.

        Raises:
            RequestError: saying how it is written.
        """
        ...

    def chat_model(self, name: str, settings: ChatSettings) -> ChatModel:
        """The chat model of a name, as the user wrote it.

        Raises:
            ModelError: if it cannot be loaded.
        """
        ...
