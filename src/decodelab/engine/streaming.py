"""Texts as they grow: which characters are final, and an observer that passes them on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from decodelab.core.events import Event, Finished, RunStarted, Step
from decodelab.core.protocols import Stop, Vocab
from decodelab.core.values import Tokens
from decodelab.engine.row_text import RowText


class GrowingText:
    """The text of one sequence as it becomes final, token by token.

    Characters are never split, and text that a stop string or one of the strategy's `stops` may cut off is held back
    until it is known that it will not.

    Attributes:
        starts: for each token, how many characters of the text came before it.

    >>> import decodelab as dl
    >>> model = dl.load("pocket-nano")
    >>> text = GrowingText(model.vocab, (), stop=["time"])
    >>> [text.push(token) for token in model.vocab.encode_completion((), "Once upon a tide")[-3:]]
    [' a', ' ', 'tide']
    """

    def __init__(self, vocab: Vocab, prompt: Tokens, *, stop: Sequence[str] = (), stops: Sequence[Stop] = ()) -> None:
        self.vocab = vocab
        self.stop = tuple(stop)
        self.starts: list[int] = []
        self.written = 0
        self._row = RowText.after(prompt, stops)

    def push(self, token: int) -> str:
        """What is final now and was not before one more token."""
        self.starts.append(len(self._row.text.settled))
        self._row = self._row.push(self.vocab, token)
        return self._new(self._row.text.text[: self._certain()])

    def finish(self, text: str) -> str:
        """The rest of the text that the sequence has in the end."""
        return self._new(text)

    def _new(self, text: str) -> str:
        new = text[self.written :]
        self.written = max(self.written, len(text))
        return new

    def _certain(self) -> int:
        """How many characters no stop will cut off."""
        text = self._row.text.text
        places = [place for state in self._row.states for place in (state.held, state.kept) if place is not None]
        return min(len(text) - self._held(text), *places) if places else len(text) - self._held(text)

    def _held(self, text: str) -> int:
        """How many characters at the end may be part of a stop string."""
        found = [text.find(s) for s in self.stop if s in text]
        if found:
            return len(text) - min(found)
        return max((n for s in self.stop for n in range(1, len(s)) if text.endswith(s[:n])), default=0)


class TextStream:
    """Call `write(generation index, sample index, text)` for each new piece of text, see `GrowingText`.

    The pieces join to the candidate's text, except where a model with byte tokens emits bytes that are no UTF-8. With
    `revises=True` (beams) the text of a candidate comes in one piece at its end.

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
        self.texts: dict[tuple[int, int], GrowingText] = {}

    def __call__(self, event: Event) -> None:
        """Take an event from the engine."""
        if isinstance(event, RunStarted):
            self.prompts = event.prompts
        elif isinstance(event, Step) and not self.revises:
            parents = event.parents.tolist()
            for parent, token in zip(parents, event.tokens.tolist(), strict=True):
                key = int(event.generations[parent]), int(event.samples[parent])
                self._write(key, self._text(key).push(token))
        elif isinstance(event, Finished):
            for candidate in event.generation.candidates:
                key = event.generation.index, candidate.sample
                self._write(key, self._text(key).finish(candidate.text))

    def _text(self, key: tuple[int, int]) -> GrowingText:
        if key not in self.texts:
            self.texts[key] = GrowingText(self.vocab, self.prompts[key[0]], stop=self.stop, stops=self.stops)
        return self.texts[key]

    def _write(self, key: tuple[int, int], text: str) -> None:
        if text:
            self.write(*key, text)
