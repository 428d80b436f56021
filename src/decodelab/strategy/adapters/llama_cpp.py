"""Strategies inside llama-cpp-python."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from decodelab.core.protocols import Vocab
from decodelab.strategy.adapters.run import Run
from decodelab.strategy.strategy import Strategy


class LlamaCppLogitsProcessor:
    """The processors of a strategy as a `logits_processor` of llama-cpp-python.

    It is called with all tokens so far and the logits of the next, before llama.cpp's own samplers; `Llama` takes a
    list of them. `Strategy.to_llama_cpp_logits_processor` makes it.
    """

    def __init__(self, strategy: Strategy, vocab: Vocab | None, seed: int) -> None:
        self.run = Run(strategy, vocab, seed)

    def __call__(self, input_ids: npt.NDArray[Any], scores: npt.NDArray[np.single]) -> npt.NDArray[np.single]:
        """Processed logits [vocab] after the tokens, [length]."""
        logits = torch.from_numpy(np.array(scores, dtype=np.single))[None]
        return self.run.process([tuple(int(token) for token in input_ids)], logits)[0].numpy()
