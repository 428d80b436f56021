"""What runs of training share: the number of threads, and the curve of the loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Compute with that many threads in the block; None changes nothing."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def curve(path: Path, start: int) -> Path:
    """Cut the recorded loss curve back to `start` steps, so that a resumed run records each step once."""
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines[:start] if line.endswith("}")]
    path.write_text("".join(line + "\n" for line in kept))
    return path
