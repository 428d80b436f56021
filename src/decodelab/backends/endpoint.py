"""Conversations with a server over HTTP: patient with faults that pass, quick with those that do not."""

from __future__ import annotations

import ipaddress
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from queue import SimpleQueue
from typing import Annotated
from urllib.parse import urlsplit

import anyio
import httpx2
from anyio.from_thread import start_blocking_portal
from pydantic import BaseModel, Field, ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from decodelab.backends.chat import ChatSettings, Replies, Reply
from decodelab.core.errors import DecodelabError, EndpointFailed, PromptTooLong, RequestError
from decodelab.core.values import Chat

KEY = "OPENAI_API_KEY"
TRIES = 6
LARGEST = 2**20
"""Bytes of a reply that are read at most."""
LONGEST_WAIT = 300.0
"""Seconds that a server's Retry-After may ask for at most."""
_PASSING = frozenset((408, 429, 500, 502, 503, 504))
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


class _Passing(Exception):
    """A fault that may pass, and after how many seconds the server says it does."""

    def __init__(self, what: str, after: float | None = None) -> None:
        super().__init__(what)
        self.after = after


@dataclass(frozen=True)
class Address:
    """Where a server is, what it calls the model, and whether it runs on this machine."""

    url: str
    model: str
    here: bool

    @staticmethod
    def of(name: str) -> Address:
        """Read `openai:http://HOST:PORT/v1#MODEL`.

        Raises:
            RequestError: for anything else, and for an address with a password in it, which a journal would keep.

        >>> Address.of("openai:http://127.0.0.1:8000/v1#tiny").url
        'http://127.0.0.1:8000/v1'
        """
        url, _, model = name.removeprefix("openai:").partition("#")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host, parts = None, urlsplit("")
        if parts.username is not None or parts.password is not None or parts.query:
            raise RequestError(f"endpoint: the address must have no password and no query; put the key into {KEY}")
        if not name.startswith("openai:") or parts.scheme not in ("http", "https") or not host or not model:
            raise RequestError(f"endpoint: write openai:http://HOST:PORT/v1#MODEL, got {name[:100]!r}")
        return Address(url.rstrip("/"), model, _is_here(host))

    @property
    def private(self) -> bool:
        """Whether nobody on the way can read what is sent."""
        return self.here or self.url.startswith("https:")


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Endpoint:
    """A server that speaks OpenAI's chat completions: OpenAI itself, vLLM, SGLang, llama.cpp, Ollama.

    Time-outs, faults of the connection, the statuses 408, 429, 500, 502, 503 and 504 and replies that are none are
    tried again, up to 6 times in all, after 1, 2, 4, ... seconds and a random part of one more, or after what
    Retry-After says; any other status fails at once. No redirect is followed. The key in `OPENAI_API_KEY` goes to
    servers on this machine and over https, and nowhere else.

    Args:
        name: `openai:http://HOST:PORT/v1#MODEL`.
        temperature: sent as it is; some models of OpenAI's take 1 only.
        max_tokens: sent as `max_completion_tokens`; None sends nothing.
        at_once: requests under way at a time.
        timeout: seconds that one request may take in all.
        sleep: how to wait for so many seconds.

    Raises:
        RequestError: for a name that is none.
    """

    def __init__(
        self,
        name: str,
        *,
        temperature: float = 0.0,
        max_tokens: int | None = None,
        at_once: int = 8,
        timeout: float = 300.0,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._address = Address.of(name)
        self._body = {"model": self._address.model, "temperature": temperature}
        if max_tokens is not None:
            self._body["max_completion_tokens"] = max_tokens
        self._at_once = at_once
        self._timeout = timeout
        self._sleep = sleep
        self._key = os.environ.get(KEY, "") if self._address.private else ""
        self.identity = json.dumps(["openai", self._address.url, self._address.model, temperature, max_tokens])

    def tokens(self, chat: Chat) -> int:
        """An estimate, as only the server has the vocabulary: 4 bytes a token, and 4 tokens a turn."""
        return sum(4 + len(turn["content"].encode()) // 4 for turn in chat.messages)

    def replies(self, chats: Sequence[Chat]) -> Replies:
        """Continue conversations; one that the server finds too long fails alone.

        Raises:
            EndpointFailed: when the server refuses, or is still not well after all tries.
        """
        found: _Found = SimpleQueue()
        # The event loop has a thread of its own: it may run inside another (a notebook's), and Ctrl-C comes here.
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
        turns = anyio.Semaphore(self._at_once)

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
        # What a server packs could unpack to any size; bodies are small anyway.
        headers = {"accept-encoding": "identity"} | ({"authorization": f"Bearer {self._key}"} if self._key else {})
        return httpx2.AsyncClient(
            headers=headers,
            timeout=None,
            # A proxy that the environment names has no business between this machine and itself.
            trust_env=not self._address.here,
            # Plain http has no certificates, and no redirect leads from it to where there are some: spare loading them.
            verify=self._address.url.startswith("https:"),
        )

    async def _reply(self, client: httpx2.AsyncClient, chat: Chat) -> Reply | DecodelabError:
        retrying = AsyncRetrying(
            sleep=self._sleep,
            stop=stop_after_attempt(TRIES),
            wait=_wait,
            retry=retry_if_exception_type(_Passing),
            reraise=True,
        )
        try:
            return await retrying(self._attempt, client, chat)
        except (EndpointFailed, PromptTooLong) as error:
            return error
        except _Passing as fault:
            return self._failed(f"{fault}, {TRIES} times", "check the server and run again")

    async def _attempt(self, client: httpx2.AsyncClient, chat: Chat) -> Reply:
        began = time.perf_counter()
        body = self._body | {"messages": [dict(turn) for turn in chat.messages]}
        try:
            with anyio.fail_after(self._timeout):
                async with client.stream("POST", f"{self._address.url}/chat/completions", json=body) as response:
                    data = bytearray()
                    async for chunk in response.aiter_raw():
                        data += chunk
                        if len(data) > LARGEST:
                            raise _Passing(f"sent an invalid response: more than {LARGEST:,} bytes")
        except TimeoutError:
            raise _Passing(f"did not reply within {self._timeout:g} s") from None
        except httpx2.TransportError as error:
            raise _Passing(f"cannot be reached ({self._shown(str(error)) or type(error).__name__})") from None
        if response.status_code != 200:
            raise self._refusal(response, bytes(data))
        try:
            completion = _Completion.model_validate_json(bytes(data))
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors(include_url=False, include_input=False)[0]["loc"])
            raise _Passing(f"sent an invalid response: no chat completion ({where or 'not JSON'})") from None
        usage = completion.usage or _Usage()
        text = completion.choices[0].message.content or ""
        return Reply(text, usage.prompt_tokens, usage.completion_tokens, time.perf_counter() - began)

    def _refusal(self, response: httpx2.Response, data: bytes) -> Exception:
        """What a status other than 200 means."""
        status, said = response.status_code, self._shown(data[:2000].decode(errors="replace"))
        what = f"answered {status}" + (f" ({said})" if said else "")
        if status in _PASSING:
            return _Passing(what, _retry_after(response.headers.get("retry-after", "")))
        if status == 413 or (status == 400 and "context" in said):
            return PromptTooLong(f"endpoint {self._address.url}: the conversation is too long for it: {what}")
        if status in (401, 403):
            fix = "check the key in" if self._key else "over https or on this machine it gets the key in"
            return self._failed(what, f"{fix} {KEY}")
        return self._failed(what, "check the address, the model's name and the settings")

    def _failed(self, what: str, fix: str) -> EndpointFailed:
        return EndpointFailed(f"endpoint {self._address.url}, {self._address.model}: {what}; {fix}")

    def _shown(self, said: str) -> str:
        """The beginning of what a server says, on one line and without the key, should it be repeated."""
        said = said.replace(self._key, "***") if self._key else said
        return " ".join(said.split())[:200]


_backing_off = wait_exponential_jitter(max=60)


def _wait(state: RetryCallState) -> float:
    """Seconds to the next try."""
    fault = state.outcome.exception() if state.outcome is not None else None
    after = fault.after if isinstance(fault, _Passing) else None
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
        return Endpoint(
            name,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            at_once=settings.at_once,
            timeout=settings.timeout,
        )
