"""Scorers asked about continuations of a job, and what the model computes for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from decodelab.core.protocols import AnyScorer, Cache, LanguageModel
from decodelab.core.values import Partial, Tokens
from decodelab.engine.job import Job
from decodelab.scorers.judging import judged

if TYPE_CHECKING:
    from torch import Tensor


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
    counted = _Counted(model)
    values = judged(scorer, partials, cast(LanguageModel, counted))
    return Judged(values, counted.tokens, counted.passes)


def partial(model: LanguageModel, job: Job, generated: Sequence[int], cut: str | None = None) -> Partial:
    """A continuation of a job's prompt, for those who judge it by its text; `cut` is that before a stop string."""
    if cut is not None:
        return Partial(job.prompt, job.tokens, tuple(generated), cut)
    text = model.vocab.decode_completion(job.before, generated)
    settled = text.rstrip("\ufffd")
    return Partial(job.prompt, job.tokens, tuple(generated), settled, settled == text)


class _Counted:
    """Stands for a model and counts the tokens and passes computed through it."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self.tokens = 0
        self.passes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, Cache]:
        self.passes += 1
        self.tokens += sum(map(len, prompts))
        return self._model.prefill(prompts)

    def decode(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, Cache]:
        self.passes += 1
        self.tokens += tokens.numel()
        return self._model.decode(cache, tokens)
