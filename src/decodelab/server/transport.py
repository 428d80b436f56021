"""Bodies, answers and event streams over ASGI: what is read is bounded, and a client that goes away is noticed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from decodelab.server.errors import ApiError

QUIET = 15.0
"""Seconds after which a stream that has nothing to say sends a comment, so that nothing between takes it for dead."""

Result = TypeVar("Result")


class ClientGone(Exception):
    """The client has closed the connection."""


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request.

    Raises:
        ApiError: 413 if it is too large.
        ClientGone: if the client leaves before it is whole.
    """
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > most:
            raise ApiError(413, f"the body must have at most {most} bytes", code="too_large")
        if not message.get("more_body", False):
            return bytes(body)


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """What a piece of work gives, as long as the client waits for it.

    Raises:
        ClientGone: when the client has left; the work is cancelled.
    """
    running, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({running, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise ClientGone
        return running.result()
    finally:
        for task in (running, gone):
            task.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_bytes(document: Any) -> bytes:
    """A document as JSON in UTF-8, on one line."""
    return _JSON.encode(document).encode()


def answered(document: Any) -> Response:
    """A JSON document as the response."""
    return Response(json_bytes(document), media_type="application/json")


def refused(error: ApiError) -> Response:
    """An error as the response."""
    return JSONResponse(error.body, error.status, error.headers)


Event = dict[str, Any] | tuple[str, dict[str, Any]]
"""The document that is the data of an event; or a pair with the name of the event."""


class EventStream(Response):
    """A stream of server-sent events.

    Events that come together are one write. An error after the first byte is one event and the end of the stream,
    without `[DONE]`. When the client leaves, the work is given up at once, not at the next event; so it is when the
    client does not read what it is sent, as what waits for it takes memory.

    Args:
        events: the events to send.
        cancel: gives the work up.
        patience: seconds that one write may take.
        done: the data of the last event.
        failed: the last event of a stream that fails.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[Sequence[Event]],
        cancel: Callable[[], None],
        patience: float,
        done: str | None = "[DONE]",
        failed: Callable[[ApiError], Event] = lambda error: error.body,
    ) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events, self._cancel, self._patience, self._done, self._failed = events, cancel, patience, done, failed
        self._writing, self._since = True, time.monotonic()  # the head of the response, at first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        tasks = [asyncio.ensure_future(work) for work in (self._send(send), _gone(receive), self._watch(send))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        except OSError:  # the connection broke while something was sent, or the client does not read (TimeoutError)
            pass
        finally:
            for task in tasks:
                task.cancel()
            self._cancel()
            if self.background is not None:
                await self.background()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        self._writing = False
        try:
            async for events in self._events:
                if events:
                    await self._write(send, b"".join(map(_event, events)))
            end = b"" if self._done is None else f"data: {self._done}\n\n".encode()
        except ApiError as error:
            end = _event(self._failed(error))
        await self._write(send, end, last=True)

    async def _watch(self, send: Send) -> None:
        """Send a comment whenever nothing else has been sent for a while; give up a client that does not read.

        Raises:
            TimeoutError: if a write takes too long.
        """
        while True:
            wait = (self._patience if self._writing else QUIET) - (time.monotonic() - self._since)
            if wait > 0:
                await asyncio.sleep(min(wait, QUIET, self._patience))
            elif self._writing:
                raise TimeoutError
            else:
                async with asyncio.timeout(self._patience):
                    await self._write(send, b": still working\n\n")

    async def _write(self, send: Send, data: bytes, *, last: bool = False) -> None:
        self._writing, self._since = True, time.monotonic()
        await send({"type": "http.response.body", "body": data, "more_body": not last})
        self._writing = False


def _event(event: Event) -> bytes:
    name, data = event if isinstance(event, tuple) else (None, event)
    return (b"" if name is None else f"event: {name}\n".encode()) + b"data: " + json_bytes(data) + b"\n\n"
