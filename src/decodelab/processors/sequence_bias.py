"""A bias on sequences of tokens: the state of `logit_bias` and `ban`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from decodelab.core.float32 import FLOAT32_MAX
from decodelab.core.values import Tokens
from decodelab.processors._recent_tokens import followed_by, recent_tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Group:
    """Sequences of one length: what comes before their last tokens, int64 [n, length - 1], these, and the biases."""

    before: Tensor
    last: Tensor
    bias: Tensor


@dataclass(frozen=True)
class SequenceBias:
    """Biases on the tokens that would complete a sequence, and the last tokens of each row.

    Attributes:
        recent: int64 [rows, longest - 1], the last tokens of each row.
        groups: the sequences by length, shortest first.
    """

    recent: Tensor
    groups: tuple[Group, ...]

    @staticmethod
    def of(prompts: Sequence[Tokens], biases: Iterable[tuple[Tokens, float]]) -> SequenceBias:
        """The state after prompts, for sequences of tokens with their biases; those of equal sequences add up.

        >>> state = SequenceBias.of([(1, 2), (2, 1)], [((0,), -1.0), ((2, 3), 5.0)])
        >>> state.added_to(torch.zeros(2, 4)).tolist()
        [[-1.0, 0.0, 0.0, 5.0], [-1.0, 0.0, 0.0, 0.0]]
        """
        by_length: dict[int, list[tuple[Tokens, float]]] = {}
        for sequence, bias in biases:
            by_length.setdefault(len(sequence), []).append((sequence, bias))
        groups = tuple(
            Group(
                torch.tensor([sequence[:-1] for sequence, _ in group], dtype=torch.int64),
                torch.tensor([sequence[-1] for sequence, _ in group], dtype=torch.int64),
                torch.tensor([bias for _, bias in group], dtype=torch.float64),
            )
            for _, group in sorted(by_length.items())
        )
        return SequenceBias(recent_tokens(prompts, max(by_length, default=1) - 1), groups)

    def __getitem__(self, rows: Tensor) -> SequenceBias:
        """The state of the given rows."""
        return dataclasses.replace(self, recent=self.recent[rows])

    def join(self, other: SequenceBias) -> SequenceBias:
        """The rows of this state followed by those of another."""
        return dataclasses.replace(self, recent=torch.cat([self.recent, other.recent]))

    def plus(self, tokens: Tensor) -> SequenceBias:
        """The state after one more token, int64 [rows], in each row."""
        return dataclasses.replace(self, recent=followed_by(self.recent, tokens))

    def added_to(self, logits: Tensor) -> Tensor:
        """Add the biases that apply to float32 logits [rows, vocab]; no logit exceeds the largest float32."""
        biased = logits.clone()
        for group in self.groups:
            length = group.before.shape[1]
            context = self.recent[:, self.recent.shape[1] - length :]
            rows, which = (context[:, None] == group.before).all(dim=-1).nonzero(as_tuple=True)
            places = (rows, group.last[which])
            biased.index_put_(places, group.bias[which].float(), accumulate=True)
            biased.index_put_(places, biased[places].clamp(max=FLOAT32_MAX))
        return biased
