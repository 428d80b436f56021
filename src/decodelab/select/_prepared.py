"""Selections that look at candidates once and then rank any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from decodelab.core.protocols import Question, Ranker
from decodelab.core.stage import Kind, Stage
from decodelab.core.values import Candidate


class PreparedSelection(Stage):
    """A selection that is its `prepare`: ranking is preparing for all candidates and ranking all."""

    kind: ClassVar[Kind] = "selection"

    def prepare(self, candidates: Sequence[Candidate], question: Question) -> Ranker:
        """What ranks some of these candidates, given as places in the order of their samples."""
        raise NotImplementedError

    def rank(self, candidates: Sequence[Candidate], question: Question) -> list[tuple[Candidate, float]]:
        """The candidates with their scores, best first."""
        ordered = sorted(candidates, key=lambda c: c.sample)
        ranker = self.prepare(ordered, question)
        return [(ordered[place], score) for place, score in ranker(range(len(ordered)))]
