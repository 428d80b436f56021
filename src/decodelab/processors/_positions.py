"""Processors that act at a position: how many tokens each row has, and what they share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import TokenProcessor
from decodelab.core.values import Tokens
from decodelab.processors._words import check_ids

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Positions:
    """How many tokens each row has, int64 [rows], and the token ids that are acted on, int64 [n]."""

    count: Tensor
    ids: Tensor

    def __getitem__(self, rows: Tensor) -> Positions:
        """The state of the given rows."""
        return dataclasses.replace(self, count=self.count[rows])

    def join(self, other: Positions) -> Positions:
        """The rows of this state followed by those of another."""
        return dataclasses.replace(self, count=torch.cat([self.count, other.count]))


class PositionProcessor(TokenProcessor):
    """A processor that acts on some tokens at some positions: what its subclasses share."""

    def acts_on(self, vocab: Vocab) -> Tokens:
        """The token ids it acts on."""
        raise NotImplementedError

    def counts_prompt(self) -> bool:
        """Whether the prompt's tokens count; otherwise a position is a number of new tokens."""
        return False

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Positions:
        """Rows that have their prompts and nothing more."""
        ids = self.acts_on(vocab)
        check_ids(self, ids, vocab)
        lengths = [len(prompt) if self.counts_prompt() else 0 for prompt in prompts]
        return Positions(torch.tensor(lengths, dtype=torch.int64), torch.tensor(ids, dtype=torch.int64))

    def update(self, state: Positions, logits: Tensor, tokens: Tensor) -> Positions:
        """One token more."""
        return dataclasses.replace(state, count=state.count + 1)


def removed(logits: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
    """Float32 logits [rows, vocab] without these token ids in the rows of a mask, bool [rows].

    >>> removed(torch.zeros(2, 3), torch.tensor([True, False]), torch.tensor([0, 2]))
    tensor([[-inf, 0., -inf],
            [0., 0., 0.]])
    """
    return logits.index_put((rows.nonzero(), ids), torch.tensor(-torch.inf))


def forced(logits: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
    """Float32 logits [rows, vocab] in which the rows of a mask have logit 0 at these ids and nothing else.

    An id that has been removed stays removed.

    >>> forced(torch.ones(2, 3), torch.tensor([True, False]), torch.tensor([1]))
    tensor([[-inf, 0., -inf],
            [1., 1., 1.]])
    """
    kept = torch.full_like(logits, -torch.inf)
    kept[:, ids] = torch.where(logits[:, ids] == -torch.inf, -torch.inf, 0.0)
    return torch.where(rows[:, None], kept, logits)
