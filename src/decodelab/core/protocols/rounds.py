"""Searches over texts: which continuations are drawn next, given those that have been drawn."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from decodelab.core.chunks import Chunk
from decodelab.core.protocols.selections import Question
from decodelab.core.values import Candidate, Limits, Prompt


@dataclass(frozen=True)
class Draw:
    """Continuations that a search wants drawn from the processed distribution.

    What is drawn depends on the seed, the prompt, the sample index and the positions alone: two draws under one index
    after the same beginning are the same text. So a search that wants new draws counts `first` up.

    Attributes:
        n: how many, at least 1.
        first: the sample index of the first; the others follow it.
        after: the answer so far, which they continue: its tokens where the model runs here, else its text. None for an
            empty one.
        chunk: the unit that ends a draw, the mark that ends it included, and what else its last token says; None draws
            to the end of the answer.
        most: new tokens at most, besides what the limits of the job allow for the whole answer; None for no other
            bound.
        prompt: what is continued instead of the job's prompt.
    """

    n: int
    first: int
    after: Candidate | None = None
    chunk: Chunk | None = None
    most: int | None = None
    prompt: Prompt | None = None


@dataclass(frozen=True)
class Drawn:
    """A continuation that was drawn.

    Attributes:
        candidate: the whole answer from its beginning, what it continues included; its `sample` is the index it was
            drawn under, its score its log-probability under the processed distribution, and its `finish_reason` is
            "pruned" where it is not finished.
        finished: whether the answer ended (EOS, a stop, the limit of the answer); otherwise the chunk did, or `most`.
    """

    candidate: Candidate
    finished: bool


Rounds = Generator[Sequence[Draw], Sequence[Sequence[Drawn]], list[tuple[Candidate, float]]]
"""Yields the draws of a round, is sent what was drawn for each (fewer than asked where a constraint leaves no text),
and returns the candidates with their scores, best first."""


@runtime_checkable
class SearchesInRounds(Protocol):
    """A search that is a function of texts: it draws continuations, looks at them, and draws again.

    It has no logits of its own, so that the same lines run beside an engine and on somebody else's server. A stage
    that is one declares `searches_in_rounds`.
    """

    @property
    def n(self) -> int:
        """The most candidates it returns."""
        ...

    @property
    def peak_rows(self) -> int:
        """The most continuations that the draws of a round ask for together."""
        ...

    def rounds(self, question: Question, limits: Limits) -> Rounds:
        """The rounds for one prompt; randomness comes from `question.keys`, and the model, which counts, from
        `question.model`."""
        ...
