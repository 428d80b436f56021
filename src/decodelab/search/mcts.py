"""Monte Carlo tree search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch

from decodelab.core.capabilities import RunnerName
from decodelab.core.key import Keys
from decodelab.core.protocols import AnyScorer, Growth, Ranked, Tree
from decodelab.core.stage import Kind, Stage, check_choice, check_number
from decodelab.scorers.catalogue import check_scorer
from decodelab.search._children import Children, children_of, growth
from decodelab.search._ranking import normalised

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Leaf:
    """A child that ends: what it is worth, and how often it was visited."""

    value: float
    visits: int = 0

    @property
    def total(self) -> float:
        """The sum of what its visits gave."""
        return self.value * self.visits


CLOSED_OFF = Leaf(-math.inf)
"""In the place of a node from which no sequence can be finished."""


@dataclass(frozen=True)
class Branch:
    """A node whose distribution is known.

    Attributes:
        family: its children, most probable first.
        priors: float64 [n], the probability of each.
        reasons: int64 [n], why each would end; 0 where it goes on.
        visits: simulations that went through it.
        total: the sum of what they gave.
        children: those that were gone to, by their place in the family.
    """

    family: Children
    priors: Tensor
    reasons: Tensor
    visits: int
    total: float
    children: Mapping[int, Branch | Leaf]


@dataclass(frozen=True)
class SearchState:
    """Where the search stands; every simulation goes from the root down a path and back.

    Attributes:
        limit: tokens a continuation may have.
        nodes: how many nodes there are before the one whose logits come next.
        asked: log-probability and length of that one.
        root: the node the next token is chosen after; None before the prompt's logits have come.
        path: the places of the children on the way down from the root.
        credited: how many of these belong to the tree; what follows is rollout. None on the way through the tree.
        simulations: how many were finished for the next token.
        number: how many were finished at all.
        worst: the least that any hypothesis is worth.
        best: the most.
        found: value and number of each hypothesis that ended.
        done: whether the sequence chosen has come to its end.
    """

    limit: int
    nodes: int = 0
    asked: tuple[float, int] = (0.0, 0)
    root: Branch | None = None
    path: tuple[int, ...] = ()
    credited: int | None = None
    simulations: int = 0
    number: int = 0
    worst: float = math.inf
    best: float = -math.inf
    found: tuple[tuple[float, int], ...] = ()
    done: bool = False


@dataclass(frozen=True)
class MCTS(Stage):
    """Choose every token by Monte Carlo tree search with the PUCT rule, simulating continuations to the end.

    A simulation walks down from the current prefix to the child with the largest

        Q + c_puct * p * sqrt(visits of the parent) / (1 + visits of the child),

    where Q is the mean value of the simulations through the child and p its probability under the processed
    distribution, until it reaches an unvisited child. From there the rest is rolled out, greedily or by sampling, and
    the value of the finished sequence is added to all nodes on the path. After all simulations, the most visited child
    becomes the next token, and the tree below it is kept. The value of a sequence is its log-probability under the
    processed distribution over length^length_penalty, or a scorer's value of its text. The n sequences of highest value
    that any simulation reached are returned, with their values as scores; the sequence chosen token by token is one of
    them.

    Values are scaled to [0, 1] by the smallest and largest seen, as in MuZero, so that c_puct means the same for every
    scorer; an unvisited child has Q = 0. Differs from PPL-MCTS in this scaling (a classifier's probability needs none),
    in that rollouts are on by default, and in that the best sequence seen is returned instead of the last one chosen.
    Rollouts are stored, so expanding one costs nothing. A simulation costs at most one forward token per token up to
    the limit, so a sequence costs at most simulations * max_new_tokens^2 / 2.

    Raises:
        InvalidParameter: if a parameter is out of its range, or there is no such scorer.

    >>> import decodelab as dl
    >>> rows = {(): {"a": 0.6, "b": 0.4}, ("a",): {"c": 0.5, "d": 0.5}, ("b",): {"c": 1.0}}
    >>> model = dl.TableModel(["a", "b", "c", "d"], rows, bos="<s>", missing="eos")
    >>> (g,) = dl.generate(model, "", "mcts(simulations=4)", max_new_tokens=2)
    >>> g.best.text, round(g.best.score, 3)
    ('b c', -0.458)
    """

    simulations: Annotated[int, "simulations to the end for each chosen token"]
    c_puct: Annotated[float, "weight of exploration; 0 only follows the values"] = 1.0
    scorer: Annotated[AnyScorer | None, "value of a finished sequence; none means its log-probability"] = None
    rollout: Annotated[Literal["greedy", "sample"], "how a simulation continues to its end: greedy or sample"] = (
        "greedy"
    )
    length_penalty: Annotated[float, "exponent of the length that divides the log-probability (without scorer)"] = 1.0
    n: Annotated[int, "sequences returned"] = 1

    name: ClassVar[str] = "mcts"
    kind: ClassVar[Kind] = "search"
    runner: ClassVar[RunnerName] = "tree"
    source: ClassVar[str] = "Chaffin, Claveau & Kijak 2022, PPL-MCTS; PUCT as in Silver et al. 2017"
    start_rows: ClassVar[int] = 1
    peak_rows: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "simulations", low=1, integer=True, fix="use 50, as the paper does")
        check_number(self, "c_puct", low=0, fix="use 1.0; larger values explore more")
        if self.scorer is not None:
            check_scorer(self, "scorer")
        check_choice(self, "rollout", ("greedy", "sample"), fix="greedy repeats the same continuation")
        check_number(self, "length_penalty", fix="use 0 for plain log-probability, 1.0 for the mean")
        check_number(self, "n", low=1, integer=True, fix="use n=5 for the five best")

    def deterministic(self) -> bool:
        """Only sampled rollouts draw."""
        return self.rollout == "greedy"

    def asks_scorer(self) -> AnyScorer | None:
        """The scorer that judges finished sequences."""
        return self.scorer

    def init(self, max_new_tokens: int) -> SearchState:
        """Nothing seen yet."""
        return SearchState(max_new_tokens)

    def grow(self, logits: Tensor, state: SearchState, tree: Tree) -> tuple[Growth, SearchState]:
        """Play on until a distribution is needed that is not known, or the sequence is complete."""
        # The best child that was not visited is the most probable of them, so no more are needed; a draw needs all.
        most = logits.shape[-1] if self.rollout == "sample" else self.simulations + 1
        score, length = state.asked
        (family,) = children_of(logits, [state.nodes], [score], [length], most)
        reasons = tree.ends(torch.full_like(family.tokens, family.node), family.tokens)
        branch = Branch(family, (family.scores - score).exp(), reasons, 0, 0.0, {})
        root = branch if state.root is None else placed(state.root, state.path, branch)
        state = replace(state, root=root, nodes=state.nodes + 1)
        ended: list[tuple[int, int, int]] = []
        closed: list[int] = []
        asked: list[tuple[int, int]] = []
        while not state.done and not asked:
            state = self._played(state, tree, ended, closed, asked)
        return growth(asked, ended, closed), state

    def _played(
        self,
        state: SearchState,
        tree: Tree,
        ended: list[tuple[int, int, int]],
        closed: list[int],
        asked: list[tuple[int, int]],
    ) -> SearchState:
        """One step down from where the search stands; at an end, all the way back."""
        root = state.root
        assert root is not None
        here = trail(root, state.path)[-1]
        family = here.family
        alive = [place for place in range(len(family.tokens)) if here.children.get(place) != CLOSED_OFF]
        if not alive:
            return self._buried(state)
        if state.credited is None:
            place = self._most_urgent(here, alive, state)
        elif self.rollout == "greedy":
            place = alive[0]
        else:
            place = alive[self._drawn(here.priors[alive], family.length - 1, state.number, tree.keys)]
        path = (*state.path, place)
        child = here.children.get(place)
        credited = state.credited
        if credited is None and (child is None or not child.visits):
            credited = len(path)
        state = replace(state, path=path, credited=credited)
        if isinstance(child, Branch):
            return state
        token = int(family.tokens[place])
        if child is None and not here.reasons[place]:
            asked.append((family.node, token))
            return replace(state, asked=(float(family.scores[place]), family.length))
        if child is None:
            value = self._value(family, place, tree)
            child = Leaf(value)
            ended.append((family.node, token, int(here.reasons[place])))
            state = replace(
                state,
                root=placed(root, path, child),
                found=(*state.found, (value, len(state.found))),
                worst=min(state.worst, value),
                best=max(state.best, value),
            )
        return self._credited(state, child.value, closed)

    def _buried(self, state: SearchState) -> SearchState:
        """Back at the root from a node that nothing can follow, which is never gone to again."""
        if not state.path:
            return replace(state, done=True)
        assert state.root is not None
        return replace(state, root=placed(state.root, state.path, CLOSED_OFF), path=(), credited=None)

    def _most_urgent(self, here: Branch, alive: list[int], state: SearchState) -> int:
        """The place of the child that PUCT goes to, of equal ones the most probable."""
        first = next((place for place in alive if place not in here.children), alive[0])
        spread = state.best - state.worst
        width = self.c_puct * math.sqrt(max(here.visits, 1))

        def urgency(place: int) -> float:
            child = here.children.get(place)
            visits, total = (child.visits, child.total) if child is not None else (0, 0.0)
            quality = (total / visits - state.worst) / spread if visits and spread > 0 else 0.0
            return quality + width * float(here.priors[place]) / (1 + visits)

        return max((place for place in alive if place == first or place in here.children), key=urgency)

    def _drawn(self, priors: Tensor, position: int, number: int, keys: Keys) -> int:
        """The place of a child drawn from these probabilities, by the number of the simulation and the position."""
        uniform = Keys(keys.words[:1], torch.tensor([number])).uniform(torch.tensor([position]))
        cumulative = priors.cumsum(0)
        place = int(torch.searchsorted(cumulative, uniform * cumulative[-1], right=True))
        return min(place, len(cumulative) - 1)

    def _value(self, family: Children, place: int, tree: Tree) -> float:
        """What a sequence that ends is worth."""
        if self.scorer is None:
            return normalised(float(family.scores[place]), family.length, self.length_penalty)
        node, token = torch.tensor([family.node]), family.tokens[place : place + 1]
        return float(tree.judge(self.scorer, node, token)[0])

    def _credited(self, state: SearchState, value: float, closed: list[int]) -> SearchState:
        """Back at the root with a value; where all simulations are done, a token further."""
        assert state.root is not None
        path = state.path if state.credited is None else state.path[: state.credited]
        above = trail(state.root, path)
        node: Branch | Leaf
        if len(above) > len(path):
            end = above.pop()
            node = replace(end, visits=end.visits + 1, total=end.total + value)
        else:
            leaf = above[-1].children[path[-1]]
            assert isinstance(leaf, Leaf)
            node = replace(leaf, visits=leaf.visits + 1)
        for branch, place in zip(reversed(above), reversed(path), strict=True):
            children = {**branch.children, place: node}
            node = replace(branch, visits=branch.visits + 1, total=branch.total + value, children=children)
        assert isinstance(node, Branch)
        state = replace(
            state, root=node, path=(), credited=None, simulations=state.simulations + 1, number=state.number + 1
        )
        return self._chosen(node, state, closed) if state.simulations == self.simulations else state

    def _chosen(self, root: Branch, state: SearchState, closed: list[int]) -> SearchState:
        """A token further: the most visited child is the new root, the others are let go."""
        place, child = max(root.children.items(), key=lambda entry: (entry[1].visits, entry[1].total, -entry[0]))
        if isinstance(child, Leaf):
            return replace(state, done=True)
        others: list[Branch | Leaf] = [other for at, other in root.children.items() if at != place]
        closed.append(root.family.node)
        while others:
            other = others.pop()
            if isinstance(other, Branch):
                closed.append(other.family.node)
                others += other.children.values()
        return replace(state, root=child, simulations=0)

    def finished(self, state: SearchState) -> list[Ranked]:
        """The sequences of highest value."""
        best = sorted(state.found, key=lambda found: (-found[0], found[1]))[: self.n]
        return [Ranked(hypothesis, value, rank) for rank, (value, hypothesis) in enumerate(best)]

    def certificate(self, state: SearchState) -> None:
        """None: simulations prove nothing."""


def trail(root: Branch, path: tuple[int, ...]) -> list[Branch]:
    """The branches on a path from the root; a leaf at its end is left out."""
    found = [root]
    for place in path:
        child = found[-1].children.get(place)
        if not isinstance(child, Branch):
            break
        found.append(child)
    return found


def placed(root: Branch, path: tuple[int, ...], node: Branch | Leaf) -> Branch:
    """The tree with a node put at the end of a path."""
    above = trail(root, path[:-1])
    for branch, place in zip(reversed(above), reversed(path), strict=True):
        node = replace(branch, children={**branch.children, place: node})
    assert isinstance(node, Branch)
    return node
