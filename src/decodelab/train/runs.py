"""What runs of training share: the number of threads, and the curve of the loss."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
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


def train(
    recorded: Path,
    start: int,
    steps: int,
    take: Callable[[int], float],
    save: Callable[[int], None],
    *,
    every: int,
    observer: Callable[[int, float], None] | None,
) -> Path:
    """Take the steps of a run from `start` on, recording the loss and saving now and then.

    Args:
        recorded: the file of the curve, a line a step with its number, loss and seconds.
        start: steps that are done.
        steps: all.
        take: takes one step, given how many are done; its loss.
        save: saves what a resumed run needs, given how many steps are done.
        every: steps between two savings; the last step is followed by one.
        observer: told after each step how many are done, and its loss.

    Returns:
        The file of the curve.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    curve(recorded, start)
    spent = json.loads(recorded.read_text().splitlines()[-1])["seconds"] if start else 0.0
    started = time.monotonic() - spent
    with recorded.open("a", encoding="utf-8") as record:
        for step in range(start, steps):
            loss = take(step)
            if not math.isfinite(loss):
                raise FloatingPointError(f"loss is {loss} at step {step + 1}; lower the learning rate")
            line = {"step": step + 1, "loss": round(loss, 5), "seconds": round(time.monotonic() - started, 2)}
            record.write(json.dumps(line) + "\n")
            record.flush()
            if observer:
                observer(step + 1, loss)
            if (step + 1) % every == 0 or step + 1 == steps:
                save(step + 1)
    return recorded
