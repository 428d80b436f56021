"""Requests to a server over HTTP: transient faults are retried, refusals of one exchange cost only that."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import anyio
import httpx2
from anyio import to_thread
from anyio.from_thread import start_blocking_portal
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from decodelab.backends.address import KEY, Address
from decodelab.backends.completion import Refused, refusal
from decodelab.core.errors import DecodelabError, EndpointFailed, NoReply, PromptTooLong, RequestError
from decodelab.core.secret import PART, Secret
from decodelab.io.text import printable

TRIES = 6
LARGEST = 2**20
"""At most this many bytes of a reply are read, unless its request says otherwise."""
LONGEST_WAIT = 300.0
"""Longest wait in seconds that a server's Retry-After may ask for."""
LOST = 3
"""After this many requests in a row for which all tries failed, a server counts as lost."""
_READ, _SHOWN = 10_000, 200
"""At most this many characters of what a server says are looked at, and shown escaped."""

R = TypeVar("R")
T = TypeVar("T")

Sleep = Callable[[float], Awaitable[None]]
"""How to wait for a number of seconds."""


@dataclass(frozen=True)
class Request(Generic[R]):
    """Something to ask a server.

    Attributes:
        url: where.
        body: what, as JSON.
        read: what makes a value of the body of the response; it raises `Refused` for what is none.
        largest: bytes of the response that are read at most.
    """

    url: str
    body: Mapping[str, Any]
    read: Callable[[bytes], R]
    largest: int = LARGEST


@dataclass(frozen=True)
class Replied(Generic[R]):
    """What a server replied.

    Attributes:
        value: as it was read.
        seconds: from question to reply, without waiting for a turn or for a server to recover.
    """

    value: R
    seconds: float


Exchange = Generator[Sequence[Request[R]], Sequence[Replied[R]], T]
"""Yields requests that are sent together, is sent the replies, and returns what came of it."""

Results = Generator[tuple[int, T | DecodelabError], None, None]
"""What came of exchanges as they end, each with its number; an error where only this one failed."""


class Client:
    """Carries on exchanges with one server, several at a time.

    Time-outs, connection faults, the statuses 408, 409, 425, 429 and from 500 on, and invalid responses are retried, up
    to 6 tries in all, after 1, 2, 4, ... seconds and a random part of one more, or after what Retry-After says. An
    exchange of which a request is refused (400, too long, filtered), or all tries fail, ends with that error, and the
    others go on. A wrong key, address or model (401, 403, 404, redirects), an account without credit (402, or an error
    called `insufficient_quota`, say, under any status) and a server that fails 3 requests in a row, or all, end
    everything, after the replies under way have been received. The key in `OPENAI_API_KEY` is sent to servers on this
    machine and over https only, and removed from everything that they say.

    Args:
        name: of the model, as the user wrote it.
        at_once: requests under way, at most, and exchanges.
        timeout: seconds for one request in all.
        sleep: how to wait for a number of seconds.

    Raises:
        RequestError: for an invalid name or key.
    """

    def __init__(self, name: str, *, at_once: int, timeout: float, sleep: Sleep = anyio.sleep) -> None:
        self.address = Address.of(name)
        self._at_once, self._timeout, self._sleep = at_once, timeout, sleep
        self._key = Secret.of(os.environ.get(KEY, "") if self.address.private else "", KEY)
        if len(self._key.text) >= PART and self._key.text in name:
            raise RequestError(f"endpoint: the address has the key of {KEY} in it; leave it out there")
        self._answered = False

    def hidden(self, said: str) -> str:
        """A text without the key."""
        return self._key.hidden(said)

    def run(self, exchanges: Sequence[Exchange[R, T]]) -> Results[T]:
        """Carry on exchanges; one that the server refuses fails alone. Closing it abandons those under way.

        Raises:
            EndpointFailed: when the server refuses all, or still fails after all tries; other results come before.
        """
        found: SimpleQueue[tuple[int, T | DecodelabError] | None] = SimpleQueue()
        # The event loop has its own thread: another loop (a notebook's) may run in this one, and Ctrl-C comes here.
        with start_blocking_portal() as portal:
            work = portal.start_task_soon(self._run, exchanges, found)
            work.add_done_callback(lambda _: found.put(None))
            while (result := found.get()) is not None:
                yield result
            work.result()

    async def _run(
        self, exchanges: Sequence[Exchange[R, T]], found: SimpleQueue[tuple[int, T | DecodelabError] | None]
    ) -> None:
        places = anyio.Semaphore(self._at_once)
        run = _Run(self._http(), anyio.Semaphore(self._at_once), anyio.CapacityLimiter(1))
        async with run.http, anyio.create_task_group() as group:

            async def carry(number: int, exchange: Exchange[R, T]) -> None:
                async with places:
                    try:
                        found.put((number, await self._carry(run, exchange)))
                    except _Ended:
                        return
                    except DecodelabError as error:
                        found.put((number, error))

            for number, exchange in enumerate(exchanges):
                group.start_soon(carry, number, exchange)
        if run.ending.why is not None:
            raise run.ending.why
        if run.lost and not self._answered:
            raise run.lost[-1]

    async def _carry(self, run: _Run, exchange: Exchange[R, T]) -> T:
        """One exchange from its beginning to its end.

        Raises:
            _Ended: if nothing is asked any more.
            DecodelabError: of a request, or of the exchange itself.
        """
        replies: Sequence[Replied[R]] | None = None
        while True:
            # What an exchange computes (it may ask a scorer) must not hold up other requests and their time-outs.
            step = await to_thread.run_sync(_advanced, exchange, replies, limiter=run.thinking)
            if isinstance(step, _Returned):
                return step.value
            replies = await self._all(run, step)

    async def _all(self, run: _Run, requests: Sequence[Request[R]]) -> list[Replied[R]]:
        """The replies to requests that are sent together."""
        found: dict[int, Replied[R]] = {}
        errors: list[Exception] = []

        async def one(number: int, request: Request[R]) -> None:
            try:
                found[number] = await self._one(run, request)
            except (DecodelabError, _Ended) as error:
                errors.append(error)
                group.cancel_scope.cancel()  # the exchange has failed: its other requests are of no use

        async with anyio.create_task_group() as group:
            for number, request in enumerate(requests):
                group.start_soon(one, number, request)
        if errors:
            raise errors[0]
        return [found[number] for number in range(len(requests))]

    async def _one(self, run: _Run, request: Request[R]) -> Replied[R]:
        async with run.turns:
            if run.ending.why is not None:
                raise _Ended
            try:
                reply = await self._tried(run, request)
            except EndpointFailed as error:
                run.ending.begin(error)
                raise _Ended from None
            except _Exhausted as error:
                run.lost.append(EndpointFailed(f"{error}; check the server and run again"))
                if len(run.lost) == LOST:
                    run.ending.begin(run.lost[-1])
                raise NoReply(str(error)) from None
            self._answered = True
            run.lost.clear()
            return reply

    def _http(self) -> httpx2.AsyncClient:
        # Compressed data could unpack to any size; bodies are small anyway.
        headers = {"accept-encoding": "identity", "content-type": "application/json"}
        if self._key.text:
            headers["authorization"] = f"Bearer {self._key.text}"
        try:
            return httpx2.AsyncClient(
                headers=headers,
                timeout=None,
                # No proxy between this machine and itself.
                trust_env=not self.address.here,
                # Plain http needs no certificates, and redirects are not followed: spare loading them.
                verify=self.address.url.startswith("https:"),
            )
        except (ValueError, OSError, httpx2.InvalidURL):  # whose text may have a proxy's password in it
            raise self._failed(
                "cannot be asked as the environment says", "correct HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE"
            ) from None

    async def _tried(self, run: _Run, request: Request[R]) -> Replied[R]:
        async def pause(seconds: float) -> None:
            with run.ending.pausing():
                await self._sleep(seconds)

        retrying = AsyncRetrying(
            sleep=pause,
            stop=stop_after_attempt(TRIES),
            wait=_wait,
            retry=retry_if_exception(lambda error: isinstance(error, Refused) and error.kind == "transient"),
            reraise=True,
        )
        try:
            return await retrying(self._attempt, run, request)
        except Refused as fault:
            raise self._refused(fault) from None

    async def _attempt(self, run: _Run, request: Request[R]) -> Replied[R]:
        if run.ending.why is not None:
            raise run.ending.why
        began = time.perf_counter()
        body = json.dumps(request.body).encode()
        try:
            with anyio.fail_after(self._timeout):
                async with run.http.stream("POST", request.url, content=body) as response:
                    data = bytearray()
                    async for chunk in response.aiter_raw():
                        data += chunk
                        if len(data) > request.largest:
                            raise Refused("transient", f"sent an invalid response: more than {request.largest:,} bytes")
        except TimeoutError:
            raise Refused("transient", f"did not reply within {self._timeout:g} s") from None
        except (httpx2.InvalidURL, httpx2.LocalProtocolError, UnicodeError):
            raise Refused("fatal", "cannot be asked: no request can have this address or key") from None
        except httpx2.HTTPError as error:
            raise Refused("transient", f"cannot be reached ({_why(error)})") from None
        if not response.is_success:
            raise refusal(response.status_code, bytes(data), _retry_after(response.headers.get("retry-after", "")))
        return Replied(request.read(bytes(data)), time.perf_counter() - began)

    def _refused(self, fault: Refused) -> Exception:
        """The error for a fault that trying again did not mend."""
        said = self._shown(fault.said)
        what = f"{fault} ({said})" if said else str(fault)
        if fault.kind == "too long":
            return PromptTooLong(f"endpoint {self.address.url}: the conversation is too long for it: {what}")
        if fault.kind == "alone":
            return NoReply(f"endpoint {self.address.url}, {self.address.model}: {what}")
        if fault.kind == "transient":
            return _Exhausted(f"endpoint {self.address.url}, {self.address.model}: {what}, {TRIES} times")
        if fault.kind == "account":
            return self._failed(
                what, "its account has no credit left, or is not active; check billing at the provider, then run again"
            )
        if fault.status in (401, 403):
            sent = f"check the key in {KEY}"
            return self._failed(what, sent if self._key.text else f"set {KEY}, which is sent over https and here")
        return self._failed(what, "check the address, the model's name and the settings")

    def _failed(self, what: str, fix: str) -> EndpointFailed:
        return EndpointFailed(f"endpoint {self.address.url}, {self.address.model}: {what}; {fix}")

    def _shown(self, said: str) -> str:
        """The beginning of a server's message, on one line, escaped and without the key."""
        shown = printable(" ".join(self._key.hidden(said[:_READ]).split()))
        return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."


class _Run:
    """What the exchanges of one run share.

    Attributes:
        http: the client for all requests.
        turns: for requests.
        thinking: for what exchanges compute, one at a time.
        ending: whether nothing is asked any more.
        lost: why requests failed for good since the last one that did not.
    """

    def __init__(self, http: httpx2.AsyncClient, turns: anyio.Semaphore, thinking: anyio.CapacityLimiter) -> None:
        self.http, self.turns, self.thinking = http, turns, thinking
        self.ending = _Ending()
        self.lost: list[EndpointFailed] = []


@dataclass(frozen=True)
class _Returned(Generic[T]):
    """An exchange is over."""

    value: T


def _advanced(exchange: Exchange[R, T], replies: Sequence[Replied[R]] | None) -> Sequence[Request[R]] | _Returned[T]:
    """The next requests of an exchange, or what it returns: no thread hands on a StopIteration."""
    try:
        return next(exchange) if replies is None else exchange.send(replies)
    except StopIteration as end:
        return _Returned(end.value)


class _Ended(Exception):
    """Nothing is asked any more."""


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
