"""The answers of the cells of one task and model as columns, items in the same order in all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from decodelab.bench.store.journal import Journal
from decodelab.bench.store.rows import unpacked
from decodelab.core.thoughts import without_thoughts
from decodelab.metrics.checks import Floats, Ints

UNREAD = -1
"""Stands for an answer in whose text nothing could be read."""
_FIGURES = ("score", "prompt_tokens", "decode_tokens", "seconds", "length", "logprob", "repetition")


@dataclass(frozen=True, eq=False)
class CellColumns:
    """The answers that one cell has, one entry for each answer, those of an item in the order of its samples.

    Attributes:
        task, model, strategy: which cell.
        asked: int64 [items], how many answers are asked for each item; 0 where none is.
        item: int64 [n], the place of each answer's item, the same in all cells of a group.
        score: float64 [n], NaN where there is none yet.
        read: int64 [n], equal where what was read from the texts is equal, and UNREAD where nothing was.
        prompt_tokens, decode_tokens, seconds: float64 [n], as in `Answer`.
        length: float64 [n], tokens.
        logprob: float64 [n], of all its tokens under the model, in nats; NaN where it is not known.
        repetition: float64 [n], share of its 4-grams that occurred before.
        unfinished: bool [n], cut off by the limit.
        empty: bool [n], with no answer at all: no text, or thoughts only.
        confidence: float64 [n], of an option that was chosen by likelihood, its probability given that it is one of the
            options; NaN for other answers.
    """

    task: str
    model: str
    strategy: str
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
    empty: np.ndarray
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
        clusters: int64 [items], equal where the prompt is; None where all items have one prompt, of which they are
            draws.
    """

    cells: dict[str, CellColumns]
    items: tuple[str, ...]
    clusters: Ints | None


def read_group(journal: Journal, plan: str, task: str, model: str, prompts: Mapping[str, str]) -> Group:
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
    found: dict[str, list[tuple[float, ...]]] = {}
    codes: dict[bytes, int] = {}
    query = (
        "SELECT strategy, item, finish_reason, read, CASE WHEN read IS NULL OR read = 'null' THEN text END,"
        f" option_logprobs, {', '.join(_FIGURES)} FROM planned_answers"
        " WHERE plan = ? AND task = ? AND model = ? ORDER BY number, sample"
    )
    for strategy, name, finish_reason, read, text, options, *figures in journal.select(query, plan, task, model):
        item = place.setdefault(name, len(place))
        asked.setdefault(strategy, []).append(item)
        if finish_reason is None:
            continue
        code = UNREAD
        if read not in (None, "null"):
            # A digest, as what was read may be a whole text.
            code = codes.setdefault(blake2b(read.encode(), digest_size=16).digest(), len(codes))
        empty = text is not None and not without_thoughts(text).strip()
        sure = math.nan if options is None else math.exp(math.fsum(unpacked(options)))
        known = [math.nan if value is None else value for value in figures]
        found.setdefault(strategy, []).append((item, code, finish_reason == "length", empty, sure, *known))
    cells = {}
    for strategy, its in asked.items():
        rows = np.array(found.get(strategy, []), dtype=np.float64).reshape(-1, 5 + len(_FIGURES)).T
        cells[strategy] = CellColumns(
            task,
            model,
            strategy,
            asked=np.bincount(its, minlength=len(place)),
            item=rows[0].astype(np.int64),
            read=rows[1].astype(np.int64),
            unfinished=rows[2].astype(bool),
            empty=rows[3].astype(bool),
            confidence=rows[4],
            **dict(zip(_FIGURES, rows[5:], strict=True)),
        )
    seen: dict[str, int] = {}
    ids = np.array([seen.setdefault(prompts.get(name, name), len(seen)) for name in place], dtype=np.int64)
    return Group(cells, tuple(place), ids if len(seen) > 1 else None)
