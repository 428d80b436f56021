"""How long a sequence a configuration allows, its rotary embedding's factor included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")


def context_length(config: Mapping[str, Any]) -> int | None:
    """The longest sequence of a model with this configuration, or None when it sets no bound.

    A rotary embedding that stretches `original_max_position_embeddings` by a factor (linear, dynamic, yarn, longrope,
    llama3) allows their product where that is more than the configuration's own length: some checkpoints state the
    original length in both places, others the stretched one. Without an original length, the configuration's own is
    taken for it, as transformers does. Factors that differ from layer to layer change nothing.

    >>> context_length({"max_position_embeddings": 64, "rope_scaling": {"type": "yarn", "factor": 4.0}})
    256
    >>> scaling = {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096}
    >>> context_length({"max_position_embeddings": 163840, "rope_parameters": scaling})
    163840
    """
    own = next((v for field in _FIELDS if (v := _positive(config.get(field)))), None)
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    # Gemma 3 as it is published: the factor is that of its layers without a window.
    if own is None or not isinstance(rope, Mapping) or "rope_local_base_freq" in config:
        return own
    kind, factor = rope.get("rope_type") or rope.get("type"), rope.get("factor")
    if kind in (None, "default") or isinstance(factor, bool) or not isinstance(factor, int | float):
        return own
    original = next(
        (v for place in (config, rope) if (v := _positive(place.get("original_max_position_embeddings")))), None
    )
    return max(own, int((original or own) * factor)) if 1 < factor < 1e6 else own


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
