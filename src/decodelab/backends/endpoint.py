"""Conversations with a server over HTTP."""

from __future__ import annotations

import json
from collections.abc import Sequence

import anyio

from decodelab.backends.address import Address
from decodelab.backends.chat import ChatSettings, Replies, Reply
from decodelab.backends.client import Client, Exchange, Request, Sleep
from decodelab.backends.completion import Said, read_completion
from decodelab.backends.remote import RemoteModel
from decodelab.core.values import Chat


class Endpoint:
    """A server that speaks OpenAI's chat completions: OpenAI itself, vLLM, SGLang, llama.cpp, Ollama.

    Faults are retried, and end one conversation or all, as `Client` says.

    Args:
        name: `openai:http://HOST:PORT/v1#MODEL`.
        settings: the temperature is sent as it is, and some models of OpenAI's take 1 only; `max_tokens` is sent as
            `max_completion_tokens`, None sends nothing; `timeout` is for one request in all.
        sleep: how to wait for a number of seconds.

    Raises:
        RequestError: for an invalid name or key.
    """

    def __init__(self, name: str, settings: ChatSettings, *, sleep: Sleep = anyio.sleep) -> None:
        self._client = Client(name, at_once=settings.at_once, timeout=settings.timeout, sleep=sleep)
        address = self._client.address
        self._url = f"{address.url}/chat/completions"
        self._body = {"model": address.model, "temperature": settings.temperature}
        if settings.max_tokens is not None:
            self._body["max_completion_tokens"] = settings.max_tokens
        asked = address.url, address.model, settings.temperature, settings.max_tokens
        self.identity = json.dumps([address.dialect.name, *asked])

    def tokens(self, chat: Chat) -> int:
        """An estimate, as only the server has the vocabulary: 4 bytes a token, and 4 tokens a turn."""
        return sum(4 + len(turn["content"].encode()) // 4 for turn in chat.messages)

    def replies(self, chats: Sequence[Chat]) -> Replies:
        """Continue conversations; one that the server refuses fails alone.

        Raises:
            EndpointFailed: when the server refuses all, or still fails after all tries; other replies come before.
        """
        return self._client.run([self._conversation(chat) for chat in chats])

    def _conversation(self, chat: Chat) -> Exchange[Said, Reply]:
        body = self._body | {"messages": [dict(turn) for turn in chat.messages]}
        (reply,) = yield [Request(self._url, body, read_completion)]
        said = reply.value
        return Reply(self._client.hidden(said.text), said.prompt_tokens, said.completion_tokens, reply.seconds)


class ServerBackend:
    """Servers over HTTP, which continue chats and texts."""

    remote = True

    def check_name(self, name: str) -> None:
        """Refuse a malformed address."""
        Address.of(name)

    def chat_model(self, name: str, settings: ChatSettings) -> Endpoint:
        """A model of a server."""
        return Endpoint(name, settings)

    def text_model(self, name: str) -> RemoteModel:
        """A model of a server."""
        return RemoteModel(name)
