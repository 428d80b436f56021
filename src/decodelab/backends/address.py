"""Names of servers: which names are servers' and how they are written."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from decodelab.core.errors import RequestError, quoted

KEY = "OPENAI_API_KEY"
"""The environment variable that holds the key."""


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
            RequestError: for anything else, and for an address with a password in it, which a journal would store.

        >>> Address.of("openai:http://127.0.0.1:8000/v1#tiny").url
        'http://127.0.0.1:8000/v1'
        """
        url, _, model = name.removeprefix("openai:").partition("#")
        if "@" in url or "?" in name:  # also where the rest is no address: what follows quotes it
            raise RequestError(f"endpoint: an address has no password and no query; put the key into {KEY}")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host, parts = None, urlsplit("")
        if not name.startswith("openai:") or parts.scheme not in ("http", "https") or not host or not model:
            raise RequestError(f"endpoint: write openai:http://HOST:PORT/v1#MODEL, got {quoted(name)}")
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
