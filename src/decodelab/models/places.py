"""Where a model computes, and in which number format, by name."""

from __future__ import annotations

import torch

from decodelab.core.errors import ModelError, did_you_mean

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def device_named(name: str) -> torch.device:
    """The device of that name, checked to be there.

    Raises:
        ModelError: when there is no such device.
    """
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    there = ["cpu"]
    there += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))] if torch.cuda.is_available() else []
    there += ["mps"] if torch.backends.mps.is_available() else []
    if name not in there:
        raise ModelError(f"device: must be one of auto, {', '.join(there)} on this machine, got {name!r}; use auto")
    return torch.device(name)


def dtype_named(name: str, device: torch.device) -> torch.dtype | None:
    """The number format of that name; None means the checkpoint's own.

    Raises:
        ModelError: when the name is unknown.
    """
    if name == "auto":
        return torch.float32 if device.type == "cpu" else None
    if name not in _DTYPES:
        allowed = ", ".join(["auto", *_DTYPES])
        raise ModelError(f"dtype: must be one of {allowed}, got {name!r}{did_you_mean(name, _DTYPES) or '; use auto'}")
    return _DTYPES[name]
