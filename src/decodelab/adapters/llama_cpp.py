"""Strategies inside llama-cpp-python."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from decodelab.adapters.run import Run
from decodelab.core.protocols import Vocab
from decodelab.strategy.strategy import Strategy, StrategyLike


class LlamaCppLogitsProcessor:
    """The processors of a strategy as a `logits_processor` of llama-cpp-python.

    It is called with all tokens so far and the logits of the next, before llama.cpp's own samplers; `Llama` takes a
    list of them. `to_llama_cpp_logits_processor` makes it.
    """

    def __init__(self, strategy: Strategy, vocab: Vocab | None, seed: int) -> None:
        self.run = Run(strategy, vocab, seed)

    def __call__(self, input_ids: npt.NDArray[Any], scores: npt.NDArray[np.single]) -> npt.NDArray[np.single]:
        """Processed logits [vocab] after the tokens, [length]."""
        logits = torch.from_numpy(np.array(scores, dtype=np.single))[None]
        return self.run.process([tuple(int(token) for token in input_ids)], logits)[0].numpy()


def to_llama_cpp_logits_processor(
    strategy: StrategyLike, vocab: Vocab | None = None, *, seed: int = 0
) -> LlamaCppLogitsProcessor:
    """A strategy's processors as a `logits_processor` of llama-cpp-python: `Llama(...)(..., logits_processor=[...])`.

    llama.cpp's own samplers run after it: pass `temperature=1, top_k=0, top_p=1, min_p=0` to draw from the processed
    distribution.

    Args:
        strategy: processors, with `sample` or `greedy` at most.
        vocab: the model's vocabulary, for stages that look at words or special tokens.
        seed: of the random numbers that stages draw; the tokens are drawn by llama.cpp.

    Raises:
        UnsupportedStrategy: if there is more than processors with `sample` or `greedy`.
    """
    return LlamaCppLogitsProcessor(Strategy.of(strategy), vocab, seed)
