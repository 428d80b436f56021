"""Counting votes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

from decodelab.core.notices import NoQuorum
from decodelab.core.stage import Stage, brief


def tally(
    stage: Stage, voters: Sequence[int], answers: Sequence[str | None], weights: Sequence[float], quorum: float
) -> list[tuple[int, float]]:
    """The voters with the share of the votes for their answer, most first.

    Those without an answer abstain: their weight counts in the whole, they come last with a share of 0. Ties go to the
    answer seen first. Where no answer has at least the share `quorum`, nothing is decided: the voters come in the order
    given, with a share of 0.

    Args:
        stage: the stage that counts, for the notice that there was no quorum.
        voters: in the order of their samples.
        answers: of each.
        weights: of each, not negative.
        quorum: from 0 to 1.
    """
    total = math.fsum(weights)
    given: dict[str, list[float]] = {}
    for answer, weight in zip(answers, weights, strict=True):
        if answer is not None:
            given.setdefault(answer, []).append(weight)
    shares = {answer: math.fsum(own) / total if total else 0.0 for answer, own in given.items()}
    most = max(shares.values(), default=0.0)
    if quorum and most < quorum:
        leading = max(shares, key=lambda answer: shares[answer], default=None)
        what = "no text gives an answer" if leading is None else f"{brief(leading)} has most of them, {most:.3g}"
        warnings.warn(
            f"{stage}: no answer has a share of {quorum:g} of the votes ({what}); the first sample is taken",
            NoQuorum,
            stacklevel=2,
        )
        return [(voter, 0.0) for voter in voters]
    # Sorting is stable: answers stand in the order in which they were seen, and so do those who gave them.
    leaders = {answer: place for place, answer in enumerate(sorted(given, key=lambda answer: -shares[answer]))}
    order = sorted(
        range(len(voters)), key=lambda i: len(leaders) if (answer := answers[i]) is None else leaders[answer]
    )
    return [(voters[i], 0.0 if (answer := answers[i]) is None else shares[answer]) for i in order]
