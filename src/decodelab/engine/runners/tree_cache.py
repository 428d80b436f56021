"""`TreeCache`: which nodes of a tree are kept as rows of a cache, and how the others are computed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from decodelab.core.protocols import Cache, Forkable, LanguageModel
from decodelab.core.values import Tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class _Rows:
    """Nodes computed in one pass: a cache, and the row of each node that is still open."""

    cache: Cache
    row_of: dict[int, int]
    nbytes: int = 0


class TreeCache:
    """Computes the children of nodes of a tree of continuations, and keeps the cache of as many nodes as it may.

    The rows of a pass stay together. A child is computed from a fork of its parent's row, so that the parent can have
    more children later. Closed rows are dropped with their pass, or once half of the pass is closed. When too much is
    kept, the least recently used passes are dropped first; what is needed of them is computed again from the nearest
    node above that is kept, at worst the prompt. Of a cache that is not `Forkable`, no node is kept.

    Args:
        model: the language model.
        prompt: its tokens.
        most_rows: nodes kept at most, the prompt aside.
        most_bytes: bytes kept at most; None for no bound.
    """

    def __init__(self, model: LanguageModel, prompt: Tokens, most_rows: int, most_bytes: int | None) -> None:
        self.model = model
        self.prompt = prompt
        self.most_rows = most_rows
        self.most_bytes = most_bytes
        self.parents: list[int] = [-1]
        self.tokens: list[int] = [-1]
        self.prefilled = 0
        self.decoded = 0
        self.passes = 0
        self.peak_bytes = 0
        self.nbytes = 0
        self._passes: dict[_Rows, None] = {}  # the least recently used come first
        self._kept: dict[int, _Rows] = {}
        self._root: _Rows | None = None
        self._common = 0

    def prefill(self) -> Tensor:
        """Compute the prompt, node 0: the logits after it, [1, vocab]."""
        logits, cache = self.model.prefill([self.prompt])
        self.prefilled += len(self.prompt)
        self.passes += 1
        self.peak_bytes = cache.nbytes
        if isinstance(cache, Forkable):
            self._root = _Rows(cache, {0: 0})
            self.nbytes = cache.nbytes
            # Each cache counts the prompt's block that all share; the forks of some models copy everything instead.
            shared = cache.fork(torch.tensor([0, 0])).nbytes < 2 * cache.nbytes
            self._common = cache.nbytes if shared else 0
        return logits

    def path(self, node: int) -> list[int]:
        """The generated tokens of a node."""
        found: list[int] = []
        while node:
            found.append(self.tokens[node])
            node = self.parents[node]
        return found[::-1]

    def decode(self, parents: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Compute children, which get the next numbers: the logits after each, [children, vocab]."""
        first = len(self.parents)
        self.parents += parents
        self.tokens += tokens
        # By how many tokens below the nearest node that is kept: children, and that node.
        missing: dict[int, list[tuple[int, int]]] = {}
        for child in range(first, len(self.parents)):
            above = self.parents[child]
            while above and above not in self._kept:
                above = self.parents[above]
            missing.setdefault(len(self.path(child)) - len(self.path(above)), []).append((child, above))
        # All forks come first: keeping one pass may drop another that a later fork needs.
        parts = [
            (count, [child for child, _ in group], *self._forked([above for _, above in group]))
            for count, group in missing.items()
        ]
        logits: dict[int, Tensor] = {}
        for count, children, cache, order in parts:
            ordered = [children[i] for i in order]
            rows = torch.tensor([self.path(child)[-count:] for child in ordered])
            found, cache = self.model.decode(cache, rows)
            self.decoded += rows.numel()
            self.passes += 1
            logits |= {child: found[row, -1] for row, child in enumerate(ordered)}
            if isinstance(cache, Forkable):
                self._keep(cache, ordered)
            else:
                self.peak_bytes = max(self.peak_bytes, cache.nbytes)
        return torch.stack([logits[child] for child in range(first, len(self.parents))])

    def close(self, nodes: Sequence[int]) -> None:
        """Drop the rows of nodes that will have no more children."""
        for node in nodes:
            rows = self._kept.pop(node, None)
            if rows is None:
                continue
            del rows.row_of[node]
            if not rows.row_of:
                self._drop(rows)
            elif 2 * len(rows.row_of) <= len(rows.cache.lengths):
                left = list(rows.row_of)
                rows.cache = rows.cache.select(torch.tensor([rows.row_of[node] for node in left]))
                rows.row_of = {node: row for row, node in enumerate(left)}
                self.nbytes -= rows.nbytes
                rows.nbytes = rows.cache.nbytes - self._common
                self.nbytes += rows.nbytes

    def _forked(self, nodes: Sequence[int]) -> tuple[Cache, list[int]]:
        """Copies of the rows of kept nodes as one cache, and the place in `nodes` of each of its rows."""
        if self._root is None:
            _, cache = self.model.prefill([self.prompt] * len(nodes))
            self.prefilled += len(self.prompt) * len(nodes)
            self.passes += 1
            return cache, list(range(len(nodes)))
        places: dict[_Rows, list[int]] = {}
        for place, node in enumerate(nodes):
            places.setdefault(self._kept[node] if node else self._root, []).append(place)
        whole: Cache | None = None
        for rows, chosen in places.items():
            assert isinstance(rows.cache, Forkable)
            fork = rows.cache.fork(torch.tensor([rows.row_of[nodes[place]] for place in chosen]))
            whole = fork if whole is None else whole.join(fork)
            if rows is not self._root:
                self._passes[rows] = self._passes.pop(rows)
        assert whole is not None
        return whole, [place for chosen in places.values() for place in chosen]

    def _keep(self, cache: Cache, nodes: Sequence[int]) -> None:
        """Keep the rows of nodes just computed, and drop others where there are too many."""
        rows = _Rows(cache, {node: row for row, node in enumerate(nodes)}, cache.nbytes - self._common)
        self._passes[rows] = None
        self._kept |= dict.fromkeys(nodes, rows)
        self.nbytes += rows.nbytes
        self.peak_bytes = max(self.peak_bytes, self.nbytes)
        while self._passes and self._too_much:
            oldest = next(iter(self._passes))
            for node in oldest.row_of:
                del self._kept[node]
            self._drop(oldest)

    @property
    def _too_much(self) -> bool:
        """Whether more is kept than may be."""
        too_large = self.most_bytes is not None and self.nbytes > self.most_bytes
        return too_large or len(self._kept) > self.most_rows

    def _drop(self, rows: _Rows) -> None:
        """Drop a pass."""
        del self._passes[rows]
        self.nbytes -= rows.nbytes
