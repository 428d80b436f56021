"""Where the end of a text has occurred before in it: the state of `no_repeat_ngram` and `dry`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from decodelab.core.values import Tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SuffixMatches:
    """For every place in each row's text, how many tokens that end there equal the last tokens of the text.

    One more token lengthens the matches that it continues and ends the others, so a step costs one comparison a place.

    Attributes:
        tokens: int64 [rows, length], the text, ends aligned; -1 before it begins.
        lengths: int64 [rows, length], the length of the match that ends there; 0 at the last place, the end itself.

    >>> matches = SuffixMatches.of([(7, 8, 9, 7, 8)], None)
    >>> matches.lengths.tolist(), matches.plus(torch.tensor([9])).lengths.tolist()
    ([[0, 2, 0, 0, 0]], [[0, 0, 3, 0, 0, 0]])
    """

    tokens: Tensor
    lengths: Tensor

    @staticmethod
    def of(texts: Sequence[Tokens], window: int | None) -> SuffixMatches:
        """The matches in each text, only in its last `window` tokens unless that is None."""
        kept = [text if window is None else text[-window:] for text in texts]
        width = max(map(len, kept), default=0)
        lengths_of = {text: _matches(text) for text in set(kept)}
        tokens, lengths = torch.full((len(texts), width), -1), torch.zeros(len(texts), width, dtype=torch.int64)
        for row, text in enumerate(kept):
            if text:
                tokens[row, -len(text) :] = torch.tensor(text)
                lengths[row, -len(text) :] = torch.tensor(lengths_of[text])
        return SuffixMatches(tokens, lengths)

    def __getitem__(self, rows: Tensor) -> SuffixMatches:
        """The matches of the given rows."""
        return SuffixMatches(self.tokens[rows], self.lengths[rows])

    def join(self, other: SuffixMatches) -> SuffixMatches:
        """The rows of this state followed by those of another."""
        width = max(self.tokens.shape[1], other.tokens.shape[1])
        tokens, lengths = (
            torch.cat(
                [
                    torch.nn.functional.pad(a, (width - a.shape[1], 0), value=v),
                    torch.nn.functional.pad(b, (width - b.shape[1], 0), value=v),
                ]
            )
            for a, b, v in ((self.tokens, other.tokens, -1), (self.lengths, other.lengths, 0))
        )
        return SuffixMatches(tokens, lengths)

    def plus(self, chosen: Tensor, window: int | None = None) -> SuffixMatches:
        """The matches after one more token, int64 [rows], in each row; these stay as they are."""
        new = chosen[:, None]
        start = torch.zeros_like(new)
        # What ended one place earlier goes on here, if this place has the new token.
        longer = torch.cat([start, self.lengths], dim=1)[:, :-1] + 1
        lengths = torch.cat([longer.masked_fill(self.tokens != new, 0), start], dim=1)
        tokens = torch.cat([self.tokens, new], dim=1)
        if window is None:
            return SuffixMatches(tokens, lengths)
        tokens, lengths = tokens[:, -window:], lengths[:, -window:]
        # A match cannot reach back beyond the window.
        return SuffixMatches(tokens, lengths.minimum(torch.arange(1, lengths.shape[1] + 1)))

    def followers(self, at_least: Tensor | int, at_most: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The tokens that came after a match of some length, with that length cut to `at_most` (int64 [rows]).

        Returns:
            Rows, tokens, lengths as parallel int64 lists, one entry for each place.
        """
        lengths = self.lengths[:, :-1].minimum(at_most[:, None])
        rows, places = (lengths >= at_least).nonzero(as_tuple=True)
        return rows, self.tokens[rows, places + 1], lengths[rows, places]


def _matches(text: Tokens) -> list[int]:
    """The lengths for a whole text, in linear time: the Z-algorithm (Gusfield 1997, section 1.4) from the end."""
    backwards = text[::-1]
    size = len(backwards)
    z = [0] * size
    left = right = 0
    for i in range(1, size):
        length = min(right - i, z[i - left]) if i < right else 0
        while i + length < size and backwards[length] == backwards[i + length]:
            length += 1
        z[i] = length
        if i + length > right:
            left, right = i, i + length
    return z[::-1]
