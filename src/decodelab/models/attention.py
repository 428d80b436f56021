"""The attention of transformers' own forward passes, led to shared prefixes through its attention interface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor
from transformers import AttentionInterface

from decodelab.models.prefix import SharedAttention

_NAME = "decodelab_shared"

_current: ContextVar[tuple[SharedAttention, Sequence[int | None]]] = ContextVar(_NAME)


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """An attention function as transformers calls it; masks and windows come from the cache, not from the caller."""
    attention, windows = _current.get()
    layer = module.layer_idx
    out = attention(query, key, value, layer, scale=scaling, window=windows[layer], softcap=softcap, sinks=s_aux)
    return out.contiguous(), None


@contextmanager
def attending(model: Any, attention: SharedAttention, windows: Sequence[int | None]) -> Iterator[None]:
    """Within this block the attention of a model's layers is `attention`; `windows` are those of its layers.

    transformers builds no mask for an attention function that it knows no mask function for.
    """
    AttentionInterface.register(_NAME, _attend)
    configs = {id(part.config): part.config for part in model.modules() if hasattr(part, "config")}.values()
    before = [config._attn_implementation for config in configs]
    token = _current.set((attention, windows))
    try:
        for config in configs:
            config._attn_implementation = _NAME
        yield
    finally:
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name
        _current.reset(token)
