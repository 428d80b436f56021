"""The answers of the cells of one task and model as columns, prompts in the same order in all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from hashlib import blake2b

import numpy as np

from decodelab.bench.store.journal import Journal
from decodelab.bench.store.rows import unpacked
from decodelab.metrics.checks import Floats, Ints
from decodelab.tasks.response import LACKS

UNREAD = -1
"""Stands for an answer in whose text nothing could be read."""
_FIGURES = ("score", "prompt_tokens", "decode_tokens", "seconds", "length", "logprob", "repetition")


@dataclass(frozen=True, eq=False)
class CellColumns:
    """The answers that one cell has, one entry for each, those of a prompt in the order of its items and samples.

    Items with the same prompt are one: their answers are answers to it. An answer that stands for several of them,
    as that of a strategy that draws nothing does, is there once; its score is the mean over these items.

    Attributes:
        task, model, strategy: which cell.
        asked: int64 [prompts], how many answers are asked for each prompt; 0 where none is.
        prompt: int64 [n], the place of each answer's prompt, the same in all cells of a group.
        score: float64 [n], NaN where there is none yet.
        read: int64 [n], equal where what was read from the texts is equal, and UNREAD where nothing was.
        prompt_tokens, decode_tokens, seconds: float64 [n], as in `Answer`.
        length: float64 [n], tokens.
        logprob: float64 [n], of all its tokens under the model, in nats; NaN where it is not known.
        repetition: float64 [n], share of its 4-grams that occurred before.
        unfinished: bool [n], cut off by the limit.
        lacks: int64 [n], why nothing was read, as a place in `LACKS`; -1 where something was, or before it is scored.
        confidence: float64 [n], of an option that was chosen by likelihood, its probability given that it is one of the
            options; NaN for other answers.
    """

    task: str
    model: str
    strategy: str
    asked: Ints
    prompt: Ints
    score: Floats
    read: Ints
    prompt_tokens: Floats
    decode_tokens: Floats
    seconds: Floats
    length: Floats
    logprob: Floats
    repetition: Floats
    unfinished: np.ndarray
    lacks: Ints
    confidence: Floats

    @property
    def by_prompt(self) -> Floats:
        """The mean score of each prompt that has all its answers, float64 [prompts]; NaN for the others."""
        scored = ~np.isnan(self.score)
        count = np.bincount(self.prompt[scored], minlength=len(self.asked))
        total = np.bincount(self.prompt[scored], weights=self.score[scored], minlength=len(self.asked))
        return np.where((count == self.asked) & (count > 0), total / np.maximum(count, 1), np.nan)

    def answered(self) -> CellColumns:
        """The same without answers from which nothing was read, which are not asked for then either."""
        kept = np.isnan(self.score) | (self.read != UNREAD)
        gone = np.bincount(self.prompt[~kept], minlength=len(self.asked))
        columns = [f.name for f in fields(self) if f.name not in ("task", "model", "strategy", "asked")]
        return replace(self, asked=self.asked - gone, **{name: getattr(self, name)[kept] for name in columns})


@dataclass(frozen=True, eq=False)
class Group:
    """All cells of one task and model.

    Attributes:
        cells: by strategy, in the plan's order.
        first_items: the id of the first item of each prompt.
        items: how many items there are.
    """

    cells: dict[str, CellColumns]
    first_items: tuple[str, ...]
    items: int

    @property
    def prompts(self) -> int:
        """How many different prompts there are."""
        return len(self.first_items)


def read_group(journal: Journal, plan: str, task: str, model: str, prompts: Mapping[str, str]) -> Group:
    """Read the cells of a task and model.

    Args:
        journal: where they are.
        plan: digest of the plan that asks for them.
        task, model: which.
        prompts: of each item, by its id; an item that is not there has one of its own.

    Raises:
        JournalError: if the journal cannot be read.
    """
    place: dict[str, int] = {}
    first: dict[int, str] = {}
    names: set[str] = set()
    asked: dict[str, dict[str, int]] = {}
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    scores: dict[tuple[str, str], list[float]] = {}
    codes: dict[bytes, int] = {}
    query = (
        f"SELECT strategy, item, key, finish_reason, read, lacks, option_logprobs, {', '.join(_FIGURES)}"
        " FROM planned_answers WHERE plan = ? AND task = ? AND model = ? ORDER BY number, sample"
    )
    for strategy, name, key, finish_reason, read, lacks, options, *figures in journal.select(query, plan, task, model):
        prompt = place.setdefault(prompts.get(name, f"item {name}"), len(place))
        first.setdefault(prompt, name)
        names.add(name)
        asked.setdefault(strategy, {})[key] = prompt
        if finish_reason is None:
            continue
        scores.setdefault((strategy, key), []).append(math.nan if figures[0] is None else figures[0])
        code = UNREAD
        if read not in (None, "null"):
            # A digest, as what was read may be a whole text.
            code = codes.setdefault(blake2b(read.encode(), digest_size=16).digest(), len(codes))
        why = -1 if lacks is None else LACKS.index(lacks)
        sure = math.nan if options is None else math.exp(math.fsum(unpacked(options)))
        known = [math.nan if value is None else value for value in figures[1:]]
        row = (prompt, code, finish_reason == "length", why, sure, *known)
        found.setdefault(strategy, {}).setdefault(key, row)
    cells = {}
    for strategy, its in asked.items():
        answers = found.get(strategy, {})
        rows = np.array(list(answers.values()), dtype=np.float64).reshape(-1, 4 + len(_FIGURES)).T
        cells[strategy] = CellColumns(
            task,
            model,
            strategy,
            asked=np.bincount(list(its.values()), minlength=len(place)),
            prompt=rows[0].astype(np.int64),
            score=np.array([math.fsum(s) / len(s) for s in (scores[strategy, key] for key in answers)]),
            read=rows[1].astype(np.int64),
            unfinished=rows[2].astype(bool),
            lacks=rows[3].astype(np.int64),
            confidence=rows[4],
            **dict(zip(_FIGURES[1:], rows[5:], strict=True)),
        )
    return Group(cells, tuple(first.values()), len(names))
