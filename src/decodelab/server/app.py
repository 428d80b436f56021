"""The application: routes, the key that guards them, and what is told of each request."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

import decodelab
from decodelab.core.protocols import LanguageModel
from decodelab.server.docs_page import POLICY, docs_page
from decodelab.server.errors import ApiError, invalid
from decodelab.server.llama_completion import LlamaAnswer, completion_parameters, in_their_words
from decodelab.server.metrics import Metrics
from decodelab.server.openapi import describe
from decodelab.server.parameters import Route, parameters
from decodelab.server.reading import read_request
from decodelab.server.response_items import chat_parameters
from decodelab.server.responses import ResponseAnswer
from decodelab.server.serving import Models, Work, begin
from decodelab.server.settings import ServerSettings
from decodelab.server.text_routes import add_text_routes
from decodelab.server.transport import ClientGone, EventStream, answered, read_body, refused, unless_gone

LOG = logging.getLogger("decodelab.server")
_OPEN = ("/health",)
"""Routes that need no key."""
_GONE = 499
"""The status that is counted where a client has left, as nginx has it."""

_OTHER = ("tools", "tool_choice")
"""Parameters of the Responses API that have another form in chats."""

Handler = Callable[[Request], Awaitable[Response]]


def create_app(models: Mapping[str, LanguageModel], settings: ServerSettings) -> FastAPI:
    """The application that serves models.

    Args:
        models: by the names that requests give.
        settings: how much is taken; where it listens is for the one who runs the application.

    >>> import decodelab as dl
    >>> app = create_app({"nano": dl.load("pocket-nano")}, ServerSettings())
    >>> "/v1/completions" in app.openapi()["paths"]
    True
    """
    served = Models(models, settings)
    metrics = Metrics(served)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        served.start()
        yield
        await served.stop()

    app = FastAPI(
        title="decodelab",
        version=decodelab.__version__,
        description="Every decoding strategy over the APIs people use.",
        lifespan=lifespan,
        # Their own routes would need no key, and their page loads scripts from elsewhere.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.models = served
    if settings.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(settings.origins), allow_methods=["*"], allow_headers=["*"]
        )

    async def ended(route: str, began: float) -> None:
        metrics.latency.labels(route).observe(time.perf_counter() - began)

    def told(route: str, handler: Handler) -> Handler:
        """A handler whose errors become responses, and whose requests are counted."""

        @wraps(handler)
        async def run(request: Request) -> Response:
            began = time.perf_counter()
            try:
                if route not in _OPEN:
                    _check_key(request, settings)
                response = await handler(request)
            except ApiError as error:
                response = refused(error)
            except ClientGone:
                response = Response(status_code=_GONE)
            except Exception:
                LOG.exception("a request to %s failed", route)
                response = refused(ApiError(500, "the server failed; its log says why", code="internal"))
            metrics.requests.labels(route, response.status_code).inc()
            response.background = BackgroundTask(ended, route, began)  # a stream is sent after its handler has returned
            return response

        return run

    def add(path: str, handler: Handler, method: str = "GET") -> None:
        app.add_api_route(path, told(path, handler), methods=[method], summary=(handler.__doc__ or "").strip())

    async def whole(request: Request, work: Work, document: Awaitable[dict[str, Any]]) -> Response:
        try:
            return answered(await unless_gone(request, document))
        finally:
            work.cancel()

    async def generated(route: Route, request: Request) -> Response:
        asked = read_request(route, await read_body(request, settings.max_body), settings.defaults)
        work = await begin(route, asked, served, _client(request))
        if work.plan.shown.stream:
            return EventStream(_timed(work, metrics), work.cancel, settings.deadline)
        return await whole(request, work, work.document())

    async def completions(request: Request) -> Response:
        """Continue prompts."""
        return await generated("completions", request)

    async def chat(request: Request) -> Response:
        """Answer a conversation."""
        return await generated("chat", request)

    async def responses(request: Request) -> Response:
        """Answer a conversation, in the words of the Responses API."""
        asked = read_request("responses", await read_body(request, settings.max_body), settings.defaults)
        shared = [p.name for p in parameters("responses").values() if p.role in ("sampling", "constraint")]
        chat = chat_parameters(asked, [name for name in shared if name in parameters("chat") and name not in _OTHER])
        if chat.get("stream"):
            chat["stream_options"] = {"include_usage": True}
        work = await begin("chat", chat, served, _client(request))
        answer = ResponseAnswer(asked, work)
        if work.plan.shown.stream:
            return EventStream(answer.events(), work.cancel, settings.deadline, None, answer.failed)
        return await whole(request, work, answer.document())

    async def llama_completion(request: Request) -> Response:
        """Continue a prompt, in the words of llama.cpp's server."""
        asked = read_request("llama", await read_body(request, settings.max_body), {})
        name = asked.get("model") or _only(served)
        ours = completion_parameters(asked, served[name].model, settings)
        try:
            work = await begin("completions", ours | {"model": name}, served, _client(request))
        except ApiError as error:
            raise in_their_words(error, asked) from error
        answer = LlamaAnswer(asked, work)
        if work.plan.shown.stream:
            return EventStream(answer.pieces(), work.cancel, settings.deadline, None)
        return await whole(request, work, answer.document())

    async def health(request: Request) -> Response:
        """Whether the server runs."""
        return answered({"status": "ok"})

    async def ready(request: Request) -> Response:
        """Whether it takes requests."""
        if not all(engine.alive for engine in served.engines.values()):
            raise ApiError(503, "the server is starting or shutting down", code="not_ready")
        return answered({"status": "ready", "models": list(served.engines)})

    async def version(request: Request) -> Response:
        """Which decodelab this is."""
        return answered({"version": decodelab.__version__})

    async def numbers(request: Request) -> Response:
        """What the server counts, for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    async def document(request: Request) -> Response:
        """The OpenAPI document."""
        return answered(app.openapi())

    async def docs(request: Request) -> Response:
        """The routes and their parameters, to read."""
        return HTMLResponse(docs_page(app.openapi()), headers={"content-security-policy": POLICY})

    add("/docs", docs)
    add("/openapi.json", document)
    add("/v1/completions", completions, "POST")
    add("/v1/chat/completions", chat, "POST")
    add("/v1/responses", responses, "POST")
    add("/completion", llama_completion, "POST")
    add_text_routes(add, served, settings)
    add("/health", health)
    add("/ready", ready)
    add("/version", version)
    add("/metrics", numbers)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: Exception) -> Response:  # pyright: ignore[reportUnusedFunction]
        status = cast(HTTPException, error).status_code
        what = {404: f"there is no {request.url.path}; see /docs", 405: f"{request.method} is not allowed here"}
        return refused(ApiError(status, what.get(status, "the request failed"), code="not_found"))

    describe(app, list(models))
    return app


def _check_key(request: Request, settings: ServerSettings) -> None:
    key = settings.api_key.text
    if key and not hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {key}".encode()):
        raise ApiError(
            401, "the key is missing or wrong; send it as 'Authorization: Bearer KEY'", code="invalid_api_key"
        )


def _client(request: Request) -> str:
    """Who asks, for fairness: by key and address; a user that a client names is not believed."""
    return request.client.host if request.client is not None else ""


def _only(models: Models) -> str:
    """The model that is meant where none is named.

    Raises:
        ApiError: 400 where there are several.
    """
    names = list(models.engines)
    if len(names) > 1:
        raise invalid("model", f"model is missing; served are {', '.join(names)}: name one")
    return names[0]


async def _timed(work: Work, metrics: Metrics) -> AsyncIterator[list[dict[str, Any]]]:
    """The pieces of an answer, and how long the client waited for each."""
    last, first = time.perf_counter(), True
    async for pieces in work.pieces():
        if any(_says(choice) for piece in pieces for choice in piece["choices"]):
            now = time.perf_counter()
            (metrics.first if first else metrics.between).observe(now - last)
            last, first = now, False
        yield pieces


def _says(choice: Mapping[str, Any]) -> bool:
    return bool(choice.get("text") or choice.get("delta", {}).get("content"))
