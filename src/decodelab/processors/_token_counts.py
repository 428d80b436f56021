"""How often each row has seen each token: the state of the penalties, and what the penalties share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from decodelab.core.float32 import FLOAT32_MAX
from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import TokenProcessor, check_choice, check_number
from decodelab.core.values import Tokens
from decodelab.processors._recent_tokens import followed_by, recent_tokens

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 64
"""Slots added at a time."""


@dataclass(frozen=True)
class TokenCounts:
    """The different tokens of each row and how often each occurs; as large as the text, not as the vocabulary.

    Attributes:
        tokens: int64 [rows, slots], the different tokens of each row, in no order.
        counts: int64 [rows, slots], how often each occurs; 0 marks a free slot.
        recent: int64 [rows, window], the tokens that are counted, oldest first, -1 before the first; None when all are.
    """

    tokens: Tensor
    counts: Tensor
    recent: Tensor | None

    @staticmethod
    def of(texts: Sequence[Tokens], window: int | None) -> TokenCounts:
        """Count the tokens of each text, only the last `window` of them unless that is None.

        >>> state = TokenCounts.of([(5, 3, 5)], None)
        >>> state.entries(10)
        (tensor([0, 0]), tensor([5, 3]), tensor([2, 1]))
        """
        counted = [Counter(text if window is None else text[-window:]) for text in texts]
        slots = max((len(count) for count in counted), default=0) + _BLOCK
        tokens, counts = (torch.zeros(len(texts), slots, dtype=torch.int64) for _ in range(2))
        for row, count in enumerate(counted):
            tokens[row, : len(count)] = torch.tensor(list(count.keys()), dtype=torch.int64)
            counts[row, : len(count)] = torch.tensor(list(count.values()), dtype=torch.int64)
        return TokenCounts(tokens, counts, None if window is None else recent_tokens(texts, window))

    def __getitem__(self, rows: Tensor) -> TokenCounts:
        """The counts of the given rows."""
        recent = None if self.recent is None else self.recent[rows]
        return TokenCounts(self.tokens[rows], self.counts[rows], recent)

    def join(self, other: TokenCounts) -> TokenCounts:
        """The rows of this state followed by those of another."""
        slots = max(self.counts.shape[1], other.counts.shape[1])
        tokens, counts = (
            torch.cat(
                [
                    torch.nn.functional.pad(a, (0, slots - a.shape[1])),
                    torch.nn.functional.pad(b, (0, slots - b.shape[1])),
                ]
            )
            for a, b in ((self.tokens, other.tokens), (self.counts, other.counts))
        )
        recent = None if self.recent is None or other.recent is None else torch.cat([self.recent, other.recent])
        return TokenCounts(tokens, counts, recent)

    def plus(self, chosen: Tensor) -> TokenCounts:
        """The counts after one more token, int64 [rows], in each row; these counts stay as they are."""
        tokens, counts, recent = self.tokens, self.counts, self.recent
        new = chosen[:, None]
        if recent is not None:
            counts = counts - ((tokens == recent[:, :1]) & (counts > 0)).long()
            recent = followed_by(recent, chosen)
        free = counts == 0
        if not bool(free.any(dim=1).all()):
            block = torch.zeros(len(chosen), _BLOCK, dtype=torch.int64)
            tokens, counts = torch.cat([tokens, block], dim=1), torch.cat([counts, block], dim=1)
            free = counts == 0
        known = (tokens == new) & ~free
        slot = torch.where(known.any(dim=1), known.int().argmax(dim=1), free.int().argmax(dim=1))[:, None]
        return TokenCounts(tokens.scatter(1, slot, new), counts.scatter_add(1, slot, torch.ones_like(slot)), recent)

    def entries(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """What is counted, as parallel int64 lists: rows, tokens below `size`, how often."""
        rows, slots = ((self.counts > 0) & (self.tokens < size)).nonzero(as_tuple=True)
        return rows, self.tokens[rows, slots], self.counts[rows, slots]


class TokenPenalty(TokenProcessor):
    """A penalty on the tokens that have occurred: what its subclasses share.

    A subclass is a frozen dataclass with the fields `penalty`, `prompt` and `window`, and says in `penalised` what
    becomes of a logit.
    """

    off: ClassVar[float]
    """The penalty that changes nothing."""

    penalty: float
    prompt: bool
    window: int | None

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "penalty", fix=f"use {self.off:g} for none")
        check_scope(self)

    def no_effect(self) -> str | None:
        """The neutral penalty is the identity."""
        return f"a penalty of {self.off:g} changes nothing" if self.penalty == self.off else None

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> TokenCounts:
        """Count the tokens of the prompts, if they are to be counted."""
        return TokenCounts.of(prompts if self.prompt else [()] * len(prompts), self.window)

    def penalised(self, logits: Tensor, counts: Tensor) -> Tensor:
        """The new values of float32 logits [n] of tokens that occurred `counts` times, int64 [n]."""
        raise NotImplementedError

    def apply(self, logits: Tensor, state: TokenCounts) -> Tensor:
        """Penalise float32 logits [rows, vocab]; what has been removed stays so, and nothing overflows."""
        if self.penalty == self.off:
            return logits
        rows, tokens, counts = state.entries(logits.shape[-1])
        before = logits[rows, tokens]
        after = self.penalised(before, counts).clamp(-FLOAT32_MAX, FLOAT32_MAX)
        return logits.index_put((rows, tokens), torch.where(before == -torch.inf, before, after))

    def update(self, state: TokenCounts, logits: Tensor, tokens: Tensor) -> TokenCounts:
        """Count the chosen tokens."""
        return state.plus(tokens)


def check_scope(stage: TokenProcessor) -> None:
    """Check the two parameters that say which tokens count: `prompt` and `window`.

    Raises:
        InvalidParameter: if they are not true or false, and an integer of at least 1 or none.
    """
    check_choice(stage, "prompt", (True, False), fix="true counts the prompt's tokens too")
    if getattr(stage, "window") is not None:  # noqa: B009  (not every stage has one)
        check_number(stage, "window", low=1, integer=True, fix="use none to count all tokens")
