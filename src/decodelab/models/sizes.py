"""What a configuration asks for, compared with what the weight files hold, before anything is built."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from decodelab.core.errors import ModelFormatError, quoted

_LAYERS = re.compile(r"(num_|n_)?(hidden_|encoder_|decoder_)?layers?")
_SIZES = re.compile(r".*(_size|_dim|_heads|_experts|embd|d_model|d_ff|n_inner|n_head|d_kv)")
_NOT_SIZES = re.compile(r".*(window|chunk|block|image|patch|batch).*")

_DEEPEST = 4
"""Levels of nested configurations (text, vision) that are looked at."""

_SPARE = 2
"""How many times the numbers of the weight files a network may have: what is tied is in the file once."""

_TABLES = 2**27
"""Numbers that tables made from the configuration, of masks or positions, may have beside them."""


def check_config(directory: Path, config: Mapping[str, Any], tensors: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a configuration that names more layers, or larger sizes, than the weights can have.

    Every layer has a tensor of its own, and every size is a dimension or the number of some tensors. Building the
    network to find out would run, or allocate, without end.

    Args:
        directory: what errors name.
        config: its config.json.
        tensors: the entries of the headers of its weight files.

    Raises:
        ModelFormatError: naming the field.
    """
    largest = max([len(tensors), *(max(tensor["shape"], default=1) for tensor in tensors)])
    # A projection may be stored fused with others, or its sizes as a product (heads times their size).
    most = min(16 * largest, sum(math.prod(tensor["shape"]) for tensor in tensors))
    for field, value in _integers(config):
        bound = len(tensors) if _LAYERS.fullmatch(field) else most
        if value > bound:
            raise ModelFormatError(
                f"model: config.json of {quoted(directory)} says {field} = {quoted(value)}, and its weights are "
                f"{len(tensors)} tensors, the largest dimension {largest}: they do not belong together; "
                "get a complete copy"
            )


def _integers(config: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, int]]:
    """Fields of a configuration, and of those in it, that say how much is to be built."""
    for field, value in config.items():
        if isinstance(value, Mapping) and depth < _DEEPEST and field != "quantization_config":
            yield from _integers(value, depth + 1)
        elif isinstance(value, int) and not isinstance(value, bool) and _builds(field):
            yield field, value


def _builds(field: str) -> bool:
    """Whether a field says how much of something is built."""
    return bool(_LAYERS.fullmatch(field) or (_SIZES.fullmatch(field) and not _NOT_SIZES.fullmatch(field)))


def check_network(directory: Path, network: Any, tensors: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a network that is much larger than its weight files, before memory is asked for.

    Args:
        directory: what errors name.
        network: what the configuration describes, on the meta device, without memory.
        tensors: the entries of the headers of its weight files.

    Raises:
        ModelFormatError: giving both numbers.
    """
    held = sum(math.prod(tensor["shape"]) for tensor in tensors)
    packed = 16 if getattr(network.config, "quantization_config", None) else 1
    wanted = sum(parameter.numel() for parameter in network.parameters())
    tables = sum(buffer.numel() for buffer in network.buffers())
    if wanted > held * _SPARE * packed or tables > held * _SPARE + _TABLES:
        raise ModelFormatError(
            f"model: config.json of {quoted(directory)} describes {wanted + tables:,} numbers, its weights hold "
            f"{held:,}: they do not belong together; get a complete copy"
        )
