"""Weighted voting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from decodelab.core.capabilities import Need
from decodelab.core.errors import ScorerFailed
from decodelab.core.protocols import AnyScorer, Question, Ranker, Reader
from decodelab.core.stage import brief, check_choice, check_number, plain
from decodelab.core.values import Candidate
from decodelab.select._prepared import PreparedSelection
from decodelab.select._tally import tally
from decodelab.select.ratings import By, Rating, Window
from decodelab.select.readers import Answer, check_answer, read_answers
from decodelab.select.vote import Quorum


@dataclass(frozen=True)
class WeightedVote(PreparedSelection):
    """Rank the candidates by how much weight the candidates with the same answer have together.

    Before the count, `keep` leaves only the candidates of the highest rating, rounded up; the others come last. The
    weight is the rating itself (`value`), e to the power of it (`exp`: for log-probabilities and ratings below 0), or
    by its place (`rank`: Borda's count n - r + 1 of the r-th best, ties by sample index), each raised to `power`.
    Answers, ties and the quorum are those of `vote`.

    Self-certainty's vote is `by=self_certainty, weight=rank`; DeepConf's is `by=bottom_groups, keep=0.1`, with windows
    that overlap by all tokens but one, as in the paper's code; the weighted sum of self-consistency is
    `by=mean_probability`, or `by=probability` without its normalisation.

    Raises:
        InvalidParameter: if a parameter is none of these or out of range.
        ScorerFailed: while ranking, for a rating below 0 with `weight=value`.

    >>> str(WeightedVote(by="self_certainty", weight="rank", power=1.2))
    'weighted_vote(by=self_certainty, weight=rank, power=1.2)'
    """

    by: By = "mean_probability"
    answer: Answer = "integer"
    weight: Annotated[Literal["value", "exp", "rank"], "value (the rating itself), exp or rank (Borda)"] = "value"
    power: Annotated[float, "the weight is raised to it; 0 makes all votes equal"] = 1.0
    keep: Annotated[float, "share of the candidates that vote, those of the highest rating, in (0, 1]"] = 1.0
    quorum: Quorum = 0.0
    window: Window = 2048

    name: ClassVar[str] = "weighted_vote"
    needs: ClassVar[Need] = "text"
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = (
        "Wang et al. 2023, Self-consistency, section 3.1; Kang et al. 2025, self-certainty, section 3.3; "
        "Fu et al. 2025, Deep think with confidence, section 3.2"
    )

    @property
    def rating(self) -> Rating:
        """What the weights are made of."""
        return Rating(self, self.by, self.window)

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_answer(self)
        self.rating.check()
        check_choice(self, "weight", ("value", "exp", "rank"), fix="value takes the rating as it is")
        check_number(self, "power", low=0, fix="1.0 takes the weight as it is")
        check_number(self, "keep", low=0, low_open=True, high=1, fix="1.0 lets all candidates vote")
        check_number(self, "quorum", low=0, high=1, fix="0 always takes the answer with most weight")

    def reads_confidences(self) -> bool:
        """Whether its weights are confidences."""
        return self.rating.reads_confidences

    def counts(self) -> str | Reader:
        """Its answers."""
        return self.answer

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
        """Ranks by the share of the weight for an answer, most first; those that did not vote come last."""
        rated = self.rating.of(candidates, question)
        answers = read_answers(self, self.answer, candidates, question)

        def ranker(places: Sequence[int]) -> list[tuple[int, float]]:
            best = sorted(places, key=lambda i: -rated[i])  # stable: ties by sample index
            kept = math.ceil(self.keep * len(best) - 1e-9)
            weights = dict(zip(best[:kept], self._weights([rated[i] for i in best[:kept]]), strict=True))
            voters = [i for i in places if i in weights]
            own = [answers[i] for i in voters]
            counted = tally(self, voters, own, [weights[i] for i in voters], self.quorum)
            return [*counted, *((i, 0.0) for i in best[kept:])]

        return ranker

    def _weights(self, rated: Sequence[float]) -> list[float]:
        """The weights of ratings, highest first."""
        if self.weight == "rank":
            return [float(len(rated) - place) ** self.power for place in range(len(rated))]
        if self.weight == "exp":
            # Only their ratios matter: the largest is 1, so that none overflows.
            most = rated[0]
            return [math.exp(self.power * (value - most)) if value > -math.inf else 0.0 for value in rated]
        if rated[-1] < 0:
            raise ScorerFailed(
                f"weighted_vote: a weight must not be negative, got {rated[-1]:.4g} from by={brief(plain(self.by))}; "
                "use weight=exp or weight=rank"
            )
        return [value**self.power for value in rated]
