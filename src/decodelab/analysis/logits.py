"""The numbers that `distribution` is given: logits or probabilities, of ids or of words."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from decodelab.core.errors import RequestError
from decodelab.core.notices import LogitsWarning
from decodelab.core.stage import brief

if TYPE_CHECKING:
    from torch import Tensor

_OFF = 1e-4
"""How far from 1 probabilities may sum: float32 and printed digits are less."""
_SAME = 1e-6
"""How near to 1 logits sum that are probabilities."""


def read_numbers(
    logits: Tensor | Sequence[Any] | Mapping[str, float] | None,
    probs: Tensor | Sequence[Any] | Mapping[str, float] | None,
    words: Sequence[str] | None,
) -> tuple[Tensor, Sequence[str] | None]:
    """Logits, float32 [..., vocab], and the words of the vocabulary, if any are given.

    Raises:
        RequestError: if there are none, or both kinds; for what are no numbers, no probabilities, or not one a word.
    """
    if (logits is None) == (probs is None):
        raise RequestError("distribution: needs either logits or probs=, one of them; got " + _count(logits, probs))
    given, what = (probs, "probs") if logits is None else (logits, "logits")
    if isinstance(given, Mapping):
        if words is not None:
            raise RequestError("distribution: a mapping brings its words; leave words= out")
        given, words = list(given.values()), list(given)
    try:
        values = torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise RequestError(f"distribution: {what} must be numbers, got {brief(given)} ({reason})") from None
    if values.dim() == 0 or values.numel() == 0:
        raise RequestError(
            f"distribution: {what} must have one number for each token of a vocabulary, got {brief(given)}"
        )
    if words is not None:
        words = [str(word) for word in words]
        if len(words) != values.shape[-1] or len(set(words)) < len(words):
            raise RequestError(
                f"distribution: words must be {values.shape[-1]} different words, one for each of the {what}, "
                f"got {len(words)} ({len(set(words))} different)"
            )
    sums = values.sum(-1)
    if logits is None:
        worst = float(sums.flatten()[(sums - 1).abs().flatten().argmax()])
        if not bool((values >= 0).all()) or not abs(worst - 1) <= _OFF:
            raise RequestError(
                f"distribution: probs must not be negative and sum to 1, got a sum of {worst:g} and "
                f"{float(values.min()):g} as the least; normalise them, or pass logits"
            )
        return values.log().float(), words
    # A single 1 among zeros is as likely a score that somebody made up.
    several = (values > 0).sum(-1) > 1
    if bool(((values >= 0).all(-1) & ((sums - 1).abs() <= _SAME) & several).all()):
        warnings.warn(
            "distribution: the logits are not negative and sum to 1, as probabilities do; "
            "pass probabilities as probs= (logits go through a softmax)",
            LogitsWarning,
            stacklevel=3,
        )
    return values.float(), words


def _count(logits: object, probs: object) -> str:
    return "none" if logits is None and probs is None else "both"
