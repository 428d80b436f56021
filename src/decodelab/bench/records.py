"""The records of a sweep: `WorkItem` -> `Answer` -> `Score` -> `CellStats`, and what readers see of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from decodelab.core.errors import DecodelabError
from decodelab.core.values import Confidences, Limits, Tokens
from decodelab.metrics.estimate import Estimate
from decodelab.tasks.response import Lack


@dataclass(frozen=True)
class WorkItem:
    """One item of a task to be asked of one model under one strategy with one seed.

    Attributes:
        model, task, strategy: as tables call them.
        item: the item's id.
        seed: one of the plan's.
        first: the index of the first sample that is asked for.
        keys: a unique key for each answer (`key_of`), by sample from there on.
        made_from: of a strategy that selects among samples without asking the model, the keys of these samples: where
            they are stored, nothing need be generated. Empty for others.
    """

    model: str
    task: str
    item: str
    strategy: str
    seed: int = 0
    first: int = 0
    keys: tuple[str, ...] = ()
    made_from: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One generated answer as the journal stores it.

    Attributes:
        key: its unique key (`key_of`).
        model, model_digest, strategy, prompt, sample, seed, limits: what the key is made of; seed as text.
        text, tokens, token_logprobs, processed_logprobs, finish_reason: what came out.
        prompt_tokens: number of tokens of the prompt; the first sample carries it, the others have 0.
        prefill_tokens, decode_tokens, forward_passes, peak_cache_bytes, seconds: what it cost. Answers that were
            sampled together share their cost: the first carries it, the others have 0. Prompt tokens that had been
            computed already for another strategy are not in `prefill_tokens`.
        confidences: how sure the model was at each token; None where the plan did not ask for it, or nobody knows.
    """

    key: str
    model: str
    model_digest: str
    strategy: str
    prompt: str
    sample: int
    seed: str
    limits: str
    text: str
    tokens: Tokens
    token_logprobs: tuple[float, ...]
    processed_logprobs: tuple[float, ...]
    finish_reason: str
    prompt_tokens: int
    prefill_tokens: int
    decode_tokens: int
    forward_passes: int
    peak_cache_bytes: int
    seconds: float
    confidences: Confidences | None = None


@dataclass(frozen=True)
class Score:
    """What a task, or a judge, says of one answer.

    Attributes:
        key: of the answer.
        rule: digest of what it was scored by: an answer has one score for each rule.
        task, item: the same for readers: the task with its parameters, and the item's id.
        score: from 0 to 1.
        answer: what was read from the text, JSON-ready; None for nothing.
        lacks: why nothing was read (`decodelab.tasks.response.LACKS`); None where something was.
    """

    key: str
    rule: str
    task: str
    item: str
    score: float
    answer: Any
    lacks: Lack | None = None


@dataclass(frozen=True)
class CellStats:
    """The statistics of one cell: one model under one strategy on one task.

    Attributes:
        task, model, strategy: which cell.
        items: how many items have been answered, of those asked. Items with the same prompt count as one.
        asked: how many are asked, counted in the same way.
        repeats: how many further items are asked, whose prompts are those of others.
        answers: how many different answers they have; several for each item where samples are drawn.
        score: mean over items (of the mean over an item's answers) with its 95 % interval; None without an answer. Of
            a single item the interval is that of its draws, and holds for its prompt only; NaN where nothing is drawn.
        difference: to the baseline strategy on the same items, with its simultaneous interval: the intervals of all
            pairs of strategies of this task and model hold together in 95 % of sweeps. None for the baseline itself.
        p: of that difference, by permutation, corrected over the same pairs; at most 0.05 exactly where the interval
            leaves out 0.
        forward_tokens: computed in all, as if the strategy ran alone: a prompt that others share counts in full.
        prompt_tokens: of these, those of prompts; mean per answer.
        decode_tokens: the others; mean per answer.
        seconds: from the beginning of an answer to its end, while others run beside it; mean per answer.
        on_pareto_front: whether no other strategy of this task and model has a mean as good for fewer forward tokens,
            or a better one for as many.
        tokens: generated; mean per answer.
        unread: share of scored answers from whose text no answer was read.
        unfinished: share of answers that the limit cut off.
        repeated: share of answers in which more than half of the 4-grams occurred before.
        more: further figures of the task's own, by name (`decodelab.tasks.task.Aggregated`).
        lacks: how many answers were not read, by the reason (`decodelab.tasks.response.LACKS`), all reasons named.
        reads: whether the task reads an answer from a text; of an open-ended one only what is empty is unread.
        left_out: items that are not in the score and the differences, as none of their answers was read; None where
            such an item counts as 0.
    """

    task: str
    model: str
    strategy: str
    items: int
    asked: int
    repeats: int
    answers: int
    score: Estimate | None
    difference: Estimate | None
    p: float | None
    forward_tokens: int
    prompt_tokens: float
    decode_tokens: float
    seconds: float
    on_pareto_front: bool
    tokens: float
    unread: float
    unfinished: float
    repeated: float
    more: Mapping[str, float] = field(default_factory=dict)
    lacks: Mapping[Lack, int] = field(default_factory=dict)
    reads: bool = True
    left_out: int | None = None


@dataclass(frozen=True)
class JudgeReply:
    """What a judge replied to a question.

    Attributes:
        key: of the judge and the whole conversation up to the question (`decodelab.bench.run.judging`).
        judge: what its replies depend on, as JSON.
        before: the key of the reply before it in its conversation; empty for the first.
        question, reply: the last two turns.
        prompt_tokens, completion_tokens: as the judge counted; None where it did not.
        seconds: how long it took.
    """

    key: str
    judge: str
    before: str
    question: str
    reply: str
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float


@dataclass(frozen=True)
class Failure:
    """An item that could not be answered, or an answer that could not be judged; the next run tries it again."""

    task: str
    model: str
    strategy: str
    item: str
    error: DecodelabError


@dataclass(frozen=True)
class AnswerView:
    """A stored answer as readers and judges need it.

    Attributes:
        task, model, strategy, item, key: which.
        prompt: what the model was given, as text.
        text, tokens, finish_reason: what was written, how many tokens that is, and why it ended.
        score: None before it is scored.
        lacks: why nothing was read from the text; None where something was, or before it is scored.
        read: what was read from the text, JSON-ready; None for nothing.
    """

    task: str
    model: str
    strategy: str
    item: str
    key: str
    prompt: str
    text: str
    tokens: int
    finish_reason: str
    score: float | None = None
    lacks: Lack | None = None
    read: Any = None


@dataclass(frozen=True)
class ItemView:
    """An item of a task as the journal stores it, with all its answers where they are asked for.

    Attributes:
        item: its id.
        prompt: what was asked, as text.
        reference: the right answer, JSON-ready.
        rule: digest of everything that answers to it are scored by.
        answers: for each column (`decodelab.bench.store.views.columns`) its answers, by sample.
    """

    item: str
    prompt: str
    reference: Any
    rule: str
    answers: tuple[tuple[AnswerView, ...], ...] = ()


def key_of(model_digest: str, strategy: str, prompt: Tokens, sample: int, seed: int, limits: Limits) -> str:
    """The unique key of a generation: a digest of everything its text depends on, and of nothing else.

    >>> len(key_of("m", "greedy", (1, 2), 0, 0, Limits()))
    32
    """
    parts = [model_digest, strategy, prompt, sample, seed, limits_text(limits)]
    return blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def limits_text(limits: Limits) -> str:
    """Limits as they are stored."""
    return json.dumps([limits.max_new_tokens, limits.min_new_tokens, limits.stop, limits.stop_token_ids])
