"""What a sweep says: means with intervals, paired differences, and which strategy wins, if any can be told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from decodelab.bench.journal import Asked, Journal, Record, Scored
from decodelab.bench.plan import Cell, Plan
from decodelab.core.errors import JournalError
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.mean import mean
from decodelab.metrics.paired import holm, paired_difference, permutation_test
from decodelab.metrics.power import sample_size, spread

RESAMPLES = 1999
LEVEL = 0.05


@dataclass(frozen=True)
class Row:
    """One cell of the results.

    Attributes:
        cell: which.
        items: how many items have been answered, of those asked.
        asked: how many are asked.
        score: mean over items (of the mean over an item's samples) with its 95 % interval; None without an answer.
        difference: to the baseline strategy on the same items, with interval; None for itself.
        p: of that difference, by permutation, Holm-corrected over the strategies of this task and model.
        forward_tokens: computed, prompts that other strategies share included where they were computed.
        tokens: generated, a mean an answer.
        unfinished: share of answers that the limit cut off.
        repeated: share of answers of which more than half of the 4-grams have been there before.
    """

    cell: Cell
    items: int
    asked: int
    score: Estimate | None
    difference: Estimate | None
    p: float | None
    forward_tokens: int
    tokens: float
    unfinished: float
    repeated: float


@dataclass(frozen=True)
class Winner:
    """What can be said of the strategies of one task and model.

    Attributes:
        task, model: of which.
        best: the strategy of the best mean.
        level_with: strategies that are not distinguishable from it; none if it wins.
        nearest: the best of these whose mean is lower; None where all are equal.
        items_to_tell: items that would tell it from the nearest with 80 % power, were the difference what it seems, at
            5 % over all pairs of strategies (Bonferroni).
    """

    task: str
    model: str
    best: str
    level_with: tuple[str, ...]
    nearest: str | None = None
    items_to_tell: int | None = None


@dataclass(frozen=True)
class Results:
    """All rows and winners of a sweep."""

    rows: tuple[Row, ...]
    winners: tuple[Winner, ...]
    baseline: str


def compare(plan: Plan, journal: Journal) -> Results:
    """Read what the journal has of a plan, complete or not; neither the models nor the data are needed.

    Differences are of the items that both strategies have answered. P values are exact or by 1,999 exchanges; a
    winner is a strategy that differs from each other one at 5 % after Holm's correction over all pairs.

    Args:
        plan: the plan.
        journal: what has been done of it.

    Raises:
        JournalError: if the journal cannot be read, or this plan was never begun in it.
    """
    if plan.digest not in dict(journal.plans()):
        raise JournalError(f"journal {journal.path}: this plan was not begun in it; run decodelab bench with it first")
    records = {record.key: record for record in journal.records()}
    scores = {task: journal.scores(task) for task in plan.task_names}
    groups: dict[tuple[str, str], dict[str, list[Asked]]] = {}
    for asked in journal.asked(plan.digest):
        groups.setdefault((asked.task, asked.model), {}).setdefault(asked.strategy, []).append(asked)
    rows: list[Row] = []
    winners: list[Winner] = []
    for task in plan.task_names:
        for model in plan.models:
            group = groups.get((task, model), {})
            means = {name: _by_item(listed, scores[task]) for name, listed in group.items()}
            tests = {n: _test(means[n], means[plan.baseline_name]) for n in group if n != plan.baseline_name}
            p = holm({name: test[1] for name, test in tests.items() if test is not None})
            for name, listed in group.items():
                test = tests.get(name)
                rows.append(_row(listed, means[name], records, test[0] if test else None, p.get(name)))
            winner = _winner(task, model, means)
            if winner is not None:
                winners.append(winner)
    return Results(tuple(rows), tuple(winners), plan.baseline_name)


def _by_item(listed: Sequence[Asked], scores: Mapping[tuple[str, str], Scored]) -> dict[str, float]:
    """The mean score of each item that has all its answers."""
    found = {}
    for asked in listed:
        got = [scores[key, asked.example].score for key in asked.keys if (key, asked.example) in scores]
        if len(got) == len(asked.keys):
            found[asked.example] = sum(got) / len(got)
    return found


def _test(a: Mapping[str, float], b: Mapping[str, float]) -> tuple[Estimate, float] | None:
    """The paired difference a - b and its p value, from two items on."""
    both = [item for item in a if item in b]
    if len(both) < 2:
        return None
    x, y = [a[item] for item in both], [b[item] for item in both]
    return paired_difference(x, y), _p_value(x, y)


def _p_value(x: Sequence[float], y: Sequence[float]) -> float:
    return permutation_test(x, y, resamples=RESAMPLES) if x != y else 1.0


def _row(
    listed: Sequence[Asked],
    means: Mapping[str, float],
    records: Mapping[str, Record],
    difference: Estimate | None,
    p: float | None,
) -> Row:
    answers = [records[key] for asked in listed for key in asked.keys if key in records]
    values = list(means.values())
    score = mean(values) if len(values) > 1 else Estimate(values[0], np.nan, np.nan, np.nan, 1, 1) if values else None
    return Row(
        Cell(listed[0].task, listed[0].model, listed[0].strategy),
        len(means),
        len(listed),
        score,
        difference,
        p,
        sum(r.prefill_tokens + r.decode_tokens for r in answers),
        sum(len(r.tokens) for r in answers) / max(len(answers), 1),
        sum(r.finish_reason == "length" for r in answers) / max(len(answers), 1),
        sum(_repeats(r.tokens) for r in answers) / max(len(answers), 1),
    )


def _repeats(tokens: Sequence[int], n: int = 4) -> bool:
    """Whether most n-grams have been there before."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return len(grams) > 0 and len(set(grams)) < len(grams) / 2


def _winner(task: str, model: str, means: Mapping[str, Mapping[str, float]]) -> Winner | None:
    """The best strategy, and from which others it cannot be told."""
    complete = {name: by_item for name, by_item in means.items() if len(by_item) > 1}
    items = set.intersection(*(set(by_item) for by_item in complete.values())) if complete else set()
    if len(complete) < 2 or len(items) < 2:
        return None
    order = sorted(items)
    values = {name: [by_item[item] for item in order] for name, by_item in complete.items()}
    best = max(values, key=lambda name: sum(values[name]))
    p = holm({pair: _p_value(values[pair[0]], values[pair[1]]) for pair in combinations(values, 2)})
    level = [n for n in values if n != best and p[(best, n) if (best, n) in p else (n, best)] > LEVEL]
    level.sort(key=lambda name: -sum(values[name]))
    for name in level:
        gap = float(np.mean(values[best]) - np.mean(values[name]))
        if gap > 0:
            noise = spread([[v] for v in values[best]], [[v] for v in values[name]])
            needed = max(sample_size(gap, noise, alpha=LEVEL / len(p)), len(order) + 1)
            return Winner(task, model, best, tuple(level), name, needed)
    return Winner(task, model, best, tuple(level))
