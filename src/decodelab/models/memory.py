"""How much memory a model takes, and how much there is."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import torch

from decodelab.core.protocols import Composed, LanguageModel, Network


def weight_bytes(model: LanguageModel) -> int:
    """Bytes of a loaded model's weights; 0 of one without any, such as a table.

    >>> from decodelab.models.loading import load
    >>> weight_bytes(load("pocket-nano")) > 1_000_000
    True
    """
    if isinstance(model, Composed):
        return sum(map(weight_bytes, model.parts))
    if not isinstance(model, Network):
        return 0
    return sum(weight.numel() * weight.element_size() for weight in model.weights)


def available_bytes() -> int | None:
    """Bytes still available where models are loaded by default: of the GPU's memory, or the machine's.

    The machine's memory on Linux only, within the limit of a container; None where it is not known.
    """
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    try:
        free = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
        found = int(free.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        allowed, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no such file, or `max`
        return found
    return min(found, allowed - used)


def resident_bytes() -> int | None:
    """Bytes of the machine's memory that this process holds; None where it is not known (elsewhere than on Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back_free_memory() -> None:
    """Give the system back what the heap holds free, where the C library can (glibc).

    Small pieces that are kept between the large buffers of forward passes keep the heap from shrinking by itself.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
