"""What a journal says, as readers want it: plans, work, progress, and answers cell by cell or side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from typing import Any

from decodelab.bench.plan import Plan
from decodelab.bench.records import Answer, AnswerView, ItemView, Score, WorkItem
from decodelab.bench.store.journal import Journal
from decodelab.bench.store.rows import COLUMNS, answer_of, confidences_of

_VIEW = "task, model, strategy, item, key, prompt, text, length, finish_reason, score, lacks, read"
_TEXT = _VIEW.split(", ").index("text")


@dataclass(frozen=True)
class CellProgress:
    """How far a cell of a plan is: answers asked for, those that are there, and those that are scored."""

    task: str
    model: str
    strategy: str
    asked: int
    answers: int
    scored: int


def plans(journal: Journal) -> list[tuple[str, str, str]]:
    """The plans that were begun, the latest last: digest, JSON, and when it was begun last (ISO 8601, UTC)."""
    return list(journal.select("SELECT digest, plan, began FROM plans ORDER BY began, digest"))  # pyright: ignore[reportReturnType]


def progress(journal: Journal, digest: str) -> list[CellProgress]:
    """How far each cell of a plan is, in the plan's order."""
    query = (
        "SELECT task, model, strategy, count(*), count(text), count(score) FROM planned_answers WHERE plan = ?"
        " GROUP BY model, task, strategy ORDER BY model, min(number)"
    )
    return [CellProgress(*row) for row in journal.select(query, digest)]


def work_items(journal: Journal, digest: str) -> list[WorkItem]:
    """Everything a plan asks of the models it has come to, in its order."""
    query = (
        "SELECT model, task, item, strategy, seed, number, sample, key FROM work WHERE plan = ?"
        " ORDER BY model, number, sample"
    )
    found = []
    for _, rows in groupby(journal.select(query, digest), key=lambda row: row[:6]):
        listed = list(rows)
        model, task, item, strategy, seed, _, first, _ = listed[0]
        found.append(WorkItem(model, task, item, strategy, int(seed), first, tuple(row[-1] for row in listed)))
    return found


def items(journal: Journal, digest: str, task: str) -> dict[str, ItemView]:
    """The items of a task (as the plan's tables call it), by id, in the plan's order."""
    query = "SELECT id, prompt, reference, rule FROM items WHERE plan = ? AND task = ? ORDER BY place"
    rows = journal.select(query, digest, task)
    return {name: ItemView(name, prompt, json.loads(reference), rule) for name, prompt, reference, rule in rows}


def answers(
    journal: Journal,
    digest: str,
    task: str,
    model: str | None = None,
    strategy: str | None = None,
    *,
    unscored: bool = False,
) -> list[AnswerView]:
    """The answers to a task of a plan that are there, in its order: of all models and strategies, or of one.

    Args:
        journal: where they are.
        digest: of the plan.
        task, model, strategy: as the plan's tables call them; None: all.
        unscored: only those without a score.
    """
    query = f"SELECT {_VIEW} FROM planned_answers WHERE plan = ? AND task = ? AND text IS NOT NULL"
    chosen = {"model": model, "strategy": strategy}
    values = [value for value in chosen.values() if value is not None]
    query += "".join(f" AND {name} = ?" for name, value in chosen.items() if value is not None)
    query += f"{' AND score IS NULL' if unscored else ''} ORDER BY model, number, sample"
    return [_view(row) for row in journal.select(query, digest, task, *values)]


def texts(journal: Journal, keys: list[str]) -> dict[str, str]:
    """The texts of some answers, by key; those that are not there are left out."""
    query = "SELECT key, text FROM answers WHERE key IN (SELECT value FROM json_each(?))"
    return dict(journal.select(query, json.dumps(keys)))  # pyright: ignore[reportReturnType]


def answers_by_key(journal: Journal, keys: Sequence[str]) -> dict[str, Answer]:
    """Some answers whole, with their confidences where they are known; those that are not there are left out."""
    query = (
        f"SELECT {', '.join(f'a.{column}' for column in COLUMNS)}, c.entropy, c.self_certainty, c.top"
        " FROM json_each(?) k JOIN answers a ON a.key = k.value LEFT JOIN confidences c ON c.key = a.key"
    )
    found = {}
    for row in journal.select(query, json.dumps(keys)):
        answer = answer_of(row[:-3])
        found[answer.key] = replace(answer, confidences=confidences_of(row[-3:], len(answer.tokens)))
    return found


def all_answers(journal: Journal) -> Iterator[Answer]:
    """All answers, whatever plan they are of, in the order of their keys."""
    for row in journal.select(f"SELECT {', '.join(COLUMNS)} FROM answers ORDER BY key"):
        yield answer_of(row)


def scored_answers(journal: Journal) -> Iterator[tuple[Answer, Score | None]]:
    """All answers in the order in which they were generated, each with its score; again for each further score."""
    query = (
        f"SELECT {', '.join(f'a.{column}' for column in COLUMNS)}, s.rule, s.task, s.item, s.score, s.answer, s.lacks"
        " FROM answers a LEFT JOIN scores s ON s.key = a.key ORDER BY a.rowid"
    )
    for *row, rule, task, item, score, read, lacks in journal.select(query):
        answer = answer_of(row)
        yield answer, None if rule is None else Score(answer.key, rule, task, item, score, json.loads(read), lacks)


def columns(plan: Plan) -> list[tuple[str, str]]:
    """The columns of answers side by side: model and strategy, in the plan's order."""
    return list(product(plan.models, plan.strategies))


def side_by_side(plan: Plan, journal: Journal, task: str) -> Iterator[ItemView]:
    """The items of a task with all their answers, one item after the other, so that a journal of any size fits memory.

    Args:
        plan: of which sweep.
        journal: where its answers are.
        task: as the plan's tables call it.

    Raises:
        JournalError: if the journal cannot be read.
    """
    place = {column: i for i, column in enumerate(columns(plan))}
    shown = items(journal, plan.digest, task)
    query = f"SELECT {_VIEW} FROM planned_answers WHERE plan = ? AND task = ? ORDER BY place, model, number, sample"
    for item, rows in groupby(journal.select(query, plan.digest, task), key=lambda row: row[3]):
        found: list[list[AnswerView]] = [[] for _ in place]
        for row in rows:
            if row[_TEXT] is not None:
                found[place[row[1], row[2]]].append(_view(row))
        yield replace(shown[item], answers=tuple(map(tuple, found)))


def _view(row: tuple[Any, ...]) -> AnswerView:
    return AnswerView(*row[:-1], read=None if row[-1] is None else json.loads(row[-1]))
