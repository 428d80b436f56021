"""The answers of a sweep packed for a page, which unpacks only what is being read."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from decodelab.bench.records import AnswerView, ItemView

ITEMS = 25
"""Items in a block: what a page shows at once."""
_LONGEST = 4000
"""Characters of an answer that are shown."""


@dataclass
class Packed:
    """Answers as compressed JSON in base64, which no text in them can break out of.

    Attributes:
        columns: model and strategy of each column.
        blocks: the items, `ITEMS` at a time, all tasks one after the other.
        tasks: what filters need without unpacking a block: for each task its name, its first block, the items' ids and
            for each column and item the mean score and which answers and texts are equal.
    """

    columns: Sequence[tuple[str, str]]
    blocks: list[str] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)

    def add(self, task: str, items: Iterable[ItemView]) -> None:
        """Pack a task, a block at a time."""
        width = range(len(self.columns))
        kept: dict[str, Any] = {"name": task, "first": len(self.blocks), "ids": []}
        kept |= {name: [[] for _ in width] for name in ("scores", "answers", "texts")}
        self.tasks.append(kept)
        waiting = iter(items)
        while batch := list(islice(waiting, ITEMS)):
            block = []
            for item in batch:
                reads = [[plain(answer.read) for answer in answers] for answers in item.answers]
                texts = [[answer.text for answer in answers] for answers in item.answers]
                kept["ids"].append(item.item)
                for column, answers in enumerate(item.answers):
                    kept["scores"][column].append(_mean(answers))
                for name, classes in (("answers", _classes(reads)), ("texts", _classes(texts))):
                    for column in width:
                        kept[name][column].append(classes[column])
                cells = [
                    [
                        [a.score, read, a.tokens, a.finish_reason, a.text, a.lacks]
                        for a, read in zip(answers, read, strict=True)
                    ]
                    for answers, read in zip(item.answers, reads, strict=True)
                ]
                block.append([item.prompt, plain(item.reference), cells])
            self.blocks.append(_packed(block))

    def index(self) -> str:
        """What the page reads first."""
        return _packed({"size": ITEMS, "columns": self.columns, "tasks": self.tasks})


def plain(value: Any) -> str | None:
    """An answer as a person reads it: text as it is, anything else as JSON, both cut to a length.

    >>> plain("B"), plain([[1, 2]]), plain(None)
    ('B', '[[1, 2]]', None)
    """
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ... ({len(text):,} characters)"


def _packed(data: Any) -> str:
    # No time in the header: the same answers give the same page.
    return base64.b64encode(gzip.compress(json.dumps(data, separators=(",", ":")).encode(), 6, mtime=0)).decode()


def _mean(answers: Sequence[AnswerView]) -> float | None:
    scores = [answer.score for answer in answers if answer.score is not None]
    return round(sum(scores) / len(scores), 6) if scores else None


def _classes(values: Sequence[list[Any]]) -> list[int | None]:
    """Numbers that are equal where values are; None where there is none."""
    known: dict[tuple[Any, ...], int] = {}
    return [known.setdefault(tuple(value), len(known)) if value else None for value in values]
