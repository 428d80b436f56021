"""What answers conversations, wherever it runs, and how it is named."""

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
        text: what was said, which may be anything.
        prompt_tokens, completion_tokens: as whoever answered counted them; None where it did not say.
        seconds: from question to reply, without waiting for a turn or for a server to recover.
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float


Replies = Generator[tuple[int, Reply | DecodelabError], None, None]
"""Replies as they come, each with the number of its conversation; an error where only this conversation failed."""


class ChatModel(Protocol):
    """Whoever answers conversations."""

    @property
    def identity(self) -> str:
        """Everything its replies depend on but the conversation, as text."""
        ...

    def tokens(self, chat: Chat) -> int:
        """Tokens of a conversation, or an estimate of them where only a server can count."""
        ...

    def replies(self, chats: Sequence[Chat]) -> Replies:
        """Continue conversations; closing the generator gives up what is under way.

        Raises:
            EndpointFailed: when nobody will be answered any more.
        """
        ...


def chat_model(
    name: str, *, temperature: float = 0.0, max_tokens: int | None = None, at_once: int = 8, timeout: float = 300.0
) -> ChatModel:
    """A chat model: a local one by a name that `load` takes, or a server's as `openai:http://HOST:PORT/v1#MODEL`.

    Args:
        name: of the model.
        temperature: 0 for the most probable reply.
        max_tokens: most tokens of a reply; None leaves it to a server, and means 64 for a local model.
        at_once: concurrent requests.
        timeout: seconds after which a request is retried.

    Raises:
        RequestError: for an invalid name or number.
        ModelError: for a model that cannot be loaded.
    """
    for what, value, least in (("temperature", temperature, 0), ("max_tokens", max_tokens, 1), ("at_once", at_once, 1)):
        if value is not None and not least <= value < 1e6:
            raise RequestError(f"{what} must be at least {least}, got {value}; leave it out for the default")
    if not 0 < timeout < 1e6:
        raise RequestError(f"timeout must be above 0 seconds, got {timeout}; leave it out for the default")
    if is_server(name):
        from decodelab.backends.endpoint import Endpoint

        return Endpoint(name, temperature=temperature, max_tokens=max_tokens, at_once=at_once, timeout=timeout)
    from decodelab.backends.local_chat import LocalChat

    return LocalChat(name, temperature=temperature, max_tokens=max_tokens or 64, at_once=at_once)


def check_name(name: str) -> None:
    """Refuse a server's name that is none, without asking anybody.

    Raises:
        RequestError: saying how it is written.
    """
    if is_server(name):
        from decodelab.backends.endpoint import Address

        Address.of(name)


def is_server(name: str) -> bool:
    """Whether a name is a server's."""
    return name.startswith(("openai:", "http:", "https:"))
