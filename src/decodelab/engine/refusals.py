"""Numbers that are no law, refused by name: the model's own, and those its processors left."""

from __future__ import annotations

import torch
from torch import Tensor

from decodelab.core.errors import EmptySupport, NonFiniteLogits
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
