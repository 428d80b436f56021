"""Branch and bound over continuations: the mathematics that exact search, k-best search and A* share.

A log-probability can only fall as a sequence grows. With score(y) = log p(y) / |y|^a, every hypothesis that begins
with a prefix of log-probability s scores at most

    bound(s) = s / h^a,    h = the greatest length there may be for a > 0, else the prefix's own,

so a prefix whose bound is no better than the worst of the n best hypotheses found so far need not be looked at again
(Stahlberg & Byrne 2019, section 3, for n = 1 and a = 0; Land & Doig 1960). What is left when the budget is spent bounds
what could still be found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch

from decodelab.core.capabilities import RunnerName
from decodelab.core.protocols import Growth, Ranked, Tree
from decodelab.core.reasons import LENGTH
from decodelab.core.stage import Kind, Stage
from decodelab.core.values import Certificate
from decodelab.search._children import Children, children_of, growth
from decodelab.search._frontier import Frontier, items, pop, push
from decodelab.search._ranking import bound, normalised

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class BoundedState:
    """The queue of children, the best hypotheses, and what was given up.

    Attributes:
        limit: tokens a continuation may have.
        asked: log-probability and length of each node whose logits come next.
        nodes: how many nodes there are before those.
        frontier: children not yet asked for, a queue of what is left of each node's.
        pool: score and number of the best hypotheses, best first, at most n.
        ended: how many hypotheses have ended so far.
        given_up: the best bound of what no queue holds any more.
    """

    limit: int
    asked: tuple[tuple[float, int], ...] = ((0.0, 0),)
    nodes: int = 0
    frontier: Frontier[Children] | None = None
    pool: tuple[tuple[float, int], ...] = ()
    ended: int = 0
    given_up: float = -math.inf


class BoundedSearch(Stage):
    """A tree search that is branch and bound from start to end; its subclasses are frozen dataclasses.

    Attributes:
        n: how many hypotheses to find.
        budget: nodes that may be evaluated besides the prompt.
        rows: nodes evaluated in one pass.
        cut: whether hypotheses cut by the limit count.
        length_penalty: a, the exponent of the length that divides the score.
    """

    kind: ClassVar[Kind] = "search"
    uses_randomness: ClassVar[bool] = False
    runner: ClassVar[RunnerName] = "tree"
    start_rows: ClassVar[int] = 1

    n: int
    budget: int
    rows: int
    cut: bool
    length_penalty: float = 0.0

    @property
    def peak_rows(self) -> int:
        """The prefixes of one pass."""
        return self.rows

    def prefix_budget(self, max_new_tokens: int) -> int:
        """Its budget."""
        return self.budget

    def init(self, max_new_tokens: int) -> BoundedState:
        """Nothing seen yet."""
        return BoundedState(max_new_tokens)

    def order(self, bound: float, score: float, length: int) -> tuple[float, ...]:
        """The place in the queue of a child of this bound, log-probability and length; the smallest comes first.

        Depth first: the longest prefixes first, of those the most probable.
        """
        return (-length, -score)

    def grow(self, logits: Tensor, state: BoundedState, tree: Tree) -> tuple[Growth, BoundedState]:
        """Take in the children of the nodes asked for last, and ask for the next."""
        numbers = list(range(state.nodes, state.nodes + len(state.asked)))
        scores, lengths = map(list, zip(*state.asked, strict=True))
        spent = numbers[-1]
        # Children that neither the budget nor the pool has room for; what ends at the limit costs no budget.
        most = self.budget - spent + self.n + 1
        frontier, closed = state.frontier, list[int]()
        pool, given_up = state.pool, state.given_up
        ended: list[tuple[int, int, int]] = []
        for row, family in enumerate(children_of(logits, numbers, scores, lengths, most)):
            worst, listed = self._worst(pool), most
            family, reasons = self._better(family, worst, state.limit, tree)
            # Of what ends, the pool has room for n; the budget must not be left unspent because more than that end.
            while self._lacks(family, reasons, self.budget - spent, worst, state.limit):
                listed *= 2
                at = slice(row, row + 1)
                (family,) = children_of(logits[at], numbers[at], scores[at], lengths[at], listed)
                family, reasons = self._better(family, worst, state.limit, tree)
            given_up = max(given_up, self._bound(family.rest, family.length, state.limit))
            pool = self._entered(pool, family, reasons, state.ended, ended)
            family = family.chosen(reasons == 0)
            if len(family.tokens):
                frontier = push(frontier, self._key(family, state.limit), family)
            else:
                closed.append(family.node)
        asked, frontier = self._next(frontier, self._worst(pool), spent, state.limit, closed)
        after = replace(
            state,
            asked=tuple((family.score, family.length) for family in asked),
            nodes=numbers[-1] + 1,
            frontier=frontier,
            pool=pool,
            ended=state.ended + len(ended),
            given_up=given_up,
        )
        return growth([(family.node, family.token) for family in asked], ended, closed), after

    def _better(self, family: Children, worst: float, limit: int, tree: Tree) -> tuple[Children, Tensor]:
        """The children that may come to score better than this, and why each would end."""
        family = family.chosen(bound(family.scores, family.length, limit, self.length_penalty) > worst)
        return family, tree.ends(torch.full_like(family.tokens, family.node), family.tokens)

    def _lacks(self, family: Children, reasons: Tensor, room: int, worst: float, limit: int) -> bool:
        """Whether children that are not listed could be asked for."""
        if family.length >= limit or self._bound(family.rest, family.length, limit) <= worst:
            return False
        return int((reasons == 0).sum()) < room

    def _entered(
        self,
        pool: tuple[tuple[float, int], ...],
        family: Children,
        reasons: Tensor,
        first: int,
        ended: list[tuple[int, int, int]],
    ) -> tuple[tuple[float, int], ...]:
        """The pool with the children of a family that end; what enters is added to `ended`."""
        over = (reasons != 0) if self.cut else (reasons != 0) & (reasons != LENGTH)
        best = over.nonzero()[: self.n, 0].tolist()  # of one length, so the most probable score best
        for i in best:
            score = normalised(float(family.scores[i]), family.length, self.length_penalty)
            if score > self._worst(pool):
                entry = (score, first + len(ended))
                pool = tuple(sorted((*pool, entry), key=lambda found: (-found[0], found[1]))[: self.n])
                ended.append((family.node, int(family.tokens[i]), int(reasons[i])))
        return pool

    def _next(
        self, frontier: Frontier[Children] | None, worst: float, spent: int, limit: int, closed: list[int]
    ) -> tuple[list[Children], Frontier[Children] | None]:
        """The children to ask for, and the queue without them; nodes that are done with are added to `closed`."""
        asked: list[Children] = []
        while frontier is not None and len(asked) < min(self.rows, self.budget - spent):
            family, frontier = pop(frontier)
            if self._bound(family.score, family.length, limit) > worst:
                asked.append(family)
                left = family.following()
                if left is not None:
                    frontier = push(frontier, self._key(left, limit), left)
                    continue
            closed.append(family.node)
        return asked, frontier

    def _worst(self, pool: tuple[tuple[float, int], ...]) -> float:
        """The score that a hypothesis must exceed to be among the n best."""
        return pool[-1][0] if len(pool) == self.n else -torch.inf

    def _bound(self, score: float, length: int, limit: int) -> float:
        """No hypothesis that begins with a child of this log-probability and length scores better."""
        return bound(score, length, limit, self.length_penalty)

    def _key(self, family: Children, limit: int) -> tuple[float, ...]:
        """The place of a family's next child in the queue; equal ones in the order in which they were found."""
        bound = self._bound(family.score, family.length, limit)
        return (*self.order(bound, family.score, family.length), family.node, family.at)

    def finished(self, state: BoundedState) -> list[Ranked]:
        """The hypotheses found, best first."""
        return [Ranked(hypothesis, score, rank) for rank, (score, hypothesis) in enumerate(state.pool)]

    def certificate(self, state: BoundedState) -> Certificate:
        """Whether anything better may be left."""
        left = [self._bound(f.score, f.length, state.limit) for f in items(state.frontier)]
        left += [self._bound(score, max(length, 1), state.limit) for score, length in state.asked]
        best, worst = max(left, default=-torch.inf), self._worst(state.pool)
        best = max(best, state.given_up)
        return Certificate(best <= worst, max(best, worst), max(0, state.nodes - 1))
