"""The text of a hypothesis as a checker has read it, for searches that ask one."""

from __future__ import annotations

from dataclasses import dataclass

from decodelab.core.protocols import Reading
from decodelab.core.values import Partial


@dataclass(frozen=True)
class ReadText:
    """A text and its reading."""

    reading: Reading
    text: str

    def follow(self, begun: Reading, partial: Partial, *, prompt: bool) -> ReadText:
        """The reading of a new text, with its prompt or without; `begun` is that of the empty text.

        It goes on from this one if the new text extends it, as it nearly always does.
        """
        text = partial.prompt + partial.text if prompt else partial.text
        if text == self.text:
            return self
        if text.startswith(self.text):
            return ReadText(self.reading.read(text[len(self.text) :]), text)
        return ReadText(begun.read(text), text)

    def accepted(self, *, over: bool) -> bool:
        """Whether the text is not invalid and, where it is over, complete."""
        return not self.reading.invalid and (self.reading.complete or not over)
