"""LALR(1) tables of Python's grammar, and parser stacks that run on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from lark import Lark
from lark.lexer import Lexer
from lark.parsers.lalr_analysis import Shift

Stack: TypeAlias = "tuple[int, Stack] | None"
"""A state and the stack below it; stacks are immutable and share what is below."""


class _NoText(Lexer):
    """A placeholder: the tables are built without one of lark's lexers."""

    def __init__(self, lexer_conf: Any) -> None:
        """Ignore the configuration."""

    def lex(self, lexer_state: Any, parser_state: Any) -> Iterator[Any]:
        """No tokens."""
        return iter(())


@dataclass(frozen=True)
class Tables:
    """The parser's action for each state and kind of token.

    Attributes:
        shifts: for each state, the state after a token or a reduced rule, by name.
        reductions: for each state and kind of token, the rule to reduce by: its length and name.
        literals: the kind of token of each keyword and operator.
        begin, end: the states before and after a whole program.
    """

    shifts: tuple[dict[str, int], ...]
    reductions: tuple[dict[str, tuple[int, str]], ...]
    literals: dict[str, str]
    begin: int
    end: int

    def push(self, stacks: Iterable[Stack], kinds: Iterable[str]) -> tuple[Stack, ...]:
        """All stacks after a token that may be of any of these kinds; none if no program has it here."""
        kinds = tuple(kinds)
        after = (self._pushed(stack, kind) for stack in stacks for kind in kinds)
        return tuple(stack for stack in after if stack is not None)

    def _pushed(self, stack: Stack, kind: str) -> Stack:
        assert stack is not None
        state = stack[0]
        while (shift := self.shifts[state].get(kind)) is None:
            rule = self.reductions[state].get(kind)
            if rule is None:
                return None
            length, name = rule
            for _ in range(length):
                assert stack is not None
                stack = stack[1]
            assert stack is not None
            state = self.shifts[stack[0]][name]
            stack = (state, stack)
            if state == self.end:
                return stack
        return (shift, stack)

    def complete(self, stacks: Iterable[Stack]) -> bool:
        """Whether one of the stacks is a complete program."""
        return bool(self.push(stacks, ["$END"]))


@cache
def python_tables() -> Tables:
    """The tables of python.lark; built once, in about half a second."""
    text = files("decodelab.checkers").joinpath("python.lark").read_text(encoding="utf-8")
    parser = Lark(text, parser="lalr", lexer=_NoText)
    configuration = parser.parse_interactive("").parser_state.parse_conf
    states: Any = configuration.parse_table.states
    numbers = {state: number for number, state in enumerate(states)}
    shifts: list[dict[str, int]] = []
    reductions: list[dict[str, tuple[int, str]]] = []
    for actions in states.values():
        shifts.append({kind: numbers[to] for kind, (action, to) in actions.items() if action is Shift})
        reductions.append(
            {
                kind: (len(rule.expansion), rule.origin.name)
                for kind, (action, rule) in actions.items()
                if action is not Shift
            }
        )
    literals = {terminal.pattern.value: terminal.name for terminal in parser.terminals}
    begin, end = configuration.start_state, configuration.end_state
    return Tables(tuple(shifts), tuple(reductions), literals, numbers[begin], numbers[end])
