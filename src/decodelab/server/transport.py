"""Bodies, answers and event streams over ASGI: what is read is bounded, and a client that goes away is noticed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
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


def json_bytes(document: Any) -> bytes:
    """A document as JSON in UTF-8, on one line."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def answered(document: Any) -> Response:
    """A JSON document as the response."""
    return Response(json_bytes(document), media_type="application/json")


def refused(error: ApiError) -> Response:
    """An error as the response."""
    return JSONResponse(error.body, error.status, error.headers)


class EventStream(Response):
    """A stream of server-sent events.

    An error after the first byte is one event and the end of the stream, without `[DONE]`. When the client leaves, the
    work is given up at once, not at the next event.

    Args:
        events: the documents to send, each the data of an event; or pairs with the name of the event.
        cancel: gives the work up.
        done: the data of the last event.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[dict[str, Any] | tuple[str, dict[str, Any]]],
        cancel: Callable[[], None],
        done: str | None = "[DONE]",
        failed: Callable[[ApiError], dict[str, Any] | tuple[str, dict[str, Any]]] = lambda error: error.body,
    ) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events, self._cancel, self._done, self._failed = events, cancel, done, failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        sending, gone = asyncio.ensure_future(self._send(send)), asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except OSError:  # the connection broke while something was sent
            pass
        finally:
            for task in (sending, gone):
                task.cancel()
            self._cancel()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        pending: asyncio.Future[Any] | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(anext(self._events))
                try:
                    event = await asyncio.wait_for(asyncio.shield(pending), QUIET)
                except TimeoutError:
                    await _write(send, b": still working\n\n")
                    continue
                pending = None
                await _write(send, _event(event))
        except StopAsyncIteration:
            end = b"" if self._done is None else f"data: {self._done}\n\n".encode()
        except ApiError as error:
            end = _event(self._failed(error))
        finally:
            if pending is not None:
                pending.cancel()
        await send({"type": "http.response.body", "body": end, "more_body": False})


def _event(event: dict[str, Any] | tuple[str, dict[str, Any]]) -> bytes:
    name, data = event if isinstance(event, tuple) else (None, event)
    return (b"" if name is None else f"event: {name}\n".encode()) + b"data: " + json_bytes(data) + b"\n\n"


async def _write(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})
