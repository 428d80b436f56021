"""Names of servers: which names are servers' and how they are written."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from decodelab.backends.dialects import DIALECTS, OPENAI, Dialect
from decodelab.core.errors import RequestError, quoted

KEY = "OPENAI_API_KEY"
"""The environment variable that holds the key."""


@dataclass(frozen=True)
class Address:
    """Where a server is, what it speaks, what it calls the model, and whether it runs on this machine.

    Attributes:
        url: of its OpenAI routes.
        model: what it calls the model.
        here: whether it runs on this machine.
        dialect: what it speaks.
    """

    url: str
    model: str
    here: bool
    dialect: Dialect = OPENAI

    @staticmethod
    def of(name: str) -> Address:
        """Read `openai:http://HOST:PORT/v1#MODEL`; for other dialects, `/v1` may be left out.

        Raises:
            RequestError: for anything else, and for an address with a password in it, which a journal would store.

        >>> Address.of("openai:http://127.0.0.1:8000/v1#tiny").url
        'http://127.0.0.1:8000/v1'
        """
        scheme, _, rest = name.partition(":")
        url, _, model = rest.partition("#")
        if "@" in url or "?" in name:  # also where the rest is no address: what follows quotes it
            raise RequestError(f"endpoint: an address has no password and no query; put the key into {KEY}")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host, parts = None, urlsplit("")
        dialect = DIALECTS.get(scheme)
        if dialect is None or parts.scheme not in ("http", "https") or not host or not model:
            shown = scheme if dialect is not None else OPENAI.name
            raise RequestError(f"endpoint: write {shown}:http://HOST:PORT/v1#MODEL, got {quoted(name)}")
        url = url.rstrip("/")
        return Address(url if dialect is OPENAI else f"{url.removesuffix('/v1')}/v1", model, _is_here(host), dialect)

    @property
    def root(self) -> str:
        """Where the server's own routes are."""
        return self.url.removesuffix("/v1")

    @property
    def private(self) -> bool:
        """Whether nobody on the way can read what is sent."""
        return self.here or self.url.startswith("https:")


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
