"""Our attention functions inside transformers' forward passes, through its attention interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor
from transformers import AttentionInterface

from decodelab.models.prefix import SharedAttention

_NAME = "decodelab_shared"

Attend = Callable[..., Tensor]
"""Takes a module, its queries, keys and values, and what transformers passes by name; masks are its own matter."""

_current: ContextVar[Attend] = ContextVar(_NAME)


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """An attention function as transformers calls it."""
    return _current.get()(module, query, key, value, **kwargs).contiguous(), None


def prefixed(attention: SharedAttention, windows: Sequence[int | None]) -> Attend:
    """Attention to shared prefixes; `windows` are those of the layers."""

    def attend(
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float | None = None,
        softcap: float | None = None,
        s_aux: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        layer = module.layer_idx
        return attention(query, key, value, layer, scale=scaling, window=windows[layer], softcap=softcap, sinks=s_aux)

    return attend


def configs(model: Any) -> list[Any]:
    """The configurations that the parts of a model look at."""
    return list({id(part.config): part.config for part in model.modules() if hasattr(part, "config")}.values())


@contextmanager
def attending(parts: Sequence[Any], attend: Attend) -> Iterator[None]:
    """Within this context the layers of a model use `attend`; `parts` are its `configs`.

    transformers builds no mask for an attention function that it knows no mask function for.
    """
    AttentionInterface.register(_NAME, _attend)
    before = [config._attn_implementation for config in parts]
    token = _current.set(attend)
    try:
        for config in parts:
            config._attn_implementation = _NAME
        yield
    finally:
        for config, name in zip(parts, before, strict=True):
            config._attn_implementation = name
        _current.reset(token)
