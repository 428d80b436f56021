"""Soft best-of-n."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from decodelab.core.capabilities import Need
from decodelab.core.key import SELECTION
from decodelab.core.protocols import AnyScorer, Question, Ranker
from decodelab.core.stage import check_number
from decodelab.core.values import Candidate
from decodelab.select._prepared import PreparedSelection
from decodelab.select.ratings import By, Rating, Window


@dataclass(frozen=True)
class SoftBestOf(PreparedSelection):
    """Draw the winner of the candidates with probability proportional to exp(rating / temperature).

    Between a random sample (temperature to infinity) and best-of-n (to 0): it gives up some of the rating to stay
    closer to the model. The others follow in the order in which further draws without replacement would give them;
    their scores are the ratings over the temperature plus Gumbel noise, whose order that is.

    Raises:
        InvalidParameter: if a parameter is out of range.

    >>> str(SoftBestOf(temperature=0.5))
    'soft_best_of(temperature=0.5)'
    """

    temperature: Annotated[float, "in units of the rating, greater than 0"] = 1.0
    by: By = "mean_logprob"
    window: Window = 2048

    name: ClassVar[str] = "soft_best_of"
    needs: ClassVar[Need] = "text"
    uses_randomness: ClassVar[bool] = True
    source: ClassVar[str] = "Verdun et al. 2025, Soft best-of-n sampling for model alignment, definition 1"

    @property
    def rating(self) -> Rating:
        """What it ranks by."""
        return Rating(self, self.by, self.window)

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "temperature", low=0, low_open=True, fix="1.0 draws by exp(rating); best_of takes the best")
        self.rating.check()

    def reads_confidences(self) -> bool:
        """Whether it draws by confidence."""
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
        """Ranks in the order drawn, with the perturbed ratings."""
        rated = torch.tensor(self.rating.of(candidates, question), dtype=torch.float64) / self.temperature
        own = question.keys[torch.zeros(len(candidates), dtype=torch.int64)]
        uniform = own.uniform(torch.tensor([c.sample for c in candidates]), SELECTION)
        scores = (rated - (-uniform.log()).log()).tolist()
        return lambda places: [(i, scores[i]) for i in sorted(places, key=lambda i: (-scores[i], candidates[i].sample))]
