"""Scorers asked about continuations of a job, and what the model computes for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from decodelab.core.protocols import AnyScorer, LanguageModel
from decodelab.core.values import Partial
from decodelab.engine.counted import Counted
from decodelab.engine.job import Job
from decodelab.scorers.judging import judged


class Judged(NamedTuple):
    """What a scorer gives continuations, and the token positions (padding included) and passes computed for that."""

    values: list[float]
    tokens: int
    passes: int


def judge(model: LanguageModel, scorer: AnyScorer, partials: Sequence[Partial]) -> Judged:
    """Ask a scorer about continuations of one prompt, in one call.

    Raises:
        ScorerFailed: if it does not give one finite number each.
    """
    counted = Counted(model)
    values = judged(scorer, partials, cast(LanguageModel, counted))
    return Judged(values, counted.tokens, counted.passes)


def partial(model: LanguageModel, job: Job, generated: Sequence[int], cut: str | None = None) -> Partial:
    """A continuation of a job's prompt, for those who judge it by its text; `cut` is that before a stop string."""
    if cut is not None:
        return Partial(job.prompt, job.tokens, tuple(generated), cut)
    text = model.vocab.decode_completion(job.before, generated)
    settled = text.rstrip("\ufffd")
    return Partial(job.prompt, job.tokens, tuple(generated), settled, settled == text)
