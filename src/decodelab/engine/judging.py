"""Scorers asked about continuations of a job, and what the model computes for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from decodelab.core.protocols import AnyScorer, LanguageModel
from decodelab.core.values import Partial
from decodelab.engine.counted import Counted
from decodelab.engine.job import Job
from decodelab.scorers.judging import judged

_MOST_UNFINISHED = 3
"""Bytes of a character that is not finished; some vocabularies show each of them as U+FFFD."""


class Judged(NamedTuple):
    """What a scorer gives continuations, and the token positions (padding included) and passes computed for that."""

    values: list[float]
    tokens: int
    passes: int


def judge(model: LanguageModel, job: Job, scorer: AnyScorer, partials: Sequence[Partial]) -> Judged:
    """Ask a scorer about continuations of a job's prompt, in one call.

    Raises:
        ScorerFailed: if it does not give one finite number each.
    """
    counted = Counted(model, job.rewards)
    values = judged(scorer, partials, cast(LanguageModel, counted))
    return Judged(values, counted.tokens, counted.passes)


def partial(model: LanguageModel, job: Job, generated: Sequence[int], cut: str | None = None) -> Partial:
    """A continuation of a job's prompt, for those who judge it by its text; `cut` is that before a stop string."""
    if cut is not None:
        return Partial(job.prompt, job.tokens, tuple(generated), cut)
    text = model.vocab.decode_completion(job.before, generated)
    # More at the end than the bytes of an unfinished character are broken for good, and are part of the text.
    settled = text[: max(len(text.rstrip("\ufffd")), len(text) - _MOST_UNFINISHED)]
    return Partial(job.prompt, job.tokens, tuple(generated), settled, settled == text)
