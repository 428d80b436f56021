"""How many CPU threads to use for a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decodelab.core.protocols import LanguageModel

SMALL = 20_000_000
"""Parameters below which one thread is enough."""


@contextmanager
def threads_for(model: LanguageModel) -> Iterator[None]:
    """Compute with a small model on one thread inside the block; leave torch's choice to larger ones.

    On two idle cores a second thread makes pocket-small a tenth faster; on busy cores, threads that wait for each other
    made `decodelab demo` take seven minutes instead of twenty seconds.
    """
    import torch

    from decodelab.core.protocols import Network

    before = torch.get_num_threads()
    small = not isinstance(model, Network) or sum(weight.numel() for weight in model.weights) < SMALL
    try:
        if small:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)
