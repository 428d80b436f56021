"""Back ends by the scheme of a model's name: `SCHEME:...`; a name without a scheme is a local model's.

A third party adds one with an entry point in the group `decodelab.backends`, named by its scheme: a class without
parameters whose objects are `decodelab.backends.chat.Backend`.
"""

from __future__ import annotations

from typing import cast

from decodelab.backends.chat import Backend, ChatModel, ChatSettings
from decodelab.backends.texts import TextBackend, TextModel
from decodelab.core.errors import ModelError, RequestError, did_you_mean, quoted
from decodelab.core.registry import Registry
from decodelab.core.servers import SCHEMES

LOCAL = "local"

BACKENDS: Registry[type[Backend]] = Registry(
    "back end",
    "decodelab.backends",
    {
        LOCAL: "decodelab.backends.local_chat:LocalBackend",
        **dict.fromkeys((*SCHEMES, "http", "https"), "decodelab.backends.endpoint:ServerBackend"),
    },
    broken=ModelError,
)


def backend_of(name: str) -> Backend:
    """The back end of a model's name.

    Raises:
        RequestError: for an address of a scheme that no back end has; it is not repeated, as a key may be in it.
        ModelError: if the package that provides it cannot be imported.

    >>> backend_of("pocket-nano").remote, backend_of("openai:http://127.0.0.1:8000/v1#tiny").remote
    (False, True)
    """
    scheme, colon, _ = name.partition(":")
    if "://" in name and scheme not in BACKENDS:
        similar = did_you_mean(scheme, BACKENDS.entries())
        raise RequestError(f"no back end has this address; write openai:http://HOST:PORT/v1#MODEL{similar}")
    return cast(Backend, BACKENDS.make(scheme if colon and scheme in BACKENDS else LOCAL))


def names_text_model(name: str) -> bool:
    """Whether a name is that of a model that continues texts and shows no logits.

    Raises:
        RequestError: as `backend_of`.
    """
    return isinstance(backend_of(name), TextBackend)


def text_model(name: str) -> TextModel | None:
    """The model of a name that continues texts and shows no logits; None where it is a local one.

    Raises:
        RequestError: for an invalid name or key.
        ModelError: for a back end that continues no texts.
    """
    backend = backend_of(name)
    if isinstance(backend, TextBackend):
        return backend.text_model(name)
    if backend.remote:
        raise ModelError(f"model: {quoted(name)} answers chats only, as a judge; give another")
    return None


def chat_model(
    name: str, *, temperature: float = 0.0, max_tokens: int | None = None, at_once: int = 8, timeout: float = 300.0
) -> ChatModel:
    """A chat model: a local one by a name that `load` takes, or a server's as `openai:http://HOST:PORT/v1#MODEL`.

    Args:
        name: of the model.
        temperature, max_tokens, at_once, timeout: as in `ChatSettings`.

    Raises:
        RequestError: for an invalid name or number.
        ModelError: for a model that cannot be loaded.
    """
    settings = ChatSettings(temperature, max_tokens, at_once, timeout)
    return backend_of(name).chat_model(name, settings)
