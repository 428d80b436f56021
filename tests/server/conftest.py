"""A server on a free port, as users run it, for all tests of this folder."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import httpx2
import pytest

import decodelab as dl
from decodelab.core.protocols import LanguageModel
from decodelab.server.run import Server
from decodelab.server.settings import ServerSettings


@contextmanager
def served(models: Mapping[str, LanguageModel], settings: ServerSettings | None = None) -> Iterator[str]:
    """Serve models; gives the address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = Server(models, settings or ServerSettings(grace=1.0), lambda: None)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def serve() -> Serve:
    """`with serve(models, settings) as address`."""
    return served


@pytest.fixture(scope="session")
def nano() -> LanguageModel:
    """The smallest shipped model."""
    return dl.load("pocket-nano")


@pytest.fixture(scope="session")
def address(nano: LanguageModel) -> Iterator[str]:
    """A server of it."""
    with served({"nano": nano}) as address:
        yield address


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[httpx2.Client]:
    """A client of that server."""
    with httpx2.Client(base_url=address, timeout=60) as client:
        yield client
