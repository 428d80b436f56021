"""`RowText`: the text of a row and how far the stops of its strategy have read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from decodelab.core.protocols import Stop, StopState, Vocab
from decodelab.core.values import Tokens
from decodelab.engine.detokenizer import Detokenizer


@dataclass(frozen=True)
class RowText:
    """The text of a row; immutable, so rows can fork.

    Attributes:
        text: the text itself.
        states: of each stop, after the text that no further token can change.
    """

    text: Detokenizer
    states: tuple[StopState, ...]

    @staticmethod
    def after(prompt: Tokens, stops: Sequence[Stop]) -> RowText:
        """Nothing generated yet after this prompt."""
        return RowText(Detokenizer.after(prompt), tuple(stop.begin() for stop in stops))

    def push(self, vocab: Vocab, token: int) -> RowText:
        """The state after one more token."""
        text = self.text.push(vocab, token)
        new = text.settled[len(self.text.settled) :]
        return RowText(text, tuple(state.read(token, new) for state in self.states))
