"""Self-consistency: the majority answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.core.capabilities import Need
from decodelab.core.protocols import Question, Ranker, Reader
from decodelab.core.stage import check_number
from decodelab.core.values import Candidate
from decodelab.select._prepared import PreparedSelection
from decodelab.select._tally import tally
from decodelab.select.readers import Answer, check_answer, read_answers

Quorum = Annotated[float, "share of all votes that the winner must have, from 0 to 1; else the first sample is taken"]


@dataclass(frozen=True)
class Vote(PreparedSelection):
    """Rank the candidates by how many give the same answer (self-consistency).

    The answer of a text is what a reader makes of it (`decodelab.select.readers`): the integer or number it settles on,
    its choice letter, its last line that is not empty, the whole text stripped, a field of its JSON, what the task that
    asks reads, or what a third party's reader or a Python function gives. Candidates without an answer abstain and come
    last. Ties go to the answer seen first. Thoughts are no answer, also one that the prompt opened and the limit cut.

    Raises:
        InvalidParameter: if `answer` is none of these, or `quorum` out of range.

    >>> str(Vote(answer="line"))
    'vote(answer=line)'
    """

    answer: Answer = "integer"
    quorum: Quorum = 0.0

    name: ClassVar[str] = "vote"
    needs: ClassVar[Need] = "text"
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = "Wang et al. 2023, Self-consistency, section 2"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_answer(self)
        check_number(self, "quorum", low=0, high=1, fix="0 always takes the answer with most votes")

    def counts(self) -> str | Reader:
        """Its answers."""
        return self.answer

    def reads_logprobs(self) -> bool:
        """It reads texts."""
        return False

    def asks_model(self) -> bool:
        """It reads texts."""
        return False

    def prepare(self, candidates: Sequence[Candidate], question: Question) -> Ranker:
        """Ranks by the share of votes for an answer, most first."""
        answers = read_answers(self, self.answer, candidates, question)

        def ranker(places: Sequence[int]) -> list[tuple[int, float]]:
            return tally(self, places, [answers[i] for i in places], [1.0] * len(places), self.quorum)

        return ranker
