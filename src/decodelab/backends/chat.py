"""What answers conversations, wherever it runs."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from decodelab.core.errors import DecodelabError
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
            EndpointFailed: when no conversation can be answered any more.
        """
        ...
