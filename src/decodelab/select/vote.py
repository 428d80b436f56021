"""Self-consistency: the majority answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.core.capabilities import Need
from decodelab.core.stage import Kind, Stage
from decodelab.core.values import Candidate
from decodelab.select.readers import READERS, Reader


@dataclass(frozen=True)
class Vote(Stage):
    """Rank the candidates by how many give the same answer (self-consistency).

    The answer of a text is what a reader makes of it (`decodelab.select.readers`): the integer it settles on, its last
    line that is not empty, the whole text stripped, or what a third party's reader or a Python function gives.
    Candidates without an answer have no vote and come last. Ties go to the answer seen first. Thoughts are no answer,
    also where the prompt opened one and the token limit cut it.

    Raises:
        InvalidParameter: if `answer` is none of these.

    >>> str(Vote(answer="line"))
    'vote(answer=line)'
    """

    answer: Annotated[str | Reader, "what counts as the answer: integer, line, text, or a function of a text"] = (
        "integer"
    )

    name: ClassVar[str] = "vote"
    kind: ClassVar[Kind] = "selection"
    needs: ClassVar[Need] = "text"
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = "Wang et al. 2023, Self-consistency, section 2"

    def __post_init__(self) -> None:
        """Check the parameters."""
        READERS.check_parameter(
            self,
            "answer",
            accepts=callable,
            accepted="a function of a text",
            fix="integer takes the number that the text settles on",
        )

    def answer_of(self, text: str) -> str | None:
        """The answer a text gives, or None.

        >>> Vote().answer_of("7 + 1,005 is 1,012.")
        '1012'
        """
        return self._reader()(text)

    def _reader(self) -> Reader:
        return READERS.load(self.answer) if isinstance(self.answer, str) else self.answer

    def rank(self, candidates: Sequence[Candidate]) -> list[tuple[Candidate, float]]:
        """The candidates with the share of votes for their answer, most first."""
        read = self._reader()  # found once: a third party's means reading every package's metadata
        answers = [read(c.text) for c in candidates]
        votes = Counter(a for a in answers if a is not None)
        seen = {a: i for i, a in reversed(list(enumerate(answers)))}
        scored = [
            (c, votes[a] / len(candidates) if a is not None else 0.0, seen[a])
            for c, a in zip(candidates, answers, strict=True)
        ]
        return [(c, share) for c, share, _ in sorted(scored, key=lambda t: (-t[1], t[2], t[0].sample))]
