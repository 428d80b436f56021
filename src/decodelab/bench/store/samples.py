"""The answers of a sweep as a reader wants them: item by item, what every model said under every strategy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

from decodelab.bench.plan import Plan
from decodelab.bench.store.journal import Asked, Journal


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        text, tokens, finish_reason: what was written, of how many tokens, and why it ended.
        score: what it is worth; None before it is scored.
        read: the answer that the task's parser found in the text, JSON-ready; None for none.
    """

    text: str
    tokens: int
    finish_reason: str
    score: float | None
    read: Any


@dataclass(frozen=True)
class Item:
    """One item of a task, with all its answers.

    Attributes:
        example: its id.
        prompt: what was asked, as text.
        reference: the right answer, JSON-ready.
        answers: for each column (`columns`) the samples that are there, by sample.
    """

    example: str
    prompt: str
    reference: Any
    answers: tuple[tuple[Answer, ...], ...]


def columns(plan: Plan) -> list[tuple[str, str]]:
    """Who answers: model and strategy, in the plan's order."""
    return list(product(plan.models, plan.strategies))


def side_by_side(plan: Plan, journal: Journal, task: str, at_once: int = 25) -> Iterator[Item]:
    """Read the items of a task one after the other, so that a journal of any size fits the memory.

    Args:
        plan: of which sweep.
        journal: where its answers are.
        task: as the plan's tables call it.
        at_once: items whose texts are read together.

    Raises:
        JournalError: if the journal cannot be read.
    """
    place = {column: i for i, column in enumerate(columns(plan))}
    shown = journal.examples(plan.digest)
    scores = journal.scores(plan.digest, task)
    items: dict[str, dict[int, Asked]] = {}
    for asked in journal.asked(plan.digest):
        if asked.task == task:
            items.setdefault(asked.example, {})[place[asked.model, asked.strategy]] = asked
    waiting = iter(items.items())
    while batch := list(islice(waiting, at_once)):
        written = journal.texts([key for _, cells in batch for asked in cells.values() for key in asked.keys])
        for example, cells in batch:
            answers: list[tuple[Answer, ...]] = []
            for column in range(len(place)):
                keys = [key for key in cells[column].keys if key in written] if column in cells else []
                found = [(written[key], scores.get((key, example))) for key in keys]
                answers.append(
                    tuple(Answer(w.text, w.tokens, w.finish_reason, s and s.score, s and s.answer) for w, s in found)
                )
            item = shown[task, example]
            yield Item(example, item.prompt, item.reference, tuple(answers))
