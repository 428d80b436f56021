"""What a sweep says: means with intervals, paired differences, and which strategy wins, if any can be told to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from decodelab.bench.plan import Cell, Plan, TaskPlan
from decodelab.bench.stats.agreement import Agreement, agreements
from decodelab.bench.stats.confidences import Calibration, calibrations
from decodelab.bench.stats.pareto import front
from decodelab.bench.stats.winner import Winner, winner
from decodelab.bench.store.cells import UNREAD, Answers, Group, read_group
from decodelab.bench.store.journal import Figures, Journal, Shown
from decodelab.core.errors import JournalError
from decodelab.metrics.bounded import bounded_difference, bounded_mean
from decodelab.metrics.checks import Floats, Ints
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.paired import holm, permutation_tests
from decodelab.tasks.task import Summarised, Verdict, task_class

LOOPING = 0.5
"""Share of 4-grams that have been there before, above which an answer counts as repeating itself."""


@dataclass(frozen=True)
class Row:
    """One cell of the results.

    Attributes:
        cell: which.
        items: how many items have been answered, of those asked.
        asked: how many are asked.
        answers: how many answers they have; several an item where samples are drawn.
        score: mean over items (of the mean over an item's samples) with its 95 % interval; None without an answer.
        difference: to the baseline strategy on the same items, with interval; None for itself.
        p: of that difference, by permutation, Holm-corrected over the strategies of this task and model.
        forward_tokens: computed in all, as if the strategy ran alone: a prompt that others share counts in full.
        prompt_tokens: of these, those of prompts, a mean an answer.
        decode_tokens: the others, a mean an answer.
        seconds: from the beginning of an answer to its end, in the company of others; a mean an answer.
        front: whether no other strategy of this task and model has a mean as good for fewer forward tokens, or a better
            one for as many.
        tokens: generated, a mean an answer.
        unread: share of answers in whose text no answer was found.
        unfinished: share of answers that the limit cut off.
        repeated: share of answers of which more than half of the 4-grams have been there before.
        more: further figures of the task's own, by name (`decodelab.tasks.task.Summarised`).
    """

    cell: Cell
    items: int
    asked: int
    answers: int
    score: Estimate | None
    difference: Estimate | None
    p: float | None
    forward_tokens: int
    prompt_tokens: float
    decode_tokens: float
    seconds: float
    front: bool
    tokens: float
    unread: float
    unfinished: float
    repeated: float
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """What a sweep says.

    Attributes:
        rows: of all cells.
        winners: of each task and model.
        baseline: the strategy others are compared with.
        agreement: of each pair of strategies, by task and model.
        calibration: of the cells that have confidences, and right answers and wrong ones.
    """

    rows: tuple[Row, ...]
    winners: tuple[Winner, ...]
    baseline: str
    agreement: tuple[Agreement, ...] = ()
    calibration: tuple[Calibration, ...] = ()


def compare(plan: Plan, journal: Journal) -> Results:
    """Read what the journal has of a plan, complete or not; neither the models nor the data are needed.

    Items of one prompt are alike, and are clusters wherever errors are estimated. Differences are of the items that
    both strategies have answered. P values are exact or by 9,999 exchanges; a winner is a strategy that differs from
    each other one at 5 % after Holm's correction over all pairs.

    Args:
        plan: the plan.
        journal: what has been done of it.

    Raises:
        JournalError: if the journal cannot be read, or this plan was never begun in it.
    """
    if plan.digest not in dict(journal.plans()):
        raise JournalError(f"journal {journal.path}: this plan was not begun in it; run decodelab bench with it first")
    items: dict[str, dict[str, Shown]] = {}
    for (task, example), shown in journal.examples(plan.digest).items():
        items.setdefault(task, {})[example] = shown
    rows: list[Row] = []
    winners: list[Winner] = []
    agreement: list[Agreement] = []
    calibration: list[Calibration] = []
    for task, task_plan in zip(plan.task_names, plan.tasks, strict=True):
        shown = items.get(task, {})
        for model in plan.models:
            group = read_group(journal, plan.digest, task, model, {name: item.prompt for name, item in shown.items()})
            scores = {name: answers.by_item for name, answers in group.cells.items()}
            more: dict[str, Mapping[str, float]] = {}
            if issubclass(task_class(task_plan.name)[0], Summarised):
                more = _summaries(task_plan, journal.figures(plan.digest, task, model), shown)
            rows += _rows(group, scores, plan.baseline_name, more)
            agreement += agreements(group.cells)
            for answers in group.cells.values():
                calibration += calibrations(answers, group.clusters)
            found = winner(task, model, scores, group.clusters)
            if found is not None:
                winners.append(found)
    return Results(tuple(rows), tuple(winners), plan.baseline_name, tuple(agreement), tuple(calibration))


def _summaries(
    plan: TaskPlan, figures: Iterable[tuple[str, str, Figures | None]], items: Mapping[str, Shown]
) -> dict[str, Mapping[str, float]]:
    """The task's own figures of each strategy."""
    judged: dict[str, list[tuple[Any, Verdict]]] = {}
    for strategy, example, each in figures:
        if each is not None and each.score is not None:
            verdict = Verdict(each.score, json.loads(each.read) if each.read is not None else None)
            judged.setdefault(strategy, []).append((items[example].reference, verdict))
    task = plan.task()
    assert isinstance(task, Summarised)
    return {strategy: task.summary(listed) for strategy, listed in judged.items()}


def _rows(
    group: Group, scores: Mapping[str, Floats], baseline: str, more: Mapping[str, Mapping[str, float]]
) -> list[Row]:
    """The rows of a task and model."""
    differences: dict[str, Estimate] = {}
    exchanged: dict[str, Floats] = {}
    for name in scores:
        if name != baseline and baseline in scores:
            both = np.isfinite(scores[name]) & np.isfinite(scores[baseline])
            if both.sum() > 1:
                a, b = scores[name][both], scores[baseline][both]
                differences[name] = bounded_difference(a, b, _of(group.clusters, both))
                # An item without a difference changes nothing in an exchange, be it that an answer is missing.
                exchanged[name] = np.where(both, scores[name] - scores[baseline], 0.0)
    p: dict[str, float] = {}
    if exchanged:
        tests = permutation_tests(np.stack(list(exchanged.values()), axis=1), group.clusters)
        p = holm(dict(zip(exchanged, tests.tolist(), strict=True)))
    means = {name: float(np.nanmean(x)) for name, x in scores.items() if np.isfinite(x).any()}
    costs = {name: _mean(answers.prompt_tokens + answers.decode_tokens) for name, answers in group.cells.items()}
    best = front({name: (costs[name], value) for name, value in means.items()})
    return [
        _row(group, scores[name], answers, differences.get(name), p.get(name), name in best, more.get(name, {}))
        for name, answers in group.cells.items()
    ]


def _row(
    group: Group,
    scores: Floats,
    answers: Answers,
    difference: Estimate | None,
    p: float | None,
    on_front: bool,
    more: Mapping[str, float],
) -> Row:
    known = np.isfinite(scores)
    return Row(
        answers.cell,
        int(known.sum()),
        int((answers.asked > 0).sum()),
        len(answers.item),
        _score(scores[known], _of(group.clusters, known)),
        difference,
        p,
        int(answers.prompt_tokens.sum() + answers.decode_tokens.sum()),
        _mean(answers.prompt_tokens),
        _mean(answers.decode_tokens),
        _mean(answers.seconds),
        on_front,
        _mean(answers.length),
        _mean((answers.read == UNREAD)[np.isfinite(answers.score)]),
        _mean(answers.unfinished),
        _mean(answers.repetition > LOOPING),
        more,
    )


def _score(values: Floats, clusters: list[int] | None) -> Estimate | None:
    """The mean with its interval."""
    return bounded_mean(values, clusters) if len(values) else None


def _of(clusters: Ints | None, items: np.ndarray) -> list[int] | None:
    return None if clusters is None else clusters[items].tolist()


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
