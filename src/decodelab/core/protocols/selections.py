"""Selections: which finished candidate wins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from decodelab.core.values import Candidate


@runtime_checkable
class Selection(Protocol):
    """Which finished candidate wins."""

    def rank(self, candidates: Sequence[Candidate]) -> list[tuple[Candidate, float]]:
        """The candidates with their scores, best first."""
        ...
