"""Beam search over steps, guided by a scorer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.core.capabilities import Need
from decodelab.core.protocols import AnyScorer, Question, Rounds
from decodelab.core.stage import Kind, Stage, check_number
from decodelab.core.values import Limits
from decodelab.search._steps import (
    Every,
    JoinedBy,
    Steps,
    StepScorer,
    check_join,
    check_steps,
    different,
    ranked,
    results,
    scored,
)


@dataclass(frozen=True)
class StepBeam(Stage):
    """Draw each next step several times, score the texts, and go on from the best: a beam over steps, not tokens.

    The first step is drawn `width * expand` times; each later one `expand` times after each of the answers kept. Of all
    answers there are then, finished ones included, the `width` with the highest value stay; equal texts count once. The
    search ends when all that stay are finished. A value is the scores of an answer's steps joined: `prod` and `min`
    suit process reward models, which rate a step with a probability, `last` scorers that rate the text so far.

    Steps are drawn from the processed distribution, as `sample` draws them: the first draws are its first samples, cut
    at the end of the step. It maximises over what it draws and follows no distribution of its own.

    Differs from search-and-learn in that finished answers keep their place among the `width`, where there they are put
    aside and the number of answers drawn stays the same until no iteration is left; in that answers always fork evenly;
    and in that the limit of tokens is that of the whole answer.

    Raises:
        InvalidParameter: if a parameter is out of its range, or there is no such scorer.

    >>> str(StepBeam(width=4, expand=4, scorer="path_cost"))
    'step_beam(width=4, expand=4, scorer=path_cost)'
    """

    width: Annotated[int, "answers kept after each step, at least 1"]
    expand: Annotated[int, "next steps drawn after each answer, at least 1"]
    scorer: StepScorer
    every: Every = "line"
    join: JoinedBy = "last"
    n: Annotated[int, "answers returned, at most width"] = 1

    name: ClassVar[str] = "step_beam"
    kind: ClassVar[Kind] = "search"
    needs: ClassVar[Need] = "text"
    searches_in_rounds: ClassVar[bool] = True
    if_empty: ClassVar[str] = "loosen the constraint"
    source: ClassVar[str] = (
        "Snell et al. 2024, Scaling LLM test-time compute optimally, section 5.2; Beeching et al. 2024, Scaling "
        "test-time compute with open models"
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "width", low=1, integer=True, fix="4 keeps four answers")
        check_number(self, "expand", low=1, integer=True, fix="4 draws four next steps after each answer")
        check_steps(self)
        check_join(self)
        check_number(self, "n", low=1, high=self.width, integer=True, fix="keep at least as many answers as you want")

    def no_effect(self) -> str | None:
        """One answer drawn once is a sample."""
        return "draws one answer, as sample does" if self.width == self.expand == 1 else None

    def asks_scorer(self) -> AnyScorer:
        """The scorer that rates the texts so far."""
        return self.scorer

    @property
    def peak_rows(self) -> int:
        """The next steps drawn at once."""
        return self.width * self.expand

    def rounds(self, question: Question, limits: Limits) -> Rounds:
        """Draw, score, keep the best, until all of these are finished."""
        kept, first = [Steps()], 0
        while going := [answer for answer in kept if not answer.finished]:
            each = self.expand if first else self.width * self.expand
            drawn = yield [answer.draw(each, first + i * each, self.every) for i, answer in enumerate(going)]
            first += each * len(going)
            new = [answer for found in scored(going, drawn, self.scorer, question) for answer in found]
            kept = ranked(different([*(answer for answer in kept if answer.finished), *new]), self.join)[: self.width]
        return results(kept, self.join)[: self.n]
