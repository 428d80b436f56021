"""Thoughts apart from what is said, as a text grows."""

from __future__ import annotations

from decodelab.core.thoughts import MARKS


def thought_places(text: str, *, begun: bool) -> list[tuple[int, int]]:
    """Where the thoughts of a text begin and end, in characters, their marks included; see `Thinking`.

    >>> thought_places("<think>A?</think> B", begun=False)
    [(0, 17)]
    """
    found, at, start = list[tuple[int, int]](), 0, 0
    inside = begun
    while True:
        marks = [(place, pair[inside]) for pair in MARKS if (place := text.find(pair[inside], at)) >= 0]
        if not marks:
            return [*found, (start, len(text))] if inside else found
        place, mark = min(marks)
        at = place + len(mark)
        if inside:
            found.append((start, at))
        start, inside = place, not inside


class Thinking:
    """Splits a growing text into thoughts, between the marks that models use, and what is said.

    A mark is never sent in part: what may become one is held back. The white space around a thought is dropped.

    Args:
        begun: whether the text begins within a thought, which the prompt has opened.

    >>> thinking = Thinking(begun=False)
    >>> [thinking.push(piece) for piece in ("<th", "ink>\\nA?", "</think>\\n\\nB")], thinking.finish()
    ([('', ''), ('A?', ''), ('', 'B')], ('', ''))
    """

    def __init__(self, begun: bool) -> None:
        self._in_thought = begun
        self._held = ""
        self._strip = begun

    def push(self, text: str) -> tuple[str, str]:
        """The new thought and the new content of a further piece."""
        return self._split(self._held + text, final=False)

    def finish(self) -> tuple[str, str]:
        """What was held back."""
        return self._split(self._held, final=True)

    def _split(self, text: str, final: bool) -> tuple[str, str]:
        thought, said = "", ""
        while True:
            marks = [pair[self._in_thought] for pair in MARKS]
            found = [(at, mark) for mark in marks if (at := text.find(mark)) >= 0]
            if not found:
                break
            at, mark = min(found)
            before = self._stripped(text[:at])
            if self._in_thought:
                thought += before.rstrip()
            else:
                said += before
            text, self._in_thought, self._strip = text[at + len(mark) :], not self._in_thought, True
        keep = 0 if final else self._held_back(text, [pair[self._in_thought] for pair in MARKS])
        rest, self._held = text[: len(text) - keep], text[len(text) - keep :]
        rest = self._stripped(rest)
        return (thought + rest, said) if self._in_thought else (thought, said + rest)

    def _stripped(self, text: str) -> str:
        """Text without the white space that follows a mark."""
        if self._strip and text:
            text = text.lstrip()
            self._strip = not text
        return text

    def _held_back(self, text: str, marks: list[str]) -> int:
        """Characters at the end that may belong to a mark, or to the white space before one."""
        partial = max((n for mark in marks for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0)
        if not self._in_thought:
            return partial
        whole = text[: len(text) - partial]
        return partial + len(whole) - len(whole.rstrip())
