"""The children of nodes of a search tree, most probable first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from decodelab.core.protocols import Growth
from decodelab.kernels.fused import log_normaliser
from decodelab.search._top import top_ids

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Children:
    """What may follow a node, most probable first; ties by lowest id.

    Attributes:
        node: its number.
        length: tokens of each child.
        tokens: int64 [n], the token of each child.
        scores: float64 [n], log-probability of each child's whole sequence under the processed distribution, in nats.
        rest: no possible child that is not listed is more probable than this; -inf when all are listed.
        at: how many of them have been taken.
    """

    node: int
    length: int
    tokens: Tensor
    scores: Tensor
    rest: float
    at: int = 0

    @property
    def token(self) -> int:
        """The token of the next one."""
        return int(self.tokens[self.at])

    @property
    def score(self) -> float:
        """The log-probability of the next one."""
        return float(self.scores[self.at])

    def chosen(self, which: Tensor) -> Children:
        """Only those where `which`, bool [n], is true."""
        return replace(self, tokens=self.tokens[which], scores=self.scores[which])

    def following(self) -> Children | None:
        """What is left without the next one; None when nothing is."""
        return replace(self, at=self.at + 1) if self.at + 1 < len(self.tokens) else None


def children_of(logits: Tensor, nodes: list[int], scores: list[float], lengths: list[int], most: int) -> list[Children]:
    """The at most `most` most probable children of nodes that have these logits, scores and numbers of tokens.

    >>> half = torch.tensor([[0.5, 0.0, 0.5]]).log()
    >>> (children,) = children_of(half, [7], [-1.0], [2], most=9)
    >>> children.tokens.tolist(), children.length, round(children.score, 4)
    ([0, 2], 3, -1.6931)
    """
    listed = min(most, logits.shape[-1])
    ids = top_ids(logits, listed)
    values, order = logits.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
    ids = ids.gather(-1, order)
    sums = values.double() - log_normaliser(logits)[:, None] + torch.tensor(scores, dtype=torch.float64)[:, None]
    found = []
    for row, (node, length) in enumerate(zip(nodes, lengths, strict=True)):
        possible = int(sums[row].isfinite().sum())
        left_out = listed < logits.shape[-1] and possible == listed
        rest = float(sums[row, -1]) if left_out else -torch.inf
        found.append(Children(node, length + 1, ids[row, :possible], sums[row, :possible], rest))
    return found


def growth(asked: Sequence[tuple[int, int]], ended: Sequence[tuple[int, int, int]], closed: Sequence[int]) -> Growth:
    """A decision from the (node, token) of children to evaluate, the (node, token, reason) of ends, and closed nodes.

    >>> growth([], [(0, 5, 1)], [0]).ended_tokens
    tensor([5])
    """
    parents, tokens = torch.tensor(asked, dtype=torch.int64).view(-1, 2).unbind(1)
    ended_parents, ended_tokens, reasons = torch.tensor(ended, dtype=torch.int64).view(-1, 3).unbind(1)
    return Growth(parents, tokens, ended_parents, ended_tokens, reasons, torch.tensor(closed, dtype=torch.int64))
