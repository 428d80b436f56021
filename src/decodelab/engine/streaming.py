"""`TextStream`: an observer that passes on each piece of text as soon as it is final."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from decodelab.core.events import Event, Finished, RunStarted, Step
from decodelab.core.protocols import Stop, Vocab
from decodelab.core.values import Tokens
from decodelab.engine.row_text import RowText


class TextStream:
    """Call `write(generation index, sample index, text)` for each new piece of text.

    The pieces join to the candidate's text, except where a model with byte tokens emits bytes that are no UTF-8.
    Characters are never split, and text that a stop string or one of the strategy's `stops` may cut off is held back
    until it is known that it will not. With `revises=True` (beams) the text of a candidate comes in one piece at its
    end.

    >>> import decodelab as dl
    >>> model = dl.load("pocket-nano")
    >>> pieces = []
    >>> stream = TextStream(model.vocab, lambda generation, sample, text: pieces.append(text))
    >>> out = dl.generate(model, ["Once upon"], "greedy", max_new_tokens=8, observers=[stream])
    >>> "".join(pieces) == out[0].best.text
    True
    """

    def __init__(
        self,
        vocab: Vocab,
        write: Callable[[int, int, str], None],
        *,
        stop: Sequence[str] = (),
        stops: Sequence[Stop] = (),
        revises: bool = False,
    ) -> None:
        self.vocab = vocab
        self.write = write
        self.stop = tuple(stop)
        self.stops = tuple(stops)
        self.revises = revises
        self.prompts: tuple[Tokens, ...] = ()
        self.texts: dict[tuple[int, int], RowText] = {}
        self.written: dict[tuple[int, int], int] = {}

    def __call__(self, event: Event) -> None:
        """Take an event from the engine."""
        if isinstance(event, RunStarted):
            self.prompts = event.prompts
        elif isinstance(event, Step) and not self.revises:
            parents = event.parents.tolist()
            for parent, token in zip(parents, event.tokens.tolist(), strict=True):
                key = int(event.generations[parent]), int(event.samples[parent])
                before = self.texts.get(key) or RowText.after(self.prompts[key[0]], self.stops)
                row = self.texts[key] = before.push(self.vocab, token)
                self._write(key, row.text.text[: self._certain(row)])
        elif isinstance(event, Finished):
            for candidate in event.generation.candidates:
                self._write((event.generation.index, candidate.sample), candidate.text)

    def _write(self, key: tuple[int, int], text: str) -> None:
        """Write what is new of a text."""
        done = self.written.get(key, 0)
        if len(text) > done:
            self.write(*key, text[done:])
            self.written[key] = len(text)

    def _certain(self, row: RowText) -> int:
        """How many characters of a text no stop will cut off."""
        text = row.text.text
        places = [place for state in row.states for place in (state.held, state.kept) if place is not None]
        return min(len(text) - self._held(text), *places) if places else len(text) - self._held(text)

    def _held(self, text: str) -> int:
        """How many characters at the end may be part of a stop string."""
        found = [text.find(s) for s in self.stop if s in text]
        if found:
            return len(text) - min(found)
        return max((n for s in self.stop for n in range(1, len(s)) if text.endswith(s[:n])), default=0)
