"""Strategies that select among samples which the journal has: selected from these, nothing is generated again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from decodelab.bench.records import Answer, WorkItem
from decodelab.bench.run.worklist import LoadedTask
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.bench.stored_texts import Load, StoredTexts
from decodelab.core.protocols import Question
from decodelab.core.values import Candidate
from decodelab.strategy.strategy import Strategy


def selectable(groups: Sequence[Sequence[WorkItem]], there: set[str]) -> tuple[list[list[WorkItem]], list[WorkItem]]:
    """Missing work as what must be generated, in its groups, and what can be selected once that is done.

    Args:
        groups: what is missing, as `worklist.missing` gives it.
        there: the keys that the journal has.
    """
    asked = there | {key for group in groups for one in group if not one.made_from for key in one.keys}
    generated: list[list[WorkItem]] = []
    later: list[WorkItem] = []
    for group in groups:
        own = []
        for one in group:
            (later if one.made_from and asked.issuperset(one.made_from) else own).append(one)
        if own:
            generated.append(own)
    return generated, later


def as_candidate(answer: Answer, sample: int) -> Candidate:
    """A stored sample as selections take it."""
    return Candidate(
        answer.tokens,
        answer.text,
        answer.token_logprobs,
        answer.processed_logprobs,
        answer.finish_reason,  # pyright: ignore[reportArgumentType]  (stored as it was)
        sample,
        0.0,
        answer.confidences,
    )


def select(one: WorkItem, strategy: Strategy, task: LoadedTask, samples: Sequence[Answer], load: Load) -> Answer:
    """The answer of a strategy that selects, from its samples; what it cost is what they would have cost alone.

    Reward models are loaded by `load`, and what they compute is part of the cost.

    Raises:
        DecodelabError: what its selection raises.
    """
    selection = strategy.selection
    assert selection is not None
    first = samples[0]
    stored = StoredTexts(load)
    asked = Question.of(first.prompt, seed=int(first.seed), read=task.reader(one.item))
    question = replace(asked, model=stored.model)
    windows = _drawn(strategy, [as_candidate(answer, i) for i, answer in enumerate(samples)], question)
    candidates = [candidate for window in windows for candidate in window]
    best = samples[selection.rank(candidates, question)[0][0].sample]
    samples = samples[: len(candidates)]
    lengths = [len(answer.tokens) for answer in samples]
    return replace(
        best,
        key=one.keys[0],
        strategy=str(with_base(strategy, first.strategy)),
        sample=0,
        prompt_tokens=first.prompt_tokens,
        prefill_tokens=0,  # the prompt was computed for the samples
        decode_tokens=stored.tokens
        + (sum(lengths) - len(lengths) if any(lengths) else sum(a.decode_tokens for a in samples)),
        forward_passes=sum(max(len(candidate.tokens) for candidate in window) for window in windows) + stored.passes,
        peak_cache_bytes=max(answer.peak_cache_bytes for answer in samples),
        seconds=sum(answer.seconds for answer in samples),
    )


def _drawn(strategy: Strategy, candidates: Sequence[Candidate], question: Question) -> list[Sequence[Candidate]]:
    """The samples that a strategy would have drawn of these, in its windows; all in one where it draws all."""
    windowed, total = strategy.windowed, len(candidates)
    if windowed is None:
        return [candidates]
    windows: list[Sequence[Candidate]] = []
    for first in range(0, total, windowed.window):
        windows.append(candidates[first : first + windowed.window])
        drawn = first + len(windows[-1])
        if drawn < total and windowed.settled(candidates[:drawn], drawn, total, question):
            break
    return windows


def with_base(strategy: Strategy, base: str) -> Strategy:
    """A strategy as the samples were drawn under, with the search of another and what follows it."""
    own = [stage for stage in Strategy.of(base).stages if stage.kind != "search"]
    return Strategy((*own, *(s for s in strategy.stages if s.kind in ("search", "driver", "selection"))))


def samples_of(journal: Journal, one: WorkItem) -> list[Answer]:
    """The samples that a piece of work is made from, in their order; none where some are not there."""
    answers = views.answers_by_key(journal, one.made_from)
    return [answers[key] for key in one.made_from] if len(answers) == len(set(one.made_from)) else []
