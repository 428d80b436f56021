"""Errors of a step: a forward pass that raises, logits that are not finite, a chain that leaves no token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from decodelab.core.errors import DecodelabError, EmptySupport, ForwardFailed, MalformedLogits, NonFiniteLogits
from decodelab.core.stage import brief
from decodelab.engine.faults import told
from decodelab.engine.processing import Processed

if TYPE_CHECKING:
    from torch import Tensor


def check_shape(model: str, logits: Tensor, rows: int, vocab: int) -> None:
    """Refuse logits of another shape, which would be taken for those of other rows or tokens.

    Raises:
        MalformedLogits: saying which shape they should have.
    """
    shape = tuple(getattr(logits, "shape", ()))
    if shape != (rows, vocab):
        raise MalformedLogits(
            f"{model} returned logits of shape {brief(shape)} where {rows} rows of {vocab} tokens are "
            "needed; does its vocabulary belong to it?"
        )


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
    failure = ForwardFailed(f"{model}: the forward pass failed: {told(error)}; fewer rows need less memory")
    failure.__cause__ = error
    return failure
