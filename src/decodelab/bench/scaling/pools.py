"""The stored samples of a sweep, item by item, as selections take them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np

from decodelab.bench.store.journal import Journal
from decodelab.bench.store.rows import confidences_of, unpacked
from decodelab.bench.stored_texts import Load, StoredTexts, reward_models
from decodelab.core.protocols import Question
from decodelab.core.values import Candidate
from decodelab.metrics.checks import Floats
from decodelab.models.loading import load_reward

_COLUMNS = (
    "w.strategy, i.place, i.id, a.prompt, a.text, a.tokens, a.token_logprobs, a.processed_logprobs, a.finish_reason,"
    " a.prompt_tokens, a.decode_tokens, a.seconds, s.score, s.answer, c.entropy, c.self_certainty, c.top"
)


@dataclass(frozen=True, eq=False)
class Pool:
    """The samples that one strategy has of one item; a strategy that draws nothing has one.

    Attributes:
        item: its id.
        prompt: the prompt as text.
        candidates: the samples, numbered from 0.
        scores: float64 [samples].
        answers: what was read of each, as JSON; None where nothing was.
        prompt_tokens: tokens of the prompt.
        decode_tokens, seconds: what all samples cost together.
        load: loads the reward models that selections ask.
    """

    item: str
    prompt: str
    candidates: tuple[Candidate, ...]
    scores: Floats
    answers: tuple[str | None, ...]
    prompt_tokens: int
    decode_tokens: int
    seconds: float
    load: Load = load_reward

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.candidates)

    @cached_property
    def _read(self) -> dict[str, str | None]:
        return {c.text: answer for c, answer in zip(self.candidates, self.answers, strict=True)}

    def question(self, seed: int = 0) -> Question:
        """What selections are told: the task's own reading of each text is the stored one."""
        asked = Question.of(self.prompt, seed=seed, read=self._read.__getitem__)
        return replace(asked, model=StoredTexts(self.load).model)

    @property
    def tokens(self) -> float:
        """Generated tokens of a sample, on average; of a server's, as many as it counted."""
        return (sum(len(c.tokens) for c in self.candidates) or self.decode_tokens) / len(self)

    @property
    def shows_logprobs(self) -> bool:
        """Whether the log-probabilities of all samples are known; servers may not show them."""
        return not any(math.isnan(c.logprob) for c in self.candidates)


@dataclass(frozen=True)
class Pools:
    """The pools of one task and model.

    Attributes:
        task, model: which.
        strategies: by strategy, the pools in the order of the items; items without all their samples are left out.
        samples: by strategy, how many samples each item has.
        incomplete: by strategy, how many items were left out.
        prompts: the prompt of each item, for what counts as one observation.
    """

    task: str
    model: str
    strategies: Mapping[str, tuple[Pool, ...]]
    samples: Mapping[str, int]
    incomplete: Mapping[str, int]
    prompts: Mapping[str, str]


def read_pools(journal: Journal, plan: str, task: str, model: str, prompts: Mapping[str, str]) -> Pools:
    """Read the samples of a task and model that are scored.

    Args:
        journal: where they are.
        plan: digest of the plan that asks for them.
        task, model: which.
        prompts: of each item, by its id.

    Raises:
        JournalError: if the journal cannot be read.
    """
    asked: dict[str, dict[str, int]] = {}
    counts = "SELECT strategy, item, count(*) FROM work WHERE plan = ? AND task = ? AND model = ? GROUP BY 1, 2"
    for strategy, item, count in journal.select(counts, plan, task, model):
        asked.setdefault(strategy, {})[item] = count
    query = (
        f"SELECT {_COLUMNS} FROM work w JOIN items i ON i.plan = w.plan AND i.task = w.task AND i.id = w.item"
        " JOIN answers a ON a.key = w.key JOIN scores s ON s.key = w.key AND s.rule = i.rule"
        " LEFT JOIN confidences c ON c.key = w.key"
        " WHERE w.plan = ? AND w.task = ? AND w.model = ? ORDER BY w.strategy, i.place, w.number, w.sample"
    )
    load = reward_models()
    found: dict[str, list[Pool]] = {strategy: [] for strategy in asked}
    for (strategy, _, item), rows in groupby(journal.select(query, plan, task, model), key=lambda row: row[:3]):
        listed = [row[3:] for row in rows]
        if len(listed) == asked[strategy][item]:
            found[strategy].append(_pool(item, listed, load))
    return Pools(
        task,
        model,
        {strategy: tuple(pools) for strategy, pools in found.items()},
        {strategy: max(its.values()) for strategy, its in asked.items()},
        {strategy: len(its) - len(found[strategy]) for strategy, its in asked.items()},
        prompts,
    )


def _pool(item: str, rows: list[tuple[Any, ...]], load: Load) -> Pool:
    columns = list(zip(*rows, strict=True))
    prompts, texts, tokens, logprobs, processed, reasons, prompt_tokens, decoded, seconds, scores, answers = columns[
        :11
    ]
    candidates = []
    for i, confidences in enumerate(zip(*columns[11:], strict=True)):
        ids, model, own = unpacked(tokens[i], "i"), unpacked(logprobs[i]), unpacked(processed[i])
        known = confidences_of(confidences, len(ids))
        candidates.append(Candidate(ids, texts[i], model, own, reasons[i], i, 0.0, known))
    read = tuple(None if json.loads(answer) is None else answer for answer in answers)
    return Pool(
        item,
        prompts[0],
        tuple(candidates),
        np.array(scores, dtype=np.float64),
        read,
        max(prompt_tokens),
        sum(decoded),
        sum(seconds),
        load,
    )
