"""Names of models that a server runs: `SCHEME:http://HOST:PORT/v1#MODEL`."""

from __future__ import annotations

SCHEMES = ("openai", "vllm", "sglang", "llama", "ollama", "decodelab")
"""What such names begin with, by what the server speaks."""


def names_server(name: str) -> bool:
    """Whether a name is a server's, or was meant to be.

    >>> names_server("openai:http://127.0.0.1:8000/v1#tiny"), names_server("./openai")
    (True, False)
    """
    scheme, colon, _ = name.partition(":")
    return bool(colon) and scheme in (*SCHEMES, "http", "https")
