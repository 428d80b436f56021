"""How well the confidences of a cell's answers are calibrated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from decodelab.bench.store.cells import UNREAD, CellColumns
from decodelab.metrics.auroc_interval import auroc_interval
from decodelab.metrics.calibration import bin_by_confidence, calibration_table
from decodelab.metrics.checks import Floats, Ints
from decodelab.metrics.confidence import agreement_confidence, likelihood_confidence
from decodelab.metrics.ece_interval import ece_interval
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.mean import mean

Source = Literal["samples", "likelihood", "options"]
RESAMPLES = 200
"""Of the bootstrap that estimates the bias of an ECE."""


@dataclass(frozen=True)
class Bin:
    """A bar of a reliability diagram.

    Attributes:
        low, high: its edges, low < confidence <= high.
        count: how many answers.
        confidence: their mean.
        accuracy: the share of them that is right, with its 95 % interval accuracy_low to accuracy_high (Wilson).
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


@dataclass(frozen=True)
class Calibration:
    """How well confidences of one kind are calibrated in a cell; an answer that scores 1 is right.

    Attributes:
        task, model, strategy: which cell.
        source: "samples": of several samples of an item, the most frequent answer, with its share as confidence;
            "likelihood": of each answer, the geometric mean of its tokens' probabilities under the model; "options": of
            an option chosen by likelihood, its probability given that it is one of the options.
        n: answers.
        accuracy: the share that is right.
        confidence: the mean.
        ece: expected calibration error in 10 bins of equal width.
        brier: mean squared difference of confidence and outcome.
        auroc: probability that a right answer has a higher confidence than a wrong one.
        bins: the reliability diagram.
    """

    task: str
    model: str
    strategy: str
    source: Source
    n: int
    accuracy: float
    confidence: float
    ece: Estimate
    brier: Estimate
    auroc: Estimate
    bins: tuple[Bin, ...]


def calibrations(answers: CellColumns) -> list[Calibration]:
    """The calibration of each kind of confidence that a cell has, if some of its answers are right and some wrong.

    Args:
        answers: of the cell.
    """
    kinds: dict[Source, tuple[Floats, Floats, Ints]] = {
        "samples": _by_majority(answers),
        "likelihood": _by_answer(answers),
        "options": _by_option(answers),
    }
    found = []
    for source, (confidence, right, prompt) in kinds.items():
        if 0 < right.sum() < len(right):
            found.append(_calibration(answers, source, confidence, right, prompt))
    return found


def _by_majority(answers: CellColumns) -> tuple[Floats, Floats, Ints]:
    """Confidence, outcome and prompt of the majority answer of each prompt with several samples."""
    by_prompt: dict[int, list[tuple[int, float]]] = {}
    for prompt, read, score in zip(answers.prompt.tolist(), answers.read.tolist(), answers.score.tolist(), strict=True):
        if not math.isnan(score):
            by_prompt.setdefault(prompt, []).append((read, score))
    rows = []
    for prompt, given in by_prompt.items():
        if len(given) > 1:
            majority, share = agreement_confidence([None if read == UNREAD else read for read, _ in given])
            right = any(read == majority and score == 1 for read, score in given)
            rows.append((share, float(right), prompt))
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2].astype(np.int64)


def _by_answer(answers: CellColumns) -> tuple[Floats, Floats, Ints]:
    """Confidence, outcome and prompt of each answer that was generated and has tokens and their likelihood."""
    known = ~np.isnan(answers.score) & ~np.isnan(answers.logprob) & (answers.length > 0) & np.isnan(answers.confidence)
    confidence = [
        likelihood_confidence(min(logprob, 0.0), int(length))
        for logprob, length in zip(answers.logprob[known].tolist(), answers.length[known].tolist(), strict=True)
    ]
    return np.array(confidence, dtype=np.float64), (answers.score[known] == 1).astype(np.float64), answers.prompt[known]


def _by_option(answers: CellColumns) -> tuple[Floats, Floats, Ints]:
    """Confidence, outcome and prompt of each option that was chosen by likelihood."""
    known = ~np.isnan(answers.score) & ~np.isnan(answers.confidence)
    return answers.confidence[known], (answers.score[known] == 1).astype(np.float64), answers.prompt[known]


def _calibration(cell: CellColumns, source: Source, confidence: Floats, right: Floats, clusters: Ints) -> Calibration:
    b = bin_by_confidence(confidence, right)
    of = clusters.tolist()
    low, high = b.accuracy_intervals(right, of)
    return Calibration(
        cell.task,
        cell.model,
        cell.strategy,
        source,
        len(right),
        float(right.mean()),
        float(confidence.mean()),
        ece_interval(b, confidence, right, of, resamples=RESAMPLES),
        mean((confidence - right) ** 2, of),
        auroc_interval(confidence, right, of),
        tuple(Bin(**row) for row in calibration_table(b, low, high)),
    )
