"""Best-first beam search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.capabilities import RunnerName
from decodelab.core.protocols import Growth, Ranked, Tree
from decodelab.core.stage import Kind, Stage, check_number
from decodelab.search._children import Children, children_of, growth
from decodelab.search._frontier import Frontier, pop, push

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class BestFirstState:
    """The queue of prefixes and the places left in the beam.

    Attributes:
        asked: log-probability and length of the node whose logits come next.
        nodes: how many nodes there are before it.
        frontier: children not yet taken, a queue of what is left of each node's, with the reasons each would end.
        places: of each length from 0 on, how many of the beam's places are free.
        results: score and number of the hypotheses that stayed in the beam to the end, best first.
    """

    asked: tuple[float, int]
    nodes: int
    frontier: Frontier[tuple[Children, Tensor]] | None
    places: tuple[int, ...]
    results: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True)
class BestFirst(Stage):
    """Return what beam search returns, evaluating only the necessary prefixes, most probable first.

    At each length, only the `width` most probable prefixes are taken from the queue, as a beam keeps them. A finished
    sequence keeps its place at all greater lengths, as in the paper's beam search (algorithm 1), and is a result if it
    still has its place at `max_new_tokens`. Scores are plain log-probabilities under the processed distribution, which
    only decrease, so the first result is the one that beam search would rank first, after at most as many evaluations
    and usually far fewer.

    `beam` in decodelab works as in transformers: finished sequences leave the beam for a pool, and scores are divided
    by length. The two need not agree.

    Raises:
        InvalidParameter: if a parameter is out of its range, or n is greater than width.

    >>> import decodelab as dl
    >>> model = dl.TableModel(["a", "b"], {...: {"a": 0.5, "b": 0.1, "</s>": 0.4}}, bos="<s>")
    >>> (g,) = dl.generate(model, "", "best_first(width=2)", max_new_tokens=20)
    >>> g.best.text, g.cost.decode_tokens
    ('', 1)
    """

    width: Annotated[int, "most prefixes expanded at each length, at least 1"]
    n: Annotated[int, "sequences returned, at most width"] = 1

    name: ClassVar[str] = "best_first"
    kind: ClassVar[Kind] = "search"
    uses_randomness: ClassVar[bool] = False
    runner: ClassVar[RunnerName] = "tree"
    source: ClassVar[str] = "Meister, Vieira & Cotterell 2020, Best-First Beam Search, algorithm 2"
    start_rows: ClassVar[int] = 1
    peak_rows: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "width", low=1, integer=True, fix="use width=1 for a single beam")
        check_number(self, "n", low=1, high=self.width, integer=True, fix="widen the beam to return more")

    def prefix_budget(self, max_new_tokens: int) -> int:
        """At most `width` prefixes of each length."""
        return self.width * (max_new_tokens - 1)

    def init(self, max_new_tokens: int) -> BestFirstState:
        """All places free."""
        return BestFirstState((0.0, 0), 0, None, (self.width,) * (max_new_tokens + 1))

    def grow(self, logits: Tensor, state: BestFirstState, tree: Tree) -> tuple[Growth, BestFirstState]:
        """Take prefixes from the queue until one goes on."""
        score, length = state.asked
        frontier, places = state.frontier, list(state.places)
        (family,) = children_of(logits, [state.nodes], [score], [length], self.width)
        if len(family.tokens):
            reasons = tree.ends(torch.full_like(family.tokens, family.node), family.tokens)
            frontier = push(frontier, self._key(family), (family, reasons))
        closed = [] if len(family.tokens) else [family.node]
        results, ended = state.results, list[tuple[int, int, int]]()
        asked: Children | None = None
        while frontier is not None and asked is None and len(results) < self.n:
            (family, reasons), frontier = pop(frontier)
            left = family.following() if places[family.length] > 1 else None
            if left is None:
                closed.append(family.node)
            else:
                frontier = push(frontier, self._key(left), (left, reasons))
            reason = int(reasons[family.at])
            if not places[family.length]:
                continue
            places[family.length] -= 1
            if reason == 0:
                asked = family
            elif self._stays(family.length, places):
                results = (*results, (family.score, len(results)))
                ended.append((family.node, family.token, reason))
        after = replace(state, nodes=state.nodes + 1, frontier=frontier, places=tuple(places), results=results)
        if asked is None:
            return growth([], ended, closed), after
        return growth([(asked.node, asked.token)], ended, closed), replace(after, asked=(asked.score, asked.length))

    def _stays(self, length: int, places: list[int]) -> bool:
        """Take a place at all greater lengths, as far as there are any; whether it lasts to the end."""
        for later in range(length + 1, len(places)):
            if not places[later]:
                return False
            places[later] -= 1
        return True

    def _key(self, family: Children) -> tuple[float, ...]:
        """The most probable first, of equal ones the longest."""
        return (-family.score, -family.length, family.node, family.at)

    def finished(self, state: BestFirstState) -> list[Ranked]:
        """The results, best first."""
        return [Ranked(hypothesis, score, rank) for rank, (score, hypothesis) in enumerate(state.results)]

    def certificate(self, state: BestFirstState) -> None:
        """None: a beam knows nothing of what it let go."""
