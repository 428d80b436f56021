"""How sure the model is before a token: the numbers that selections by confidence read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

TOP = 20
"""Most probable tokens whose log-probabilities are averaged: what DeepConf takes, and the most that servers show."""


def token_confidences(logits: Tensor, normaliser: Tensor) -> Tensor:
    """The numbers of `decodelab.core.values.Confidences` for rows of logits.

    Tokens that the model rules out (-inf) count nowhere.

    Args:
        logits: float32 [rows, vocab], the model's own.
        normaliser: float64 [rows], the logarithm of their summed exponentials.

    Returns:
        float64 [rows, 3]: entropy, self-certainty, top.
    """
    possible = logits.isfinite()
    count = possible.sum(-1)
    logprobs = logits.double() - normaliser[:, None]
    finite = logprobs.masked_fill(~possible, 0.0)
    entropy = -(finite * logprobs.exp()).sum(-1)
    self_certainty = -finite.sum(-1) / count - count.double().log()
    best = logprobs.topk(min(TOP, logprobs.shape[-1])).values
    kept = best.isfinite()
    top = -best.masked_fill(~kept, 0.0).sum(-1) / kept.sum(-1)
    return torch.stack([entropy, self_certainty, top], -1)
