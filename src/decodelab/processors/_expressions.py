r"""Regular expressions: a strict reader of the regular part of Python's `re`, and writers for text and JSON strings.

Every set of characters (`\w`, `[^a-z]`, a letter under `(?i)`) is looked up in Python's `re` and written as code
points, so a grammar means exactly what `re` means. Whatever common dialects read differently is refused by name.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from typing import NoReturn

Ranges = tuple[tuple[int, int], ...]
"""Code points as (first, last), ascending."""

_MOST_BRANCHES = 200
_QUANTIFIER = re.compile(r"\{(\d*)(?:(,)(\d*))?\}")
_FLAGS = re.compile(r"\(\?([a-zA-Z]*)(?:-([a-zA-Z]+))?([:)])")
_NAMED = re.compile(r"\(\?P<[A-Za-z_][A-Za-z0-9_]*>")
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_HEX = {"x": 2, "u": 4, "U": 8}
_SET_OPERATORS = ("&&", "--", "~~", "||")


class ExpressionFault(ValueError):
    """What is wrong with an expression, and at which character (counted from 1)."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__(what)
        self.what = what
        self.at = at


@dataclass(frozen=True)
class Characters:
    """One character of a set."""

    ranges: Ranges


@dataclass(frozen=True)
class Anchor:
    """The start or the end of the text, or the place before a line end that ends it; `at` is its place."""

    end: bool
    at: int
    newline: bool = False


@dataclass(frozen=True)
class Several:
    """Parts one after another."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Either:
    """One of several options; none matches nothing."""

    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """A part at least `low` and at most `high` times."""

    part: Node
    low: int
    high: int | None


Node = Characters | Anchor | Several | Either | Repeat

ANY_CHARACTER = Characters(((0, 0xD7FF), (0xE000, 0x10FFFF)))
ANY_TEXT = Repeat(ANY_CHARACTER, 0, None)
_LINE_END = Repeat(Characters(((10, 10),)), 0, 1)


def exactly(text: str) -> Node:
    """The expression that matches one text."""
    return Several(tuple(Characters(((ord(c), ord(c)),)) for c in text))


def read(pattern: str) -> Node:
    """The expression that a pattern is.

    Raises:
        ExpressionFault: if it is none, or has a part that is not regular or not read alike everywhere.
    """
    node = _Reader(pattern).whole()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(pattern)
    except (re.error, Warning, OverflowError, RecursionError) as error:
        at = getattr(error, "pos", None) or 0
        raise ExpressionFault(getattr(error, "msg", str(error)), at + 1) from None
    return node


def in_full(pattern: str) -> Node:
    """The texts that a pattern matches in full: `re.fullmatch`.

    Raises:
        ExpressionFault: as `read`, and if an anchor stands inside.
    """
    return Either(tuple(body for _, body, _, _ in _branches(read(pattern))))


def unanchored(pattern: str) -> Node:
    """The texts that a pattern matches where it is a part of something longer.

    Raises:
        ExpressionFault: as `read`, and if it has an anchor.
    """
    node = read(pattern)
    for at in _anchors(node):
        raise ExpressionFault("an anchor in a terminal, which is always matched in full; leave it out", at + 1)
    return node


def found_in(pattern: str, *, before_newline: bool = False) -> Node:
    """The texts in which a pattern is found: `re.search`.

    Args:
        pattern: the pattern.
        before_newline: whether `$` also matches before a line end that ends the text, as in Python but not elsewhere.

    Raises:
        ExpressionFault: as `in_full`.
    """
    options = []
    for start, body, end, newline in _branches(read(pattern)):
        after = [] if end and not newline else [_LINE_END] if end and before_newline else [] if end else [ANY_TEXT]
        options.append(Several((*(() if start else (ANY_TEXT,)), body, *after)))
    return Either(tuple(options))


def alternatives(pattern: str) -> list[tuple[bool, Node]]:
    """The expressions that a pattern has as alternatives, each with whether it is held to the start of the text.

    Raises:
        ExpressionFault: as `in_full`, and if one is held to the end of the text.
    """
    node = read(pattern)
    found = _branches(node)
    if any(end for _, _, end, _ in found):
        last = max(_anchors(node)) + 1
        raise ExpressionFault("an anchor for the end of a text, which is not known before it; leave it out", last)
    return [(start, body) for start, body, _, _ in found]


class _Reader:
    """A recursive-descent reader."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.flags = ""
        self.depth = 0

    def fault(self, what: str, at: int | None = None) -> NoReturn:
        raise ExpressionFault(what, (self.at if at is None else at) + 1)

    def next(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def whole(self) -> Node:
        found = _FLAGS.match(self.pattern)
        if found and found[3] == ")":
            self.set_flags(found)
        node = self.either()
        if self.next() == ")":
            self.fault("unopened group")
        return node

    def set_flags(self, found: re.Match[str]) -> None:
        for letter in (found[1] or "") + (found[2] or ""):
            if letter not in "isau":
                self.fault(f"the flag {letter} is not supported; i, s and a are", found.start())
        if not found[1] and not found[2] and found[3] == ")":
            self.fault("flags without a letter", found.start())
        self.flags = "".join(sorted((set(self.flags) | set(found[1])) - set(found[2] or "") - {"u"}))
        self.at = found.end()

    def either(self) -> Node:
        options = [self.several()]
        while self.next() == "|":
            self.at += 1
            options.append(self.several())
        return options[0] if len(options) == 1 else Either(tuple(options))

    def several(self) -> Node:
        parts = []
        while self.next() not in ("", "|", ")"):
            parts.append(self.repeated())
        return parts[0] if len(parts) == 1 else Several(tuple(parts))

    def repeated(self) -> Node:
        start = self.at
        part = self.atom()
        found = _QUANTIFIER.match(self.pattern, self.at)
        sign = self.next()
        if found and (found[1] or found[2]):
            low = int(found[1] or 0)
            high = (int(found[3]) if found[3] else None) if found[2] else low
            end = found.end()
        elif sign and sign in "*+?":
            low, high, end = int(sign == "+"), 1 if sign == "?" else None, self.at + 1
        else:
            return part
        if isinstance(part, Anchor):
            self.fault("an anchor cannot be repeated", start)
        if high is not None and high < low:
            self.fault("the repetition's minimum is above its maximum")
        self.at = end
        if self.next() == "?":  # lazy: the same texts
            self.at += 1
        elif self.next() == "+":
            self.fault("possessive quantifiers are not regular; leave out the +")
        if self.next() and (self.next() in "*+?" or (self.next() == "{" and _QUANTIFIER.match(self.pattern, self.at))):
            self.fault("a quantifier after a quantifier; put the first in a group, (?:...)")
        return Repeat(part, low, high)

    def atom(self) -> Node:
        at, character = self.at, self.next()
        if character == "(":
            return self.group()
        if character == "[":
            return self.set()
        if character == "\\":
            return self.escape()
        self.at += 1
        if character == ".":
            return Characters(_matched(".", self.flags))
        if character in "^$":
            return Anchor(character == "$", at, newline=character == "$")
        if character in "*+?":
            self.fault("nothing to repeat", at)
        if character == "{":
            self.fault(r"a brace that is no quantifier; write \{", at)
        return Characters(_spelt(character, self.flags))

    def group(self) -> Node:
        start, flags = self.at, self.flags
        text = self.pattern[start:]
        self.depth += 1
        if self.depth > 100:
            self.fault("groups are nested more than 100 deep")
        if text.startswith(("(?=", "(?!", "(?<=", "(?<!")):
            self.fault("look-around, including look-ahead and look-behind, is not supported")
        if not text.startswith("(?"):
            self.at += 1
        elif text.startswith("(?:"):
            self.at += 3
        elif named := _NAMED.match(self.pattern, start):
            self.at = named.end()
        elif (found := _FLAGS.match(self.pattern, start)) and found[3] == ":":
            self.set_flags(found)
        elif found:
            self.fault("flags inside the expression; put them at its start, or write (?i:...)")
        elif text.startswith("(?>"):
            self.fault("atomic groups are not regular; write (?:...)")
        elif text.startswith("(?P="):
            self.fault("backreferences are not regular")
        elif text.startswith("(?<"):
            self.fault("a named group is written (?P<name>...)")
        else:
            self.fault("this kind of group is not supported")
        node = self.either()
        if self.next() != ")":
            self.fault("unclosed group", start)
        self.at += 1
        self.depth -= 1
        self.flags = flags
        return node

    def set(self) -> Node:
        start = self.at
        self.at += 1
        if self.next() == "^":
            self.at += 1
        if self.next() == "]":
            self.fault(r"a set that is empty or begins with ]; write \]")
        while self.next() != "]":
            if not self.next():
                self.fault("unclosed set", start)
            if self.next() == "[":
                self.fault(r"[ in a set, which some read as a nested set or a POSIX class; write \[")
            if self.pattern.startswith(_SET_OPERATORS, self.at):
                self.fault(f"{self.pattern[self.at : self.at + 2]} in a set, which some read as an operator; escape it")
            if self.next() == "\\":
                if isinstance(self.escape(), Anchor):
                    self.fault("this escape has no meaning in a set", self.at - 2)
            else:
                self.at += 1
        self.at += 1
        try:
            return Characters(_matched(self.pattern[start : self.at], self.flags))
        except (re.error, Warning) as error:
            self.fault(getattr(error, "msg", str(error)), start + (getattr(error, "pos", None) or 4) - 4)

    def escape(self) -> Node:
        start = self.at
        letter = self.pattern[start + 1 : start + 2]
        self.at += 2
        if not letter:
            self.fault(r"the expression ends in a backslash; write \\ for a backslash", start)
        if letter in "dDwWsS":
            return Characters(_matched(f"\\{letter}", self.flags))
        if letter in "AZ":
            return Anchor(letter == "Z", start)
        if letter in "bB":
            self.fault("word boundaries are not supported", start)
        if letter.isdigit():
            self.fault(r"a backreference or an octal escape, which is not supported; write a character as \x0a", start)
        if letter in _CONTROLS:
            return Characters(_spelt(_CONTROLS[letter], self.flags))
        if letter in _HEX:
            digits = self.pattern[self.at : self.at + _HEX[letter]]
            if not re.fullmatch(f"[0-9a-fA-F]{{{_HEX[letter]}}}", digits):
                self.fault(f"\\{letter} takes {_HEX[letter]} hexadecimal digits", start)
            code = int(digits, 16)
            if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                self.fault(f"\\{letter}{digits} is no character", start)
            self.at += len(digits)
            return Characters(_spelt(chr(code), self.flags))
        if letter.isalnum() or not letter.isascii() or not letter.isprintable():
            self.fault(f"\\ before {letter!r} has no meaning; leave the backslash out", start)
        return Characters(_spelt(letter, self.flags))


@cache
def _every() -> str:
    """All characters in order, without surrogates."""
    return "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))


@cache
def _cased() -> str:
    """The characters that have another case; there are none in the higher planes."""
    return "".join(c for c in _every()[:0x20000] if c.lower() != c or c.upper() != c)


@lru_cache(maxsize=256)
def _matched(part: str, flags: str) -> Ranges:
    """The characters that a part of a pattern matches, by Python's `re`."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pattern = re.compile(f"(?{flags}:{part})+" if flags else f"(?:{part})+")
    spans = ((_code(m.start()), _code(m.end() - 1)) for m in pattern.finditer(_every()))
    return tuple(piece for span in spans for piece in _whole(*span))


def _whole(first: int, last: int) -> tuple[tuple[int, int], ...]:
    """A range without the surrogates in it."""
    if first < 0xD800 and last > 0xDFFF:
        return ((first, 0xD7FF), (0xE000, last))
    return ((first, last),)


def _code(index: int) -> int:
    return index if index < 0xD800 else index + 0x800


@lru_cache(maxsize=1024)
def _spelt(character: str, flags: str) -> Ranges:
    """One character and, where case does not matter, those that are the same but for case."""
    found = {character}
    if "i" in flags:
        found.update(re.findall(f"(?{flags}:{re.escape(character)})", _cased()))
    return tuple((ord(c), ord(c)) for c in sorted(found))


def _branches(node: Node) -> list[tuple[bool, Node, bool, bool]]:
    """Alternatives without anchors: whether each is held to the start; its body; whether to the end, or by `$` only."""
    return [_trimmed(parts) for parts in _spread(node)]


def _spread(node: Node) -> list[tuple[Node, ...]]:
    """Alternatives as sequences, spread out as far as anchors are in them."""
    if not _anchored(node):
        return [(node,)]
    found: list[tuple[Node, ...]] = []
    if isinstance(node, Either):
        found = [parts for option in node.options for parts in _spread(option)]
    elif isinstance(node, Several):
        for chosen in product(*map(_spread, node.parts)):
            found.append(tuple(part for parts in chosen for part in parts))
            if len(found) > _MOST_BRANCHES:
                break
    elif isinstance(node, Repeat):
        raise ExpressionFault("an anchor in a repeated group; put it at the start or the end", _first_anchor(node) + 1)
    else:
        found = [(node,)]
    if len(found) > _MOST_BRANCHES:
        raise ExpressionFault("anchors in too many alternatives; put them around a group", _first_anchor(node) + 1)
    return found


def _trimmed(parts: tuple[Node, ...]) -> tuple[bool, Node, bool, bool]:
    start = end = False
    newline = True
    while parts and isinstance(parts[0], Anchor) and not parts[0].end:
        start, parts = True, parts[1:]
    while parts and isinstance(parts[-1], Anchor) and parts[-1].end:
        end, newline, parts = True, newline and parts[-1].newline, parts[:-1]
    for part in parts:
        if isinstance(part, Anchor):
            where = "the end" if part.end else "the start"
            raise ExpressionFault(f"an anchor for {where} of the text inside the expression", part.at + 1)
    return start, Several(parts), end, newline


def _anchored(node: Node) -> bool:
    return next(_anchors(node), None) is not None


def _first_anchor(node: Node) -> int:
    return next(_anchors(node))


def _anchors(node: Node) -> Iterator[int]:
    if isinstance(node, Anchor):
        yield node.at
    elif isinstance(node, Several):
        for part in node.parts:
            yield from _anchors(part)
    elif isinstance(node, Either):
        for option in node.options:
            yield from _anchors(option)
    elif isinstance(node, Repeat):
        yield from _anchors(node.part)


# --- writing ------------------------------------------------------------------------------------


def plainly(node: Node) -> str:
    """The expression in Rust's syntax, in printable ASCII without a slash."""
    return _written(node, _set)


def as_json(node: Node) -> str:
    """The expression of the JSON strings whose value it matches, without quotes, each spelt in one way.

    Characters stand for themselves; only quotes, backslashes and control characters are escaped, the latter by their
    short form where there is one.
    """
    return _written(node, _json_set)


def _written(node: Node, write: Callable[[Ranges], str]) -> str:
    if isinstance(node, Characters):
        return write(node.ranges)
    if isinstance(node, Several):
        return "".join(f"(?:{_written(p, write)})" if isinstance(p, Either) else _written(p, write) for p in node.parts)
    if isinstance(node, Either):
        return "|".join(_written(option, write) for option in node.options) if node.options else _set(())
    if isinstance(node, Repeat):
        low, high = node.low, node.high
        bounds = "*" if (low, high) == (0, None) else f"{{{low},{'' if high is None else high}}}"
        return f"(?:{_written(node.part, write)}){bounds}"
    raise AssertionError(node)


def _character(code: int) -> str:
    return chr(code) if code < 128 and chr(code).isalnum() else f"\\x{{{code:x}}}"


def _set(ranges: Ranges) -> str:
    if not ranges:
        return r"[^\x{0}-\x{10ffff}]"
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return _character(ranges[0][0])
    return "[" + "".join(_character(a) if a == b else f"{_character(a)}-{_character(b)}" for a, b in ranges) + "]"


_SHORT = {0x22: '"', 0x5C: "\\", 8: "b", 9: "t", 10: "n", 12: "f", 13: "r"}


def _json_set(ranges: Ranges) -> str:
    raw: list[tuple[int, int]] = []
    for first, last in ranges:
        for low, high in ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x10FFFF)):
            if max(first, low) <= min(last, high):
                raw.append((max(first, low), min(last, high)))
    written = [_set(tuple(raw))] if raw else []
    special = [c for c in (*range(0x20), 0x22, 0x5C) if any(a <= c <= b for a, b in ranges)]
    if short := [c for c in special if c in _SHORT]:
        written.append(r"\x{5c}" + _set(tuple((ord(_SHORT[c]), ord(_SHORT[c])) for c in short)))
    for high in (0, 1):
        low = [c % 16 for c in special if c // 16 == high and c not in _SHORT]
        if low:
            digits = "".join(f"{d:x}" if d < 10 else f"{d:x}{d:X}" for d in low)
            written.append(rf"\x{{5c}}u00{high}[{digits}]")
    if not written:
        return _set(())
    return written[0] if len(written) == 1 else f"(?:{'|'.join(written)})"
