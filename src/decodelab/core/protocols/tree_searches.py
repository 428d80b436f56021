"""Tree searches, which expand nodes at any depth: their information and their decisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from decodelab.core.key import Keys
from decodelab.core.protocols.scorers import AnyScorer
from decodelab.core.protocols.searches import Ranked
from decodelab.core.values import Certificate, Partial

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Tree:
    """The information a tree search has about its job, besides logits.

    Nodes are numbered: 0 is the prompt, the others follow in the order in which they were asked for.

    Attributes:
        max_new_tokens: tokens a continuation may have.
        keys: the randomness of the job, one row.
        ends: for candidate children (nodes, tokens), int64 [n] each, the reason each would end with that token,
            int64 [n], as a code of `decodelab.core.reasons`; 0 means it goes on.
        judge: what a scorer gives candidate children (scorer, nodes, tokens): float64 [n], finite.
        partials: the texts of candidate children (nodes, tokens), for searches that look at them.
    """

    max_new_tokens: int
    keys: Keys
    ends: Callable[[Tensor, Tensor], Tensor]
    judge: Callable[[AnyScorer, Tensor, Tensor], Tensor]
    partials: Callable[[Tensor, Tensor], Sequence[Partial]]


@dataclass(frozen=True)
class Growth:
    """A tree search's decision: which children to evaluate next, which hypotheses end, which nodes are done with.

    Without children to evaluate the job is finished. The i-th hypothesis that a search ever ended (in the order
    reported) is its hypothesis i.

    Attributes:
        parents: int64 [n], nodes whose logits were seen.
        tokens: int64 [n], the token that leads from each to the child whose logits are wanted.
        ended_parents: int64 [m], nodes of which a child ends.
        ended_tokens: int64 [m], the tokens they end with.
        ended_reasons: int64 [m], as `Tree.ends` gave them.
        closed: int64 [k], nodes that are nobody's parent any more.
    """

    parents: Tensor
    tokens: Tensor
    ended_parents: Tensor
    ended_tokens: Tensor
    ended_reasons: Tensor
    closed: Tensor


@runtime_checkable
class TreeSearch(Protocol):
    """Which node to go on from with which token; never sees the model or its cache. One state a job."""

    @property
    def n(self) -> int:
        """The most candidates it returns."""
        ...

    @property
    def peak_rows(self) -> int:
        """The most nodes evaluated in one pass."""
        ...

    def init(self, max_new_tokens: int) -> Any:
        """State of a new job."""
        ...

    def grow(self, logits: Tensor, state: Any, tree: Tree) -> tuple[Growth, Any]:
        """Go on, given the processed logits of what was asked for last (first the prompt), float32 [nodes, vocab]."""
        ...

    def finished(self, state: Any) -> list[Ranked]:
        """The hypotheses found, best first; none if none has ended yet."""
        ...

    def certificate(self, state: Any) -> Certificate | None:
        """What is known of the hypotheses that were not found; None of a search that knows nothing."""
        ...
