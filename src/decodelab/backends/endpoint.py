"""Conversations with a server over HTTP: transient faults are retried, refusals of one conversation cost only that."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from queue import SimpleQueue

import anyio
import httpx2
from anyio.from_thread import start_blocking_portal
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from decodelab.backends.address import KEY, Address
from decodelab.backends.chat import ChatSettings, Replies, Reply
from decodelab.backends.completion import Refused, read_completion, refusal
from decodelab.core.errors import DecodelabError, EndpointFailed, NoReply, PromptTooLong, RequestError
from decodelab.core.secret import PART, Secret
from decodelab.core.values import Chat
from decodelab.io.text import printable

TRIES = 6
LARGEST = 2**20
"""At most this many bytes of a reply are read."""
LONGEST_WAIT = 300.0
"""Longest wait in seconds that a server's Retry-After may ask for."""
LOST = 3
"""After this many conversations in a row for which all tries failed, a server counts as lost."""
_READ, _SHOWN = 10_000, 200
"""At most this many characters of what a server says are looked at, and shown escaped."""
_Found = SimpleQueue[tuple[int, Reply | DecodelabError] | None]
"""Replies on their way from the event loop's thread; None after the last."""


class Endpoint:
    """A server that speaks OpenAI's chat completions: OpenAI itself, vLLM, SGLang, llama.cpp, Ollama.

    Time-outs, connection faults, the statuses 408, 409, 425, 429 and from 500 on, and invalid responses are retried, up
    to 6 tries in all, after 1, 2, 4, ... seconds and a random part of one more, or after what Retry-After says. A
    conversation that is refused (400, too long, filtered) or for which all tries fail is left without a reply, and the
    others go on. A wrong key, address or model (401, 403, 404, redirects), an account without credit (402, or an error
    called `insufficient_quota`, say, under any status) and a server that fails 3 conversations in a row, or all, end
    everything, after the replies under way have been received. The key in `OPENAI_API_KEY` is sent to servers on this
    machine and over https only, and removed from everything that they say.

    Args:
        name: `openai:http://HOST:PORT/v1#MODEL`.
        settings: the temperature is sent as it is, and some models of OpenAI's take 1 only; `max_tokens` is sent as
            `max_completion_tokens`, None sends nothing; `timeout` is for one request in all.
        sleep: how to wait for a number of seconds.

    Raises:
        RequestError: for an invalid name or key.
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
        self._key = Secret.of(os.environ.get(KEY, "") if self._address.private else "", KEY)
        if len(self._key.text) >= PART and self._key.text in name:
            raise RequestError(f"endpoint: the address has the key of {KEY} in it; leave it out there")
        asked = self._address.url, self._address.model, settings.temperature, settings.max_tokens
        self.identity = json.dumps(["openai", *asked])
        self._answered = False

    def tokens(self, chat: Chat) -> int:
        """An estimate, as only the server has the vocabulary: 4 bytes a token, and 4 tokens a turn."""
        return sum(4 + len(turn["content"].encode()) // 4 for turn in chat.messages)

    def replies(self, chats: Sequence[Chat]) -> Replies:
        """Continue conversations; one that the server refuses fails alone.

        Raises:
            EndpointFailed: when the server refuses all, or still fails after all tries; other replies come before.
        """
        found: _Found = SimpleQueue()
        # The event loop has its own thread: another loop (a notebook's) may run in this one, and Ctrl-C comes here.
        with start_blocking_portal() as portal:
            work = portal.start_task_soon(self._answer, chats, found)
            work.add_done_callback(lambda _: found.put(None))
            while (reply := found.get()) is not None:
                yield reply
            work.result()

    async def _answer(self, chats: Sequence[Chat], found: _Found) -> None:
        turns, ending, lost = anyio.Semaphore(self._settings.at_once), _Ending(), list[EndpointFailed]()

        async def answer(number: int, chat: Chat) -> None:
            async with turns:
                if ending.why is not None:
                    return
                try:
                    found.put((number, await self._reply(client, chat, ending)))
                except (NoReply, PromptTooLong) as error:
                    found.put((number, error))
                except EndpointFailed as error:
                    ending.begin(error)
                    return
                except _Exhausted as error:
                    lost.append(EndpointFailed(f"{error}; check the server and run again"))
                    found.put((number, NoReply(str(error))))
                    if len(lost) == LOST:
                        ending.begin(lost[-1])
                    return
                self._answered = True
                lost.clear()

        async with self._client() as client, anyio.create_task_group() as group:
            for number, chat in enumerate(chats):
                group.start_soon(answer, number, chat)
        if ending.why is not None:
            raise ending.why
        if lost and not self._answered:
            raise lost[-1]

    def _client(self) -> httpx2.AsyncClient:
        # Compressed data could unpack to any size; bodies are small anyway.
        headers = {"accept-encoding": "identity", "content-type": "application/json"}
        if self._key.text:
            headers["authorization"] = f"Bearer {self._key.text}"
        try:
            return httpx2.AsyncClient(
                headers=headers,
                timeout=None,
                # No proxy between this machine and itself.
                trust_env=not self._address.here,
                # Plain http needs no certificates, and redirects are not followed: spare loading them.
                verify=self._address.url.startswith("https:"),
            )
        except (ValueError, OSError, httpx2.InvalidURL):  # whose text may have a proxy's password in it
            raise self._failed(
                "cannot be asked as the environment says", "correct HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE"
            ) from None

    async def _reply(self, client: httpx2.AsyncClient, chat: Chat, ending: _Ending) -> Reply:
        async def pause(seconds: float) -> None:
            with ending.pausing():
                await self._sleep(seconds)

        retrying = AsyncRetrying(
            sleep=pause,
            stop=stop_after_attempt(TRIES),
            wait=_wait,
            retry=retry_if_exception(lambda error: isinstance(error, Refused) and error.kind == "transient"),
            reraise=True,
        )
        try:
            return await retrying(self._attempt, client, chat, ending)
        except Refused as fault:
            raise self._refused(fault) from None

    async def _attempt(self, client: httpx2.AsyncClient, chat: Chat, ending: _Ending) -> Reply:
        if ending.why is not None:
            raise ending.why
        began = time.perf_counter()
        body = json.dumps(self._body | {"messages": [dict(turn) for turn in chat.messages]}).encode()
        try:
            with anyio.fail_after(self._settings.timeout):
                async with client.stream("POST", f"{self._address.url}/chat/completions", content=body) as response:
                    data = bytearray()
                    async for chunk in response.aiter_raw():
                        data += chunk
                        if len(data) > LARGEST:
                            raise Refused("transient", f"sent an invalid response: more than {LARGEST:,} bytes")
        except TimeoutError:
            raise Refused("transient", f"did not reply within {self._settings.timeout:g} s") from None
        except (httpx2.InvalidURL, httpx2.LocalProtocolError, UnicodeError):
            raise Refused("fatal", "cannot be asked: no request can have this address or key") from None
        except httpx2.HTTPError as error:
            raise Refused("transient", f"cannot be reached ({_why(error)})") from None
        if not response.is_success:
            raise refusal(response.status_code, bytes(data), _retry_after(response.headers.get("retry-after", "")))
        said = read_completion(bytes(data))
        text = self._key.hidden(said.text)
        return Reply(text, said.prompt_tokens, said.completion_tokens, time.perf_counter() - began)

    def _refused(self, fault: Refused) -> Exception:
        """The error for a fault that trying again did not mend."""
        said = self._shown(fault.said)
        what = f"{fault} ({said})" if said else str(fault)
        if fault.kind == "too long":
            return PromptTooLong(f"endpoint {self._address.url}: the conversation is too long for it: {what}")
        if fault.kind == "alone":
            return NoReply(f"endpoint {self._address.url}, {self._address.model}: {what}")
        if fault.kind == "transient":
            return _Exhausted(f"endpoint {self._address.url}, {self._address.model}: {what}, {TRIES} times")
        if fault.kind == "account":
            return self._failed(
                what, "its account has no credit left, or is not active; check billing at the provider, then run again"
            )
        if fault.status in (401, 403):
            sent = f"check the key in {KEY}"
            return self._failed(what, sent if self._key.text else f"set {KEY}, which is sent over https and here")
        return self._failed(what, "check the address, the model's name and the settings")

    def _failed(self, what: str, fix: str) -> EndpointFailed:
        return EndpointFailed(f"endpoint {self._address.url}, {self._address.model}: {what}; {fix}")

    def _shown(self, said: str) -> str:
        """The beginning of a server's message, on one line, escaped and without the key."""
        shown = printable(" ".join(self._key.hidden(said[:_READ]).split()))
        return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."


class _Exhausted(Exception):
    """All tries failed for one conversation."""


class _Ending:
    """Whether nothing is asked any more.

    Attributes:
        why: it is so; None as long as it is not.
    """

    def __init__(self) -> None:
        self.why: EndpointFailed | None = None
        self._pauses: set[anyio.CancelScope] = set()

    def begin(self, why: EndpointFailed) -> None:
        """Ask nothing any more, and wait for no further try; requests under way may still be answered."""
        self.why = self.why or why
        for pause in self._pauses:
            pause.cancel()

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Cut short what is waited for within, once the end begins."""
        with anyio.CancelScope() as scope:
            self._pauses.add(scope)
            try:
                yield
            finally:
                self._pauses.discard(scope)


def _why(error: Exception) -> str:
    """Why a server could not be reached, in words of the system: a client's own may quote what was sent."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return "its name is not known"
        if isinstance(cause, ssl.SSLError):
            return "no trusted TLS connection"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


_backing_off = wait_exponential_jitter(max=60)


def _wait(state: RetryCallState) -> float:
    """Seconds to the next try."""
    fault = state.outcome.exception() if state.outcome is not None else None
    after = fault.after if isinstance(fault, Refused) else None
    return _backing_off(state) if after is None else after


def _retry_after(value: str) -> float | None:
    """Seconds that a Retry-After header asks for, written as a number or as a date."""
    if re.fullmatch(r"\d+(\.\d*)?", value, re.ASCII):
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
