"""One row of a table of probabilities: what may be written down, and the probabilities that it means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

from decodelab.core.errors import ModelFormatError

ROUNDING = 1e-6
"""How far a row may sum from 1: a softmax in float32 is nearer. Such a row is divided by its sum."""


def probabilities(
    row: Sequence[float | None], where: str, *, logprobs: bool = False, normalise: bool = False
) -> tuple[float, ...]:
    """The probabilities of a row, with a sum of 1.

    Args:
        row: a number for each word; None for a word that it leaves out, whose probability is 0.
        where: how errors call the row.
        logprobs: whether the numbers are natural logarithms of probabilities.
        normalise: whether any weights are allowed (with `logprobs`, any logits), to be divided by their sum.

    Raises:
        ModelFormatError: for a number that is none of these, or a sum that is not 1.

    >>> probabilities([3, 1, None], "the empty prefix", normalise=True)
    (0.75, 0.25, 0.0)
    """
    kind = ("a logit" if normalise else "a log-probability") if logprobs else "a weight" if normalise else "a"
    found: list[float] = []
    for number in row:
        if number is None:
            found.append(-math.inf if logprobs else 0.0)
            continue
        high = math.inf if normalise else ROUNDING if logprobs else 1 + ROUNDING
        low = -math.inf if logprobs else 0
        allowed = isinstance(number, Real) and not isinstance(number, bool) and low <= number <= high
        if not allowed or number == math.inf:
            wanted = {
                "a": "probabilities must be in [0, 1]",
                "a weight": "weights must be at least 0 and finite",
                "a log-probability": "log-probabilities must be at most 0",
                "a logit": "logits must be numbers",
            }[kind]
            raise ModelFormatError(f"table: {wanted}, got {number!r} in the row after {where}")
        found.append(float(number))
    if logprobs:
        top = max(found) if normalise else 0.0
        found = [math.exp(x - top) if top > -math.inf else 0.0 for x in found]
    elif normalise:
        top = max(found)
        found = [x / top for x in found] if top > 0 else found
    total = math.fsum(found)
    if (normalise and total == 0) or (not normalise and abs(total - 1) > ROUNDING):
        fix = "give at least one word a weight" if normalise else "fix its probabilities, or write normalise: true"
        raise ModelFormatError(f"table: the row after {where} must sum to 1, got {total:.12g}; {fix}")
    # Sums of decimals are off by the last digits of a float64; such rows stay as they are written.
    return tuple(found) if abs(total - 1) < 1e-12 else tuple(x / total for x in found)
