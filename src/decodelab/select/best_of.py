"""Best-of-n."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from decodelab.core.capabilities import Need
from decodelab.core.protocols import AnyScorer, Question, Ranker
from decodelab.core.values import Candidate
from decodelab.select._prepared import PreparedSelection
from decodelab.select.ratings import By, Rating, Window


@dataclass(frozen=True)
class BestOf(PreparedSelection):
    """Rank the candidates by a rating: the model's own log-probability or confidence, or a scorer.

    Of n independent samples, whose rating is at most r with probability F(r), the winner's is at most r with
    probability F(r)^n. Ties go to the lower sample index.

    Raises:
        InvalidParameter: if `by` is neither a rating nor a scorer.

    >>> str(BestOf(by="logprob"))
    'best_of(by=logprob)'
    """

    by: By = "mean_logprob"
    window: Window = 2048

    name: ClassVar[str] = "best_of"
    needs: ClassVar[Need] = "text"
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = (
        "Adiwardana et al. 2020 (Meena), section 2.5: sample and rank; Kang et al. 2025, self-certainty; "
        "Fu et al. 2025, Deep think with confidence, section 3.1"
    )

    @property
    def rating(self) -> Rating:
        """What it ranks by."""
        return Rating(self, self.by, self.window)

    def __post_init__(self) -> None:
        """Check the parameters."""
        self.rating.check()

    def reads_confidences(self) -> bool:
        """Whether it ranks by confidence."""
        return self.rating.reads_confidences

    def reads_logprobs(self) -> bool:
        """Whether its rating does."""
        return self.rating.reads_logprobs

    def asks_model(self) -> bool:
        """Whether its rating does."""
        return self.rating.asks_model

    def asks_scorer(self) -> AnyScorer | None:
        """The scorer that rates, if one does."""
        return self.rating.scorer

    def prepare(self, candidates: Sequence[Candidate], question: Question) -> Ranker:
        """Ranks by rating, highest first; ties by sample index."""
        rated = self.rating.of(candidates, question)
        by = [-value if not math.isnan(value) else math.inf for value in rated]
        return lambda places: [(i, rated[i]) for i in sorted(places, key=lambda i: (by[i], candidates[i].sample))]
