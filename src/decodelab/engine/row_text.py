"""`RowText`: the text of a row and how far the stops of its strategy have read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from decodelab.core.protocols import Stop, StopState, Vocab
from decodelab.core.values import Tokens
from decodelab.engine.detokenizer import Detokenizer
from decodelab.engine.faults import blamed


@dataclass(frozen=True)
class RowText:
    """The text of a row; immutable, so rows can fork.

    Attributes:
        text: the text itself.
        stops: the stages that read it.
        states: of each stop, after the text that no further token can change.
        begun: characters that stood there before the chunk that is being drawn.
    """

    text: Detokenizer
    stops: Sequence[Stop]
    states: tuple[StopState, ...]
    begun: int = 0

    @staticmethod
    def after(prompt: Tokens, stops: Sequence[Stop]) -> RowText:
        """Nothing generated yet after this prompt.

        Raises:
            StageFailed: for what a stop raises; names it.
        """
        states: list[StopState] = []
        for stop in stops:
            with blamed(stop):
                states.append(stop.begin())
        return RowText(Detokenizer.after(prompt), stops, tuple(states))

    def read(self, token: int, shown: str) -> tuple[StopState, ...]:
        """The states of the stops after one more token, with which the text became `shown`.

        Raises:
            StageFailed: as `after`.
        """
        new = shown[len(self.text.settled) :] if self.stops else ""
        states: list[StopState] = []
        for stop, state in zip(self.stops, self.states, strict=True):
            with blamed(stop):
                states.append(state.read(token, new))
        return tuple(states)

    def push(self, vocab: Vocab, token: int) -> RowText:
        """The state after one more token."""
        text = self.text.push(vocab, token)
        return RowText(text, self.stops, self.read(token, text.settled), self.begun)

    def continued(self, vocab: Vocab, tokens: Tokens) -> RowText:
        """The state after further tokens, with which a new chunk begins."""
        row = self
        for token in tokens:
            row = row.push(vocab, token)
        return replace(row, begun=len(row.text.settled))
