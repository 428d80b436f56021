"""`NgramProposer`: prompt lookup, which proposes what followed the last tokens where they occurred before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from decodelab.core.protocols import PAD
from decodelab.core.values import Tokens
from decodelab.engine.runners.speculative_batch import SpeculativeBatch
from decodelab.search.speculative import NGRAM

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class _Text:
    """A text, and an index of its n-grams: for each, the position after its latest occurrence.

    Attributes:
        tokens: the text.
        follows: the index of n-grams that end in the new tokens, then that of the prompt.
    """

    tokens: list[int]
    follows: tuple[dict[Tokens, int], dict[Tokens, int]]

    def add(self, tokens: Sequence[int], longest: int, to: dict[Tokens, int]) -> None:
        """Append tokens and index the n-grams they follow."""
        for token in tokens:
            for n in range(1, min(longest, len(self.tokens)) + 1):
                to[tuple(self.tokens[-n:])] = len(self.tokens)
            self.tokens.append(token)

    def next(self, recent: Sequence[int]) -> int | None:
        """What followed the latest occurrence of the longest suffix of these tokens that occurred before."""
        for start in range(len(recent)):
            run = tuple(recent[start:])
            for follows in self.follows:
                if run in follows:
                    return self.tokens[follows[run]]
        return None


class NgramProposer:
    """Proposes what followed when the last tokens occurred before in the row's own text.

    A proposed token counts as text for the next one, so a loop is followed as far as wanted. (transformers and vLLM
    copy what follows the first occurrence, up to the end of the text.)

    Args:
        longest: tokens of the longest n-gram that is looked for.
    """

    name = NGRAM
    context_length = None
    nbytes = 0

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.rows: list[_Text] = []

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """Zero: it keeps no keys and values."""
        return 0

    def clear(self) -> None:
        """Forget all rows."""
        self.rows = []

    def begin(self, prompts: Sequence[Tokens], rows: Sequence[int]) -> list[int]:
        """Index each prompt once."""
        known: list[dict[Tokens, int]] = []
        for prompt in prompts:
            known.append({})
            _Text([], ({}, known[-1])).add(prompt, self.longest, known[-1])
        self.rows += [_Text(list(prompts[row]), ({}, known[row])) for row in rows]
        return [0] * len(prompts)

    def propose(self, batches: Sequence[SpeculativeBatch], most: int) -> Tensor:
        """Look up the last tokens of each row, token by token."""
        found: list[list[int]] = []
        for batch in batches:
            for count in batch.begin_proposals(most).tolist():
                row = self.rows[len(found)]
                recent, tokens = row.tokens[-self.longest :], list[int]()
                while len(tokens) < count and (token := row.next(recent)) is not None:
                    tokens.append(token)
                    if batch.stops.codes[token]:
                        break
                    recent = [*recent, token][-self.longest :]
                found.append(tokens)
        proposals = torch.full((len(found), max(map(len, found))), PAD)
        for row, tokens in enumerate(found):
            proposals[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
        return proposals

    def keep(self, rows: Sequence[int], taken: Sequence[Tokens]) -> None:
        """Append what each row took."""
        self.rows = [self.rows[row] for row in rows]
        for row, tokens in zip(self.rows, taken, strict=True):
            row.add(tokens, self.longest, row.follows[0])
