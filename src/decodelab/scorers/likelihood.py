"""Scorers from the model itself: the log-probability of a text, and the model's certainty at every token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from decodelab.core.protocols import PAD, LanguageModel
from decodelab.core.values import Partial

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MeanLogprob:
    """The mean log-probability of a continuation's tokens under the model itself, in nats, at most 0.

    Source: the length-normalised score of Wu et al. 2016 (GNMT), section 7, with exponent 1. Every call is one
    pass over the whole continuation.
    """

    def score(self, model: LanguageModel, partials: Sequence[Partial]) -> list[float]:
        """One mean a continuation."""
        distributions, tokens, real = next_distributions(model, partials)
        chosen = distributions.gather(-1, tokens.clamp(min=0)[..., None])[..., 0]
        return _means(chosen, real)


@dataclass(frozen=True)
class Confidence:
    """The negative mean entropy of the model's next-token distributions along a continuation, in nats, at most 0.

    Source: Malinin and Gales 2021, Uncertainty estimation in autoregressive structured prediction, section 3
    (token-level entropy); with its sign flipped, so higher is more certain. Every call is one pass over the whole
    continuation.
    """

    def score(self, model: LanguageModel, partials: Sequence[Partial]) -> list[float]:
        """One mean a continuation."""
        distributions, _, real = next_distributions(model, partials)
        return _means(torch.where(distributions.isfinite(), distributions.exp() * distributions, 0.0).sum(-1), real)


def next_distributions(model: LanguageModel, partials: Sequence[Partial]) -> tuple[Tensor, Tensor, Tensor]:
    """The model's distributions before each token of continuations of one prompt.

    Returns:
        float64 log-probabilities [continuations, tokens, vocab], the int64 tokens [continuations, tokens] with
        `PAD` after the shorter ones, and where they are real, bool [continuations, tokens].
    """
    longest = max(len(p.tokens) for p in partials)
    tokens = torch.tensor([[*p.tokens, *[PAD] * (longest - len(p.tokens))] for p in partials])
    first, cache = model.prefill([partials[0].prompt_tokens])
    together = torch.zeros(len(partials), dtype=torch.int64)
    logits = first[together.to(first.device)][:, None]
    if longest > 1:
        rest, _ = model.decode(cache.select(together), tokens[:, :-1])
        logits = torch.cat([logits, rest], dim=1)
    return logits.cpu().double().log_softmax(-1), tokens, tokens != PAD


def _means(values: Tensor, real: Tensor) -> list[float]:
    return (values.masked_fill(~real, 0).sum(1) / real.sum(1)).tolist()
