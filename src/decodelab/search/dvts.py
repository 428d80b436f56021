"""Diverse verifier tree search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.core.capabilities import Need
from decodelab.core.protocols import AnyScorer, Question, Rounds
from decodelab.core.stage import Kind, Stage, check_number
from decodelab.core.values import Limits
from decodelab.search._steps import Every, JoinedBy, Steps, StepScorer, check_join, check_steps, ranked, results, scored


@dataclass(frozen=True)
class DVTS(Stage):
    """Search several trees on their own, each going on from its best step: more different answers than one beam keeps.

    Each tree draws its next step `expand` times, scores the texts, and goes on from the one with the highest value; it
    ends with the first finished answer that is better than all its others. Nothing is compared between trees, so one
    good beginning cannot crowd out the others, and the answers suit a vote. All are returned, one a tree, best first.

    A tree is `step_beam(width=1)`; with one tree both draw the same. Steps are drawn as `sample` draws them.

    Differs from search-and-learn in that a finished answer competes with what its tree draws later, and in that a tree
    returns its best answer, not one for each of its last draws; there the text `boxed{` also ends a tree.

    Raises:
        InvalidParameter: if a parameter is out of its range, or there is no such scorer.

    >>> str(DVTS(trees=4, expand=4, scorer="path_cost", join="min"))
    'dvts(trees=4, expand=4, scorer=path_cost, join=min)'
    """

    trees: Annotated[int, "trees searched, at least 1; each gives an answer"]
    expand: Annotated[int, "next steps drawn in each tree, at least 1"]
    scorer: StepScorer
    every: Every = "line"
    join: JoinedBy = "last"

    name: ClassVar[str] = "dvts"
    kind: ClassVar[Kind] = "search"
    needs: ClassVar[Need] = "text"
    searches_in_rounds: ClassVar[bool] = True
    if_empty: ClassVar[str] = "loosen the constraint"
    source: ClassVar[str] = (
        "Beeching et al. 2024, Scaling test-time compute with open models (diverse verifier tree search)"
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "trees", low=1, integer=True, fix="4 searches four trees")
        check_number(self, "expand", low=1, integer=True, fix="4 draws four next steps in each tree")
        check_steps(self)
        check_join(self)

    def no_effect(self) -> str | None:
        """Trees that draw each step once are samples."""
        return "draws every step once, as sample(n=trees) does" if self.expand == 1 else None

    def asks_scorer(self) -> AnyScorer:
        """The scorer that rates the texts so far."""
        return self.scorer

    @property
    def n(self) -> int:
        """The most candidates it returns."""
        return self.trees

    @property
    def peak_rows(self) -> int:
        """The next steps drawn at once."""
        return self.trees * self.expand

    def rounds(self, question: Question, limits: Limits) -> Rounds:
        """Draw in all trees, and go on from the best of each."""
        done: list[Steps | None] = [None] * self.trees  # the best finished answer of each tree
        going, first = {tree: Steps() for tree in range(self.trees)}, 0
        while going:
            drawn = yield [
                at.draw(self.expand, first + i * self.expand, self.every) for i, at in enumerate(going.values())
            ]
            first += self.expand * len(going)
            found = scored(list(going.values()), drawn, self.scorer, question)
            for tree, new in zip(list(going), found, strict=True):
                earlier = done[tree]
                best = ranked([*([] if earlier is None else [earlier]), *new], self.join)
                done[tree] = next((answer for answer in best if answer.finished), None)
                if not new or best[0].finished:
                    del going[tree]
                else:
                    going[tree] = best[0]
        return results((answer for answer in done if answer is not None), self.join)
