"""How a server listens, and how much it takes."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from decodelab.core.errors import RequestError
from decodelab.core.secret import Secret


@dataclass(frozen=True)
class ServerSettings:
    """How a server listens, and how much it takes.

    Attributes:
        host, port: where it listens.
        api_key: what clients must send as `Authorization: Bearer KEY`; empty for anyone on this machine.
        origins: web pages that may ask it from a browser (CORS); none by default.
        max_rows: sequences that each model computes at once.
        memory: bytes of cache that running requests of a model may come to hold; None for no bound.
        max_queue: requests that may wait for a model; further ones are refused with 429.
        max_tokens: new tokens of one request at most, all its sequences together.
        max_logprobs: most probable tokens that may be asked for at each place.
        max_body: bytes of a request.
        max_constraint: characters of a grammar, schema or pattern.
        deadline: seconds after which a request is given up, waiting included.
        defaults: parameters of requests that do not give them themselves, by name.
        grace: seconds that running requests have when the server is asked to stop.

    Raises:
        RequestError: for an address that others can reach without a key, or a number out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: Secret = field(default_factory=lambda: Secret(""))
    origins: tuple[str, ...] = ()
    max_rows: int = 64
    memory: int | None = None
    max_queue: int = 256
    max_tokens: int = 65_536
    max_logprobs: int = 20
    max_body: int = 4 * 2**20
    max_constraint: int = 65_536
    deadline: float = 600.0
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    grace: float = 10.0

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.api_key.text and not _is_here(self.host):
            raise RequestError(
                f"serve: {self.host} can be reached by others, which needs a key; set DECODELAB_API_KEY or give "
                "--api-key-file, or listen on 127.0.0.1"
            )
        if not 0 <= self.port < 65_536:
            raise RequestError(f"serve: port must be in [0, 65535], got {self.port}; 0 takes a free one")
        least = {"max_rows": 1, "max_queue": 1, "max_tokens": 1, "max_logprobs": 0, "max_body": 1, "max_constraint": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise RequestError(f"serve: {name} must be at least {low}, got {getattr(self, name)}; leave it out")
        if not self.deadline > 0 or not self.grace >= 0:
            raise RequestError(
                f"serve: deadline must be above 0 seconds and grace at least 0, got {self.deadline} and {self.grace}"
            )


def _is_here(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
