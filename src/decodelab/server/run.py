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
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    with suppress(KeyboardInterrupt):  # uvicorn raises it again once it has stopped
        Server(models, settings, lambda: ready(address)).run(sockets=[listener])


class Server(uvicorn.Server):
    """A server that says when it takes requests, and lets those that run come to an end when it stops.

    Args:
        models: by the names that requests give.
        settings: how much is taken.
        ready: called once requests are taken.
    """

    def __init__(
        self, models: Mapping[str, LanguageModel], settings: ServerSettings, ready: Callable[[], None]
    ) -> None:
        app = create_app(models, settings)
        grace = int(settings.grace) + 2  # after the engines have failed what still runs
        quiet = {"log_level": "warning", "access_log": False, "server_header": False}
        super().__init__(uvicorn.Config(app, timeout_graceful_shutdown=grace, timeout_keep_alive=30, **quiet))
        self._app, self._ready = app, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, and wait for what runs."""
        self._app.state.models.close()
        await super().shutdown(sockets)


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
