"""What a journal has of the cells of one task and model: their answers in columns, item by item the same."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from decodelab.bench.plan import Cell
from decodelab.bench.store.journal import Figures, Journal
from decodelab.metrics.checks import Floats, Ints

UNREAD = -1
"""Stands for the answer of a text in which none was found."""


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers that one cell has, one entry an answer, those of an item in the order of its samples.

    Attributes:
        cell: which.
        asked: int64 [items], how many answers are asked of each item; 0 where none is.
        item: int64 [n], the place of each answer's item, the same in all cells of a group.
        score: float64 [n], NaN where there is none yet.
        read: int64 [n], equal where what was read from the texts is equal, and UNREAD where nothing was.
        prompt_tokens, decode_tokens, seconds, length, logprob, repetition, confidence: float64 [n], as in `Figures`.
        unfinished: bool [n], cut off by the limit.
    """

    cell: Cell
    asked: Ints
    item: Ints
    score: Floats
    read: Ints
    prompt_tokens: Floats
    decode_tokens: Floats
    seconds: Floats
    length: Floats
    logprob: Floats
    repetition: Floats
    unfinished: np.ndarray
    confidence: Floats

    @property
    def by_item(self) -> Floats:
        """The mean score of each item that has all its answers, float64 [items]; NaN for the others."""
        scored = ~np.isnan(self.score)
        count = np.bincount(self.item[scored], minlength=len(self.asked))
        total = np.bincount(self.item[scored], weights=self.score[scored], minlength=len(self.asked))
        return np.where((count == self.asked) & (count > 0), total / np.maximum(count, 1), np.nan)


@dataclass(frozen=True, eq=False)
class Group:
    """All cells of one task and model.

    Attributes:
        cells: by strategy, in the plan's order.
        items: ids of the items.
        clusters: int64 [items], equal where the prompt is; None where it is one prompt for all, of which items are
            draws.
    """

    cells: dict[str, Answers]
    items: tuple[str, ...]
    clusters: Ints | None


def read_group(journal: Journal, plan: str, task: str, model: str, prompts: dict[str, str]) -> Group:
    """Read the cells of a task and model.

    Args:
        journal: where they are.
        plan: digest of the plan that asks for them.
        task, model: which.
        prompts: of each item, by its id.

    Raises:
        JournalError: if the journal cannot be read.
    """
    place: dict[str, int] = {}
    asked: dict[str, list[int]] = {}
    found: dict[str, list[tuple[int, int, Figures]]] = {}
    codes: dict[bytes, int] = {}
    for strategy, example, figures in journal.figures(plan, task, model):
        item = place.setdefault(example, len(place))
        asked.setdefault(strategy, []).append(item)
        if figures is None:
            continue
        read = UNREAD
        if figures.read is not None:
            # A digest, as what was read may be a whole text.
            read = codes.setdefault(blake2b(figures.read.encode(), digest_size=16).digest(), len(codes))
        found.setdefault(strategy, []).append((item, read, figures))
    cells = {}
    for strategy, items in asked.items():
        count = np.bincount(items, minlength=len(place))
        cells[strategy] = _columns(Cell(task, model, strategy), count, found.get(strategy, []))
    seen: dict[str, int] = {}
    ids = np.array([seen.setdefault(prompts.get(name, name), len(seen)) for name in place], dtype=np.int64)
    return Group(cells, tuple(place), ids if len(seen) > 1 else None)


def _columns(cell: Cell, asked: Ints, found: list[tuple[int, int, Figures]]) -> Answers:
    figures = [each for _, _, each in found]

    def column(name: str) -> Floats:
        values = [getattr(each, name) for each in figures]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    return Answers(
        cell,
        asked,
        np.array([item for item, _, _ in found], dtype=np.int64),
        column("score"),
        np.array([read for _, read, _ in found], dtype=np.int64),
        column("prompt_tokens"),
        column("decode_tokens"),
        column("seconds"),
        column("length"),
        column("logprob"),
        column("repetition"),
        np.array([each.finish_reason == "length" for each in figures], dtype=bool),
        column("confidence"),
    )
