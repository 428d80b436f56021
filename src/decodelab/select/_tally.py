"""Counting votes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

from decodelab.core.notices import NoQuorum
from decodelab.core.stage import Stage, brief
from decodelab.core.values import Candidate


def tally(
    stage: Stage,
    candidates: Sequence[Candidate],
    answers: Sequence[str | None],
    weights: Sequence[float],
    quorum: float,
) -> list[tuple[Candidate, float]]:
    """The candidates with the share of the votes for their answer, most first.

    Candidates without an answer abstain: their weight counts in the whole, they come last with a share of 0. Ties go to
    the answer seen first. Where no answer has at least the share `quorum`, nothing is decided: the candidates come in
    the order of their samples, with a share of 0.

    Args:
        stage: the stage that counts, for the notice that there was no quorum.
        candidates: in any order.
        answers: of each.
        weights: of each, not negative.
        quorum: from 0 to 1.
    """
    order = sorted(range(len(candidates)), key=lambda i: candidates[i].sample)
    total = math.fsum(weights)
    given: dict[str, list[float]] = {}
    for i in order:
        if (answer := answers[i]) is not None:
            given.setdefault(answer, []).append(weights[i])
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
        return [(candidates[i], 0.0) for i in order]
    places = {answer: place for place, answer in enumerate(given)}

    def share(answer: str | None) -> float:
        return 0.0 if answer is None else shares[answer]

    def place(answer: str | None) -> int:
        return len(places) if answer is None else places[answer]

    order.sort(key=lambda i: (-share(answers[i]), place(answers[i])))
    return [(candidates[i], share(answers[i])) for i in order]
