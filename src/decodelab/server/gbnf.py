"""Grammars in GBNF, the notation of llama.cpp, in the dialect of Lark that constraints are written in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from decodelab.server.literal import literal

_NAME = re.compile(r"[A-Za-z0-9-]+")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_REPEATED = re.compile(r"[*+?]|\{[ \t]*(\d+)[ \t]*(,[ \t]*(\d*)[ \t]*)?\}")
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", **{c: c for c in '\\"[]'}}
_DIGITS = {"x": 2, "u": 4, "U": 8}
_MOST_NESTED = 200


class GbnfFault(Exception):
    """A grammar that cannot be translated; the message says where and why."""


def gbnf_to_lark(text: str) -> str:
    r"""A grammar in GBNF as one in Lark that accepts the same texts.

    Every terminal of it is one character, so that no longest match decides, and what GBNF accepts character by
    character is accepted. All of GBNF is translated but tokens (`<think>`, `<[1000]>`), which are refused.

    Source: the grammar's README and `llama-grammar.cpp` of llama.cpp.

    Raises:
        GbnfFault: for what is no GBNF, names no rule, or is a token; with the line.

    >>> print(gbnf_to_lark('root ::= "a"+ [0-9]'))
    start: (/a/)+ /[0-9]/
    """
    return _Reader(text).grammar()


@dataclass
class _Reader:
    """Reads a grammar from the left to the right."""

    text: str
    at: int = 0
    names: dict[str, str] = field(default_factory=lambda: {"root": "start"})
    used: dict[str, int] = field(default_factory=dict[str, int])
    depth: int = 0

    def grammar(self) -> str:
        rules: dict[str, str] = {}
        self._skip(_SPACE_AND_LINES)
        while self.at < len(self.text):
            name = self._word()
            self._skip(_SPACE)
            if not self.text.startswith("::=", self.at):
                raise self._fault(f"expected ::= after {name[:60]!r}")
            self.at += 3
            self._skip(_SPACE_AND_LINES)
            if name in rules:
                raise self._fault(f"there are two rules {name[:60]!r}")
            rules[name] = self._alternatives(nested=False)
            self._skip(_SPACE)
            if self.at < len(self.text) and self.text[self.at] not in "\r\n":
                raise self._fault(f"expected the end of the rule, got {self.text[self.at]!r}")
            self._skip(_SPACE_AND_LINES)
        if "root" not in rules:
            raise GbnfFault("there is no rule 'root'; begin with root ::= ...")
        for name, place in self.used.items():
            if name not in rules:
                self.at = place
                raise self._fault(f"there is no rule {name[:60]!r}")
        return "\n".join(f"{self._own(name)}: {body}" for name, body in rules.items())

    def _own(self, name: str) -> str:
        """What a rule is called in Lark."""
        return self.names.setdefault(name, f"rule_{len(self.names)}")

    def _alternatives(self, *, nested: bool) -> str:
        found = [self._sequence(nested=nested)]
        while self.text.startswith("|", self.at):
            self.at += 1
            self._skip(_SPACE_AND_LINES)
            found.append(self._sequence(nested=nested))
        return " | ".join(found)

    def _sequence(self, *, nested: bool) -> str:
        parts: list[str] = []
        while (part := self._element()) is not None:
            self._skip(_SPACE_AND_LINES if nested else _SPACE)
            while repeated := _REPEATED.match(self.text, self.at):
                part = self._repeat(part, repeated)
                self._skip(_SPACE_AND_LINES if nested else _SPACE)
            parts.append(part)
        return " ".join(part for part in parts if part) or '""'

    def _element(self) -> str | None:
        """One element of a sequence; None where it ends."""
        here = self.text[self.at : self.at + 1]
        if here == '"':
            return self._literal()
        if here == "[":
            return self._class()
        if here == ".":
            self.at += 1
            return r"/[\u0000-\U0010ffff]/"
        if here == "(":
            return self._group()
        if here in ("<", "!"):
            raise self._fault("tokens are not translated; write their text")
        if here and _NAME.match(here):
            place, name = self.at, self._word()
            self.used.setdefault(name, place)
            return self._own(name)
        return None

    def _group(self) -> str:
        opened, self.at, self.depth = self.at, self.at + 1, self.depth + 1
        if self.depth > _MOST_NESTED:
            raise self._fault(f"groups must be nested at most {_MOST_NESTED} deep")
        self._skip(_SPACE_AND_LINES)
        inner = self._alternatives(nested=True)
        if not self.text.startswith(")", self.at):
            self.at = opened
            raise self._fault("the group is not closed")
        self.at, self.depth = self.at + 1, self.depth - 1
        return f"({inner})"

    def _literal(self) -> str:
        opened, self.at, found = self.at, self.at + 1, list[str]()
        while not self.text.startswith('"', self.at):
            if self.at >= len(self.text):
                self.at = opened
                raise self._fault("the text is not closed")
            found.append(f"/{literal(self._character())}/")
        self.at += 1
        return f"({' '.join(found)})" if len(found) > 1 else "".join(found)

    def _class(self) -> str:
        opened, self.at, found = self.at, self.at + 1, ""
        negated = self.text.startswith("^", self.at)
        self.at += negated
        while not self.text.startswith("]", self.at):
            if self.at >= len(self.text):
                self.at = opened
                raise self._fault("the characters are not closed")
            low = self._character()
            if self.text.startswith("-", self.at) and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self._character()
                if high < low:
                    raise self._fault(f"the range from {low!r} to {high!r} is empty")
                found += f"{literal(low)}-{literal(high)}"
            else:
                found += literal(low)
        self.at += 1
        if not found:
            self.at = opened
            raise self._fault("there are no characters between [ and ]")
        return f"/[{'^' * negated}{found}]/"

    def _character(self) -> str:
        """One character, as it is or escaped."""
        character = self.text[self.at]
        if character != "\\":
            self.at += 1
            return character
        kind = self.text[self.at + 1 : self.at + 2]
        if kind in _ESCAPES:
            self.at += 2
            return _ESCAPES[kind]
        digits = self.text[self.at + 2 : self.at + 2 + _DIGITS.get(kind, 0)]
        code = int(digits, 16) if re.fullmatch(r"[0-9A-Fa-f]+", digits) and len(digits) == _DIGITS[kind] else None
        if code is None or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise self._fault(f"{self.text[self.at : self.at + 2]!r} begins no escape")
        self.at += 2 + len(digits)
        return chr(code)

    def _repeat(self, part: str, found: re.Match[str]) -> str:
        self.at = found.end()
        if not part:
            return part
        if found[1] is None:
            return f"({part}){found[0]}"
        low = int(found[1])
        high = low if found[2] is None else int(found[3]) if found[3] else None
        if max(low, high or 0) > 10_000:
            raise self._fault("repetitions must be at most 10000")
        if high is not None and high < low:
            raise self._fault(f"the repetition {found[0]} is empty")
        return f"({part}){{{low},{'' if high is None else high}}}"

    def _word(self) -> str:
        found = _NAME.match(self.text, self.at)
        if found is None:
            raise self._fault("expected the name of a rule")
        self.at = found.end()
        return found[0]

    def _skip(self, what: re.Pattern[str]) -> None:
        found = what.match(self.text, self.at)
        self.at = self.at if found is None else found.end()

    def _fault(self, what: str) -> GbnfFault:
        return GbnfFault(f"{what} in line {self.text.count(chr(10), 0, self.at) + 1}")
