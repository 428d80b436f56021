"""The results of a sweep: means with intervals, paired differences, and which strategy wins, if any does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from decodelab.bench.plan import Plan, TaskPlan
from decodelab.bench.records import AnswerView, CellStats, ItemView
from decodelab.bench.stats.agreement import Agreement, agreements
from decodelab.bench.stats.confidences import Calibration, calibrations
from decodelab.bench.stats.pareto import pareto_front
from decodelab.bench.stats.winner import Winner, winner
from decodelab.bench.store import views
from decodelab.bench.store.cells import UNREAD, CellColumns, Group, read_group
from decodelab.bench.store.journal import Journal
from decodelab.core.errors import JournalError
from decodelab.metrics.bounded import bounded_difference, bounded_mean
from decodelab.metrics.checks import Floats, Ints
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.paired import holm, permutation_tests
from decodelab.tasks.task import Aggregated, Verdict, task_class

LOOPING = 0.5
"""An answer counts as repeating itself if more than this share of its 4-grams occurred before."""


@dataclass(frozen=True)
class Results:
    """The results of a sweep.

    Attributes:
        cells: the statistics of all cells.
        winners: of each task and model.
        baseline: the strategy others are compared with.
        agreement: of each pair of strategies, by task and model.
        calibration: of the cells that have confidences, and both right and wrong answers.
    """

    cells: tuple[CellStats, ...]
    winners: tuple[Winner, ...]
    baseline: str
    agreement: tuple[Agreement, ...] = ()
    calibration: tuple[Calibration, ...] = ()


def compare(plan: Plan, journal: Journal) -> Results:
    """Compute the results of a plan from what the journal has, complete or not; models and data are not needed.

    Items with the same prompt are one cluster wherever errors are estimated. Differences are over the items that both
    strategies have answered. P values are exact or by 9,999 exchanges; a winner is a strategy that differs from
    each other one at 5 % after Holm's correction over all pairs.

    Args:
        plan: the plan.
        journal: what has been done of it.

    Raises:
        JournalError: if the journal cannot be read, or this plan was never begun in it.
    """
    if plan.digest not in {digest for digest, _, _ in views.plans(journal)}:
        raise JournalError(f"journal {journal.path}: this plan was not begun in it; run decodelab bench with it first")
    cells: list[CellStats] = []
    winners: list[Winner] = []
    agreement: list[Agreement] = []
    calibration: list[Calibration] = []
    for task, task_plan in zip(plan.task_names, plan.tasks, strict=True):
        items = views.items(journal, plan.digest, task)
        prompts = {name: item.prompt for name, item in items.items()}
        for model in plan.models:
            group = read_group(journal, plan.digest, task, model, prompts)
            scores = {name: answers.by_item for name, answers in group.cells.items()}
            more: dict[str, Mapping[str, float]] = {}
            if issubclass(task_class(task_plan.name)[0], Aggregated):
                more = _aggregates(task_plan, views.answers(journal, plan.digest, task, model), items)
            cells += _cells(group, scores, plan.baseline_name, more)
            agreement += agreements(group.cells)
            for answers in group.cells.values():
                calibration += calibrations(answers, group.clusters)
            found = winner(task, model, scores, group.clusters)
            if found is not None:
                winners.append(found)
    return Results(tuple(cells), tuple(winners), plan.baseline_name, tuple(agreement), tuple(calibration))


def _aggregates(
    plan: TaskPlan, answers: Iterable[AnswerView], items: Mapping[str, ItemView]
) -> dict[str, Mapping[str, float]]:
    """The task's own figures of each strategy."""
    judged: dict[str, list[tuple[Any, Verdict]]] = {}
    for answer in answers:
        if answer.score is not None:
            verdict = Verdict(answer.score, answer.read)
            judged.setdefault(answer.strategy, []).append((items[answer.item].reference, verdict))
    task = plan.task()
    assert isinstance(task, Aggregated)
    return {strategy: task.aggregate(listed) for strategy, listed in judged.items()}


def _cells(
    group: Group, scores: Mapping[str, Floats], baseline: str, more: Mapping[str, Mapping[str, float]]
) -> list[CellStats]:
    """The cells of a task and model."""
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
    best = pareto_front({name: (costs[name], value) for name, value in means.items()})
    return [
        _cell(group, scores[name], answers, differences.get(name), p.get(name), name in best, more.get(name, {}))
        for name, answers in group.cells.items()
    ]


def _cell(
    group: Group,
    scores: Floats,
    answers: CellColumns,
    difference: Estimate | None,
    p: float | None,
    on_front: bool,
    more: Mapping[str, float],
) -> CellStats:
    known = np.isfinite(scores)
    return CellStats(
        answers.task,
        answers.model,
        answers.strategy,
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
        _mean(answers.empty),
    )


def _score(values: Floats, clusters: list[int] | None) -> Estimate | None:
    """The mean with its interval."""
    return bounded_mean(values, clusters) if len(values) else None


def _of(clusters: Ints | None, items: np.ndarray) -> list[int] | None:
    return None if clusters is None else clusters[items].tolist()


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
