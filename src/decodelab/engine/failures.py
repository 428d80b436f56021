"""Errors of a step: a forward pass that raises, logits that are not finite, a chain that leaves no token."""

from __future__ import annotations

import torch
from torch import Tensor

from decodelab.core.errors import DecodelabError, EmptySupport, ForwardFailed, NonFiniteLogits
from decodelab.engine.processing import Processed


def non_finite(model: str, values: Tensor, place: str) -> NonFiniteLogits:
    """The error for logits [vocab] with NaN, with +inf, or of nothing but -inf."""
    what = "NaN" if values.isnan().any() else "+inf" if (values == torch.inf).any() else "only -inf"
    return NonFiniteLogits(
        f"{model} returned {what} as logits {place}; check the weights, or load it with dtype='float32'"
    )


def empty_support(work: Processed, row: int, place: str) -> EmptySupport:
    """The error for a row in which no token is left, naming the stage that removed the last."""
    stages = [("min_new_tokens", work.start), *((v.name, v.after) for v in work.views)]
    guilty = [name for name, given in stages if not bool(given[row].logsumexp(-1).isfinite())]
    return EmptySupport(
        f"{guilty[0] if guilty else work.views[-1].name} left no token to choose from {place}; "
        "loosen it or reorder the stages"
    )


def forward_failed(model: str, error: Exception) -> DecodelabError:
    """The error for an exception of a forward pass; a `DecodelabError` is returned as it is."""
    if isinstance(error, DecodelabError):
        return error
    what = " ".join(str(error).split()) or type(error).__name__
    failure = ForwardFailed(f"{model}: the forward pass failed: {what}; fewer rows need less memory")
    failure.__cause__ = error
    return failure
