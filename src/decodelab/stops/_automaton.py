"""A search for regular expressions, character by character, in time linear in the text whatever the expression."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from decodelab.processors._expressions import Anchor, Characters, Either, ExpressionFault, Node, Ranges, Repeat, Several

_MOST_STEPS = 2_000
"""Of an automaton; each character of a text takes at most one visit to each step."""

_LAST = 0x10FFFF

Threads = tuple[tuple[int, int], ...]
"""Steps that wait for a character, each with where its match begins; earlier beginnings first."""


@dataclass(frozen=True)
class _Step:
    """One step: it waits for a character of these ranges, or, where they are None, goes on to all of `then` at once."""

    ranges: Ranges | None
    then: tuple[int, ...]

    def takes(self, code: int) -> bool:
        """Whether it takes a character."""
        assert self.ranges is not None
        at = bisect_right(self.ranges, (code, _LAST)) - 1
        return at >= 0 and code <= self.ranges[at][1]


@dataclass(frozen=True)
class Automaton:
    """Expressions as steps (Thompson 1968): step 0 is the match.

    Attributes:
        steps: all of them.
        anywhere: the steps at which a match may begin at any character.
        at_start: those at which it may begin at the first character alone.
    """

    steps: tuple[_Step, ...]
    anywhere: tuple[int, ...]
    at_start: tuple[int, ...]

    @staticmethod
    def of(alternatives: Sequence[tuple[bool, Node]]) -> Automaton:
        """The automaton of these expressions, each with whether it is held to the start of the text.

        Raises:
            ExpressionFault: if it is too large, or an expression matches the empty text.
        """
        builder = _Builder()
        begins = [(held, builder.add(body, 0)) for held, body in alternatives]
        found = Automaton(
            tuple(builder.steps), tuple(at for held, at in begins if not held), tuple(at for held, at in begins if held)
        )
        for at in (*found.anywhere, *found.at_start):
            if found._opened([(at, 0)])[1] is not None:
                raise ExpressionFault("it matches the empty text, so every text would end at once", 1)
        return found

    def read(self, threads: Threads, place: int, character: str) -> tuple[Threads, int | None]:
        """The threads after the character at a place, and where the first match that ends with it begins."""
        code = ord(character)
        begin = (*self.anywhere, *(self.at_start if place == 0 else ()))
        waiting, _ = self._opened([(at, place) for at in begin])
        took = [(self.steps[at], start) for at, start in (*threads, *waiting) if self.steps[at].takes(code)]
        return self._opened([(after, start) for step, start in took for after in step.then])

    def _opened(self, reached: Sequence[tuple[int, int]]) -> tuple[Threads, int | None]:
        """The steps that wait for a character behind those reached, and the beginning of a match among these.

        Of threads at one step only the first is kept: it has the earliest beginning.
        """
        threads: list[tuple[int, int]] = []
        match: int | None = None
        seen: set[int] = set()
        for first, start in reached:
            left = [first]
            while left:
                at = left.pop()
                if at in seen:
                    continue
                seen.add(at)
                if at == 0:
                    match = start
                elif self.steps[at].ranges is not None:
                    threads.append((at, start))
                else:
                    left.extend(self.steps[at].then)
        return tuple(threads), match


class _Builder:
    """Writes steps from the end to the beginning: what an expression goes on to is known when it is written."""

    def __init__(self) -> None:
        self.steps = [_Step(None, ())]
        self.added = 0

    def put(self, ranges: Ranges | None, then: tuple[int, ...]) -> int:
        """One more step, and its number."""
        self.steps.append(_Step(ranges, then))
        return len(self.steps) - 1

    def add(self, node: Node, then: int) -> int:
        """The first step of an expression that goes on to `then`."""
        self.added += 1  # counted besides the steps, as a repeated empty group has none
        if max(self.added / 2, len(self.steps)) > _MOST_STEPS:
            raise ExpressionFault(f"it needs more than {_MOST_STEPS} states; repeat fewer times", 1)
        if isinstance(node, Characters):
            return self.put(node.ranges, (then,))
        if isinstance(node, Several):
            for part in reversed(node.parts):
                then = self.add(part, then)
            return then
        if isinstance(node, Either):
            return self.put(None, tuple(self.add(option, then) for option in node.options))
        assert not isinstance(node, Anchor), "anchors have been taken off"
        return self.repeated(node, then)

    def repeated(self, node: Repeat, then: int) -> int:
        """An expression `low` times, then up to `high` times or for ever."""
        first = then
        if node.high is None:
            loop = self.put(None, ())
            self.steps[loop] = _Step(None, (self.add(node.part, loop), then))
            first = loop
        else:
            for _ in range(node.high - node.low):
                first = self.put(None, (self.add(node.part, first), then))
        for _ in range(node.low):
            first = self.add(node.part, first)
        return first
