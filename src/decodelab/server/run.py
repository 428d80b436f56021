"""Run the application on a socket until someone stops it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress

import uvicorn

from decodelab.core.errors import RequestError
from decodelab.core.protocols import LanguageModel
from decodelab.server.app import create_app
from decodelab.server.settings import ServerSettings


def serve(models: Mapping[str, LanguageModel], settings: ServerSettings, ready: Callable[[str], None]) -> None:
    """Serve models until Ctrl-C or SIGTERM; running requests then have the grace of the settings.

    Args:
        models: by the names that requests give.
        settings: where to listen, and how much is taken.
        ready: is told the address once requests are taken.

    Raises:
        RequestError: if the address cannot be listened on.
    """
    listener = _listener(settings)
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        create_app(models, settings),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=int(settings.grace) + 1,
        timeout_keep_alive=30,
        server_header=False,
    )
    server = _Server(config, lambda: ready(f"http://{f'[{host}]' if ':' in host else host}:{port}"))
    with suppress(KeyboardInterrupt):  # uvicorn raises it again once it has stopped
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that says when it takes requests."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        self._ready()


def _listener(settings: ServerSettings) -> socket.socket:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise RequestError(
            f"serve: cannot listen on {settings.host}:{settings.port} ({error.strerror or error}); give another --port"
        ) from None
    return listener
