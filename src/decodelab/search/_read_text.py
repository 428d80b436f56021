"""The text of a hypothesis as a checker has read it, for searches that ask one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from decodelab.core.protocols import Reading
from decodelab.core.values import Partial


@dataclass(frozen=True)
class ReadText:
    """A text and its reading; `whole` says whether it ends with a whole character, which the text leaves out if not."""

    reading: Reading
    text: str
    whole: bool = True

    def follow(self, begun: Reading, partial: Partial, *, prompt: bool) -> ReadText:
        """The reading of a new text, with its prompt or without; `begun` is that of the empty text.

        It goes on from this one if the new text extends it, as it nearly always does.
        """
        text = partial.prompt + partial.text if prompt else partial.text
        if text == self.text:
            return replace(self, whole=partial.complete)
        if text.startswith(self.text):
            return ReadText(self.reading.read(text[len(self.text) :]), text, partial.complete)
        return ReadText(begun.read(text), text, partial.complete)

    def accepted(self, *, over: bool) -> bool:
        """Whether the text is not invalid and, where it is over, complete."""
        return not self.reading.invalid and (not over or (self.reading.complete and self.whole))
