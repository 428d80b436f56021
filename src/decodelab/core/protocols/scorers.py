"""Scorers: ratings of partial texts as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from decodelab.core.protocols.models import LanguageModel
from decodelab.core.values import Partial


class Scorer(Protocol):
    """An external rating of texts: a task's score, a reward model, a checker."""

    def __call__(self, prompt: str, texts: Sequence[str], /) -> Sequence[float]:
        """One finite number a text, higher is better."""
        ...


@runtime_checkable
class ModelScorer(Protocol):
    """A rating that queries the decoded model."""

    def score(self, model: LanguageModel, partials: Sequence[Partial]) -> Sequence[float]:
        """One finite number a continuation, higher is better; all continue the same prompt."""
        ...


AnyScorer = str | Scorer | ModelScorer
"""A scorer as a stage names it: by its name, or in Python as what it is."""
