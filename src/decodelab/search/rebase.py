"""Reward-balanced search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from decodelab.core.capabilities import Need
from decodelab.core.protocols import AnyScorer, Question, Rounds
from decodelab.core.stage import Kind, Stage, check_number
from decodelab.core.values import Limits
from decodelab.search._steps import Every, JoinedBy, Steps, StepScorer, check_join, check_steps, results, scored


def shares(values: Sequence[float], temperature: float, budget: int) -> list[int]:
    """Divide a budget among answers in proportion to e^(value / temperature), in whole numbers that sum to it.

    Each gets its share rounded down; what is left goes to those with the largest remainders, of equal ones to the
    first. That is the nearest whole number wherever these sum to the budget.

    >>> shares([0.9, 0.6, 0.1], temperature=0.2, budget=16)
    [13, 3, 0]
    """
    weights = (torch.tensor(values, dtype=torch.float64) / temperature).softmax(0)
    exact = [budget * weight for weight in weights.tolist()]
    whole = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: whole[i] - exact[i])
    for i in by_remainder[: budget - sum(whole)]:
        whole[i] += 1
    return whole


@dataclass(frozen=True)
class Rebase(Stage):
    """Spend a budget of answers where the scores are high: good beginnings are continued more often than poor ones.

    The first step is drawn `budget` times. After each step, the budget that no finished answer has used up is divided
    among the unfinished ones in proportion to e^(value / temperature); those that get nothing are dropped. So no answer
    is lost to a fixed width, and the budget bounds what is drawn at each step. All finished answers are returned, at
    most `budget`, best value first; vote among them, or take the first.

    Steps are drawn from the processed distribution, as `sample` draws them; at a temperature towards infinity it draws
    almost as `sample(n=budget)` does. It follows no distribution of its own.

    The paper rounds each share to the nearest whole number; these need not sum to the budget, so here the remainders
    are handed out to the largest (equal where the rounded shares do sum to it). Its code rounds up, best answers first.

    Raises:
        InvalidParameter: if a parameter is out of its range, or there is no such scorer.

    >>> str(Rebase(budget=16, scorer="path_cost"))
    'rebase(budget=16, scorer=path_cost)'
    """

    budget: Annotated[int, "answers to finish, and steps drawn at once, at least 1"]
    scorer: StepScorer
    temperature: Annotated[float, "of the division, in units of the value, greater than 0; low favours the best"] = 0.2
    every: Every = "line"
    join: JoinedBy = "last"

    name: ClassVar[str] = "rebase"
    kind: ClassVar[Kind] = "search"
    needs: ClassVar[Need] = "text"
    searches_in_rounds: ClassVar[bool] = True
    if_empty: ClassVar[str] = "loosen the constraint"
    source: ClassVar[str] = "Wu et al. 2024, Inference scaling laws, section 3.2 (reward balanced search)"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "budget", low=1, integer=True, fix="16 finishes sixteen answers")
        check_number(self, "temperature", low=0, low_open=True, fix="0.2 suits scores between 0 and 1")
        check_steps(self)
        check_join(self)

    def no_effect(self) -> str | None:
        """One answer is not compared with any other."""
        return "draws one answer, as sample does" if self.budget == 1 else None

    def asks_scorer(self) -> AnyScorer:
        """The scorer that rates the texts so far."""
        return self.scorer

    @property
    def n(self) -> int:
        """The most candidates it returns."""
        return self.budget

    @property
    def peak_rows(self) -> int:
        """The steps drawn at once."""
        return self.budget

    def rounds(self, question: Question, limits: Limits) -> Rounds:
        """Draw, score, and divide what is left of the budget."""
        going, done, first = [Steps()], list[Steps](), 0
        while going and len(done) < self.budget:
            left = self.budget - len(done)
            counts = shares([answer.value(self.join) for answer in going], self.temperature, left)
            chosen = [(answer, count) for answer, count in zip(going, counts, strict=True) if count]
            draws = []
            for answer, count in chosen:
                draws.append(answer.draw(count, first, self.every))
                first += count
            drawn = yield draws
            new = [one for found in scored([a for a, _ in chosen], drawn, self.scorer, question) for one in found]
            done += [answer for answer in new if answer.finished]
            going = [answer for answer in new if not answer.finished]
        return results(done, self.join)
