"""Calibration of long answers: a judge marks each criterion, and each criterion has its own confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from decodelab.core.errors import InvalidData
from decodelab.metrics.bootstrap import bootstrap
from decodelab.metrics.calibration import MacroCE, bin_by_confidence, macro_ce
from decodelab.metrics.checks import Floats
from decodelab.metrics.estimate import Estimate


@dataclass(frozen=True)
class Criterion:
    """One criterion of a long answer.

    Attributes:
        verdict: the judge's mark, 1 met or 0 not met.
        confidence: how sure the answering model was that it is met, in [0, 1].
        weight: how important it is, at least 0.
    """

    verdict: int
    confidence: float
    weight: float = 1.0


@dataclass(frozen=True)
class LongFormCalibration:
    """Calibration over the criteria of many long answers.

    Attributes:
        macro_ce: weighted macro-average calibration error with its halves.
        interval: the same with a bootstrap interval over whole answers.
        ece: weighted ECE over the same criteria, to see what bins cancel.
        met: weighted share of criteria met.
        answers: how many answers.
        criteria: how many criteria.
    """

    macro_ce: MacroCE
    interval: Estimate
    ece: float
    met: float
    answers: int
    criteria: int


def long_form_calibration(
    answers: Sequence[Sequence[Criterion]], *, bins: int = 10, resamples: int = 2000, seed: int = 0
) -> LongFormCalibration:
    """Weighted MacroCE of long answers judged criterion by criterion.

    Each answer counts alike: the weights of its criteria are divided by their sum. Over all criteria that the judge
    found met the weighted mean of 1 - confidence is one half, over those not met the weighted mean of confidence is the
    other. Criteria of one answer stand and fall together, so intervals resample whole answers. What the judge gets
    wrong counts as the model's miscalibration; the two cannot be separated here.

    Args:
        answers: the criteria of each answer.
        bins: number of bins of equal width for the ECE.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        InvalidData: for an answer without criteria or whose weights are all 0, verdicts other than 0 and 1, or
            confidences outside [0, 1].

    Source: the generalisation of Si et al. 2022 asked for in CMU 11-763 (2025), homework 1.

    Three of four criteria met at confidence 0.75: inside the bin the three underconfident ones cancel the
    overconfident one and ECE is 0; MacroCE sees both sides.

    >>> answer = [Criterion(1, 0.75), Criterion(1, 0.75), Criterion(1, 0.75), Criterion(0, 0.75)]
    >>> found = long_form_calibration([answer, answer])
    >>> found.ece, found.macro_ce.right, found.macro_ce.wrong, found.macro_ce.value
    (0.0, 0.25, 0.75, 0.5)
    """
    if not answers:
        raise InvalidData("long_form_calibration: needs at least one judged answer, got none")
    for i, answer in enumerate(answers):
        if not answer or not sum(c.weight for c in answer) > 0:
            raise InvalidData(f"long_form_calibration: answer {i} has no criteria with a weight above 0; leave it out")
        if any(c.weight < 0 for c in answer):
            raise InvalidData(f"long_form_calibration: answer {i} has a negative weight; weights are at least 0")
    confidence = np.array([c.confidence for a in answers for c in a], dtype=np.float64)
    verdict = np.array([c.verdict for a in answers for c in a], dtype=np.float64)
    weight = np.array([c.weight / sum(d.weight for d in a) for a in answers for c in a])
    owner = [i for i, a in enumerate(answers) for _ in a]
    return LongFormCalibration(
        macro_ce(confidence, verdict, weight),
        bootstrap(
            lambda p, y, w: macro_ce(p, y, w).value,
            confidence,
            verdict,
            weight,
            clusters=owner,
            resamples=resamples,
            seed=seed,
        ),
        _weighted_ece(confidence, verdict, weight, bins),
        float(weight @ verdict / weight.sum()),
        len(answers),
        len(confidence),
    )


def _weighted_ece(confidence: Floats, verdict: Floats, weight: Floats, bins: int) -> float:
    member = bin_by_confidence(confidence, verdict, bins).member
    return float(np.abs(np.bincount(member, weights=weight * (verdict - confidence))).sum() / weight.sum())
