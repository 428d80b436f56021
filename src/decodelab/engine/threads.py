"""How many CPU threads a model is worth."""

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

    Shared out, the matrices of pocket-small gain a tenth on two idle cores; where the cores have other work, threads
    that wait for each other made `decodelab demo` take seven minutes instead of twenty seconds.
    """
    import torch

    from decodelab.models.transformers_model import TransformersModel

    before = torch.get_num_threads()
    small = not isinstance(model, TransformersModel) or model.model.num_parameters() < SMALL
    try:
        if small:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)
