"""Chat models by name."""

from __future__ import annotations

from decodelab.backends.address import is_server
from decodelab.backends.chat import ChatModel
from decodelab.core.errors import RequestError


def chat_model(
    name: str, *, temperature: float = 0.0, max_tokens: int | None = None, at_once: int = 8, timeout: float = 300.0
) -> ChatModel:
    """A chat model: a local one by a name that `load` takes, or a server's as `openai:http://HOST:PORT/v1#MODEL`.

    Args:
        name: of the model.
        temperature: 0 for the most probable reply.
        max_tokens: most tokens of a reply; None leaves it to a server, and means 64 for a local model.
        at_once: concurrent requests.
        timeout: seconds after which a request is retried.

    Raises:
        RequestError: for an invalid name or number.
        ModelError: for a model that cannot be loaded.
    """
    for what, value, least in (("temperature", temperature, 0), ("max_tokens", max_tokens, 1), ("at_once", at_once, 1)):
        if value is not None and not least <= value < 1e6:
            raise RequestError(f"{what} must be at least {least}, got {value}; leave it out for the default")
    if not 0 < timeout < 1e6:
        raise RequestError(f"timeout must be above 0 seconds, got {timeout}; leave it out for the default")
    if is_server(name):
        from decodelab.backends.endpoint import Endpoint

        return Endpoint(name, temperature=temperature, max_tokens=max_tokens, at_once=at_once, timeout=timeout)
    from decodelab.backends.local_chat import LocalChat

    return LocalChat(name, temperature=temperature, max_tokens=max_tokens or 64, at_once=at_once)
