"""A selection: the shortest text wins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from decodelab.core.capabilities import Need
from decodelab.core.protocols import Question
from decodelab.core.stage import Kind, Stage
from decodelab.core.values import Candidate


@dataclass(frozen=True)
class Shortest(Stage):
    """Rank the candidates by the length of their text, shortest first."""

    name: ClassVar[str] = "shortest"
    kind: ClassVar[Kind] = "selection"
    source: ClassVar[str] = "docs/extending.md"
    needs: ClassVar[Need] = "text"
    uses_randomness: ClassVar[bool] = False

    def rank(self, candidates: Sequence[Candidate], question: Question) -> list[tuple[Candidate, float]]:
        """The candidates with minus the length of their text, highest first."""
        scored = [(c, -float(len(c.text))) for c in candidates]
        return sorted(scored, key=lambda pair: (-pair[1], pair[0].sample))
