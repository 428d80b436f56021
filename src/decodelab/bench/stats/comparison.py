"""The results of a sweep: means with intervals, paired differences, and which strategy wins, if any does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from decodelab.bench.plan import Plan, TaskPlan
from decodelab.bench.records import AnswerView, CellStats, ItemView
from decodelab.bench.stats.agreement import Agreement, agreements
from decodelab.bench.stats.confidences import Calibration, calibrations
from decodelab.bench.stats.pairs import Pair, pairs_of
from decodelab.bench.stats.pareto import pareto_front
from decodelab.bench.stats.winner import Winner, winner
from decodelab.bench.store import views
from decodelab.bench.store.cells import UNREAD, CellColumns, Group, read_group
from decodelab.bench.store.journal import Journal
from decodelab.core.errors import JournalError
from decodelab.metrics.bounded import bounded_mean
from decodelab.metrics.checks import Floats
from decodelab.metrics.estimate import Estimate
from decodelab.tasks.response import LACKS
from decodelab.tasks.task import Aggregated, Verdict, open_ended, task_class

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
        answered_only: whether answers from which nothing was read are left out of the scores, else they count as wrong.
    """

    cells: tuple[CellStats, ...]
    winners: tuple[Winner, ...]
    baseline: str
    agreement: tuple[Agreement, ...] = ()
    calibration: tuple[Calibration, ...] = ()
    answered_only: bool = False


def compare(plan: Plan, journal: Journal, *, answered_only: bool = False) -> Results:
    """Compute the results of a plan from what the journal has, complete or not; models and data are not needed.

    A prompt is one observation: items with the same prompt are answered again, or graded again, but tell nothing of
    other prompts. Their scores are averaged first. Differences are over the prompts that both strategies have
    answered; what is said of them is corrected over all pairs of strategies of a table. Of a table with one prompt
    nothing is concluded: there are no differences, and a strategy that draws has the interval of its draws.

    Args:
        plan: the plan.
        journal: what has been done of it.
        answered_only: leave out answers from which nothing was read, so that strategies are compared on the items
            which both have answered readably; what an answer costs, and how often it loops, is still said of all.

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
        made, settled = task_class(task_plan.name)
        for model in plan.models:
            group = read_group(journal, plan.digest, task, model, prompts)
            counted = {name: cell.answered() if answered_only else cell for name, cell in group.cells.items()}
            scores = {name: answers.by_prompt for name, answers in counted.items()}
            pairs = pairs_of(scores)
            base = {name: pairs.of(name, plan.baseline_name) for name in scores}
            more: dict[str, Mapping[str, float]] = {}
            if issubclass(made, Aggregated):
                given = views.answers(journal, plan.digest, task, model)
                more = _aggregates(task_plan, (a for a in given if not (answered_only and a.lacks)), items)
            reads = not open_ended(made, settled)
            found = _cells(group, counted, scores, base, more)
            left_out = _left_out(group, scores) if answered_only else {}
            cells += [replace(cell, reads=reads, left_out=left_out.get(cell.strategy)) for cell in found]
            if reads:
                agreement += agreements(counted)
            if group.prompts > 1:
                for answers in counted.values():
                    calibration += calibrations(answers)
            best = winner(task, model, scores, pairs, plan.margin)
            if best is not None:
                winners.append(best)
    return Results(
        tuple(cells), tuple(winners), plan.baseline_name, tuple(agreement), tuple(calibration), answered_only
    )


def _aggregates(
    plan: TaskPlan, answers: Iterable[AnswerView], items: Mapping[str, ItemView]
) -> dict[str, Mapping[str, float]]:
    """The task's own figures of each strategy."""
    judged: dict[str, dict[str, tuple[Any, Verdict]]] = {}
    for answer in answers:
        if answer.score is not None:
            verdict = Verdict(answer.score, answer.read, answer.lacks)
            # An answer that stands for several items counts once.
            judged.setdefault(answer.strategy, {}).setdefault(answer.key, (items[answer.item].reference, verdict))
    task = plan.task()
    assert isinstance(task, Aggregated)
    return {strategy: task.aggregate(listed.values()) for strategy, listed in judged.items()}


def _left_out(group: Group, scores: Mapping[str, Floats]) -> dict[str, int]:
    """How many prompts of each strategy have all their answers, but no score."""
    full = {name: np.isfinite(answers.by_prompt) for name, answers in group.cells.items()}
    return {name: int((full[name] & ~np.isfinite(x)).sum()) for name, x in scores.items()}


def _cells(
    group: Group,
    counted: Mapping[str, CellColumns],
    scores: Mapping[str, Floats],
    base: Mapping[str, Pair | None],
    more: Mapping[str, Mapping[str, float]],
) -> list[CellStats]:
    """The cells of a task and model; only answers that are counted are scored."""
    means = {name: float(np.nanmean(x)) for name, x in scores.items() if np.isfinite(x).any()}
    costs = {name: _mean(answers.prompt_tokens + answers.decode_tokens) for name, answers in group.cells.items()}
    best = pareto_front({name: (costs[name], value) for name, value in means.items()})
    return [
        _cell(
            group, answers, scores[name], _score(scores[name], counted[name]), base[name], name in best, more.get(name)
        )
        for name, answers in group.cells.items()
    ]


def _cell(
    group: Group,
    answers: CellColumns,
    scores: Floats,
    score: Estimate | None,
    to_baseline: Pair | None,
    on_front: bool,
    more: Mapping[str, float] | None,
) -> CellStats:
    return CellStats(
        answers.task,
        answers.model,
        answers.strategy,
        int(np.isfinite(scores).sum()),
        int((answers.asked > 0).sum()),
        group.items - group.prompts,
        len(answers.prompt),
        score,
        to_baseline and to_baseline.difference,
        to_baseline and to_baseline.p,
        int(answers.prompt_tokens.sum() + answers.decode_tokens.sum()),
        _mean(answers.prompt_tokens),
        _mean(answers.decode_tokens),
        _mean(answers.seconds),
        on_front,
        _mean(answers.length),
        _mean((answers.read == UNREAD)[np.isfinite(answers.score)]),
        _mean(answers.unfinished),
        _mean(answers.repetition > LOOPING),
        more or {},
        {why: int((answers.lacks == place).sum()) for place, why in enumerate(LACKS)},
    )


def _score(scores: Floats, answers: CellColumns) -> Estimate | None:
    """The mean over prompts with its interval; of a single prompt the interval is that of its draws, if it has some."""
    values = scores[np.isfinite(scores)]
    if not len(values):
        return None
    if len(answers.asked) > 1:
        return bounded_mean(values)
    drawn = answers.score[np.isfinite(answers.score)]
    if len(drawn) > 1:
        return bounded_mean(drawn)
    return Estimate(float(values[0]), math.nan, math.nan, math.nan, 1, 1)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
