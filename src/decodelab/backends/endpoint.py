"""Conversations with a server over HTTP: transient faults are retried, others fail at once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from queue import SimpleQueue
from typing import Annotated

import anyio
import httpx2
from anyio.from_thread import start_blocking_portal
from pydantic import BaseModel, Field, ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from decodelab.backends.address import KEY, Address
from decodelab.backends.chat import ChatSettings, Replies, Reply
from decodelab.core.errors import DecodelabError, EndpointFailed, PromptTooLong
from decodelab.core.values import Chat

TRIES = 6
LARGEST = 2**20
"""At most this many bytes of a reply are read."""
LONGEST_WAIT = 300.0
"""Longest wait in seconds that a server's Retry-After may ask for."""
_TRANSIENT = frozenset((408, 429, 500, 502, 503, 504))
_Found = SimpleQueue[tuple[int, Reply | DecodelabError] | None]
"""Replies on their way from the event loop's thread; None after the last."""
_Count = Annotated[int, Field(ge=0, le=10**9)]


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Usage(BaseModel):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None


class _Transient(Exception):
    """A transient fault, and after how many seconds the server says to try again."""

    def __init__(self, what: str, after: float | None = None) -> None:
        super().__init__(what)
        self.after = after


class Endpoint:
    """A server that speaks OpenAI's chat completions: OpenAI itself, vLLM, SGLang, llama.cpp, Ollama.

    Time-outs, connection faults, the statuses 408, 429, 500, 502, 503 and 504 and invalid responses are retried, up to
    6 tries in all, after 1, 2, 4, ... seconds and a random part of one more, or after what Retry-After says; any other
    status fails at once. Redirects are not followed. The key in `OPENAI_API_KEY` is sent to servers on this machine and
    over https only.

    Args:
        name: `openai:http://HOST:PORT/v1#MODEL`.
        settings: the temperature is sent as it is, and some models of OpenAI's take 1 only; `max_tokens` is sent as
            `max_completion_tokens`, None sends nothing; `timeout` is for one request in all.
        sleep: how to wait for a number of seconds.

    Raises:
        RequestError: for an invalid name.
    """

    def __init__(
        self, name: str, settings: ChatSettings, *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    ) -> None:
        self._address = Address.of(name)
        self._body = {"model": self._address.model, "temperature": settings.temperature}
        if settings.max_tokens is not None:
            self._body["max_completion_tokens"] = settings.max_tokens
        self._settings = settings
        self._sleep = sleep
        self._key = os.environ.get(KEY, "") if self._address.private else ""
        asked = self._address.url, self._address.model, settings.temperature, settings.max_tokens
        self.identity = json.dumps(["openai", *asked])

    def tokens(self, chat: Chat) -> int:
        """An estimate, as only the server has the vocabulary: 4 bytes a token, and 4 tokens a turn."""
        return sum(4 + len(turn["content"].encode()) // 4 for turn in chat.messages)

    def replies(self, chats: Sequence[Chat]) -> Replies:
        """Continue conversations; one that is too long for the server fails alone.

        Raises:
            EndpointFailed: when the server refuses, or still fails after all tries.
        """
        found: _Found = SimpleQueue()
        # The event loop has its own thread: another loop (a notebook's) may run in this one, and Ctrl-C comes here.
        with start_blocking_portal() as portal:
            work = portal.start_task_soon(self._answer, chats, found)
            work.add_done_callback(lambda _: found.put(None))
            while (reply := found.get()) is not None:
                if isinstance(reply[1], EndpointFailed):
                    raise reply[1]
                yield reply
            work.result()

    async def _answer(
        self, chats: Sequence[Chat], found: SimpleQueue[tuple[int, Reply | DecodelabError] | None]
    ) -> None:
        turns = anyio.Semaphore(self._settings.at_once)

        async def answer(number: int, chat: Chat) -> None:
            async with turns:
                reply = await self._reply(client, chat)
            found.put((number, reply))
            if isinstance(reply, EndpointFailed):
                group.cancel_scope.cancel()

        async with self._client() as client, anyio.create_task_group() as group:
            for number, chat in enumerate(chats):
                group.start_soon(answer, number, chat)

    def _client(self) -> httpx2.AsyncClient:
        # Compressed data could unpack to any size; bodies are small anyway.
        headers = {"accept-encoding": "identity"} | ({"authorization": f"Bearer {self._key}"} if self._key else {})
        return httpx2.AsyncClient(
            headers=headers,
            timeout=None,
            # No proxy between this machine and itself.
            trust_env=not self._address.here,
            # Plain http needs no certificates, and redirects are not followed: spare loading them.
            verify=self._address.url.startswith("https:"),
        )

    async def _reply(self, client: httpx2.AsyncClient, chat: Chat) -> Reply | DecodelabError:
        retrying = AsyncRetrying(
            sleep=self._sleep,
            stop=stop_after_attempt(TRIES),
            wait=_wait,
            retry=retry_if_exception_type(_Transient),
            reraise=True,
        )
        try:
            return await retrying(self._attempt, client, chat)
        except (EndpointFailed, PromptTooLong) as error:
            return error
        except _Transient as fault:
            return self._failed(f"{fault}, {TRIES} times", "check the server and run again")

    async def _attempt(self, client: httpx2.AsyncClient, chat: Chat) -> Reply:
        began = time.perf_counter()
        body = self._body | {"messages": [dict(turn) for turn in chat.messages]}
        try:
            with anyio.fail_after(self._settings.timeout):
                async with client.stream("POST", f"{self._address.url}/chat/completions", json=body) as response:
                    data = bytearray()
                    async for chunk in response.aiter_raw():
                        data += chunk
                        if len(data) > LARGEST:
                            raise _Transient(f"sent an invalid response: more than {LARGEST:,} bytes")
        except TimeoutError:
            raise _Transient(f"did not reply within {self._settings.timeout:g} s") from None
        except httpx2.TransportError as error:
            raise _Transient(f"cannot be reached ({self._shown(str(error)) or type(error).__name__})") from None
        if response.status_code != 200:
            raise self._refusal(response, bytes(data))
        try:
            completion = _Completion.model_validate_json(bytes(data))
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors(include_url=False, include_input=False)[0]["loc"])
            raise _Transient(f"sent an invalid response: no chat completion ({where or 'not JSON'})") from None
        usage = completion.usage or _Usage()
        text = completion.choices[0].message.content or ""
        return Reply(text, usage.prompt_tokens, usage.completion_tokens, time.perf_counter() - began)

    def _refusal(self, response: httpx2.Response, data: bytes) -> Exception:
        """The error for a status other than 200."""
        status, said = response.status_code, self._shown(data[:2000].decode(errors="replace"))
        what = f"answered {status}" + (f" ({said})" if said else "")
        if status in _TRANSIENT:
            return _Transient(what, _retry_after(response.headers.get("retry-after", "")))
        if status == 413 or (status == 400 and "context" in said):
            return PromptTooLong(f"endpoint {self._address.url}: the conversation is too long for it: {what}")
        if status in (401, 403):
            fix = f"check the key in {KEY}" if self._key else f"set {KEY}, which is sent over https and on this machine"
            return self._failed(what, fix)
        return self._failed(what, "check the address, the model's name and the settings")

    def _failed(self, what: str, fix: str) -> EndpointFailed:
        return EndpointFailed(f"endpoint {self._address.url}, {self._address.model}: {what}; {fix}")

    def _shown(self, said: str) -> str:
        """The beginning of a server's message, on one line and without the key."""
        said = said.replace(self._key, "***") if self._key else said
        return " ".join(said.split())[:200]


_backing_off = wait_exponential_jitter(max=60)


def _wait(state: RetryCallState) -> float:
    """Seconds to the next try."""
    fault = state.outcome.exception() if state.outcome is not None else None
    after = fault.after if isinstance(fault, _Transient) else None
    return _backing_off(state) if after is None else after


def _retry_after(value: str) -> float | None:
    """Seconds that a Retry-After header asks for, written as a number or as a date."""
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_WAIT)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    seconds = (date.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT)


class OpenAIBackend:
    """Servers that speak the OpenAI API's chat completions."""

    remote = True

    def check_name(self, name: str) -> None:
        """Refuse a malformed address."""
        Address.of(name)

    def chat_model(self, name: str, settings: ChatSettings) -> Endpoint:
        """A model of a server."""
        return Endpoint(name, settings)
