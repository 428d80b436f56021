"""The text form of a strategy: `name`, `name=value` and `name(key=value, ...)`, joined by `|`.

strategy := stage ("|" stage)*
stage    := word | word "=" value | word "(" [argument ("," argument)*] ")"
argument := word "=" value
value    := number | "true" | "false" | "none" | word | string | list | map
string   := JSON string, or the same in single quotes
    list     := "[" [value ("," value)*] "]"
    map      := "{" [value ":" value ("," value ":" value)*] "}"

A space of strategies is the same with more to choose from:

value    := ... | number ".." number ["log"] | "{" value ("," value)* "}"
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from decodelab.core.errors import InvalidParameter, StrategySyntaxError
from decodelab.core.stage import brief, value_text

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[-+]?(?:\d[\d_]*(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?!\w|\.(?!\.)))
    |(?P<word>[-+]?[A-Za-z_]\w*(?:-\w+)*)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<mark>\.\.|[|=(),\[\]{}:]))""",
    re.VERBOSE | re.ASCII,
)
_WORDS: dict[str, Any] = {"true": True, "false": False, "none": None, "null": None}
_DEPTH = 20


def _number(text: str) -> int | float:
    digits = text.replace("_", "")
    return int(digits) if re.fullmatch(r"[-+]?\d{1,4000}", digits) else float(digits)


@dataclass(frozen=True)
class StageSpec:
    """A stage as written: its name, a value given with `=` (or `NOTHING`), and named arguments."""

    name: str
    first: Any
    arguments: dict[str, Any]


class Nothing:
    """Marks that no value was given with `=`."""


NOTHING = Nothing()


@dataclass(frozen=True)
class Range:
    """All numbers from one to another, both included.

    Attributes:
        low, high: the ends.
        log: whether numbers are spread evenly over their logarithms.

    Raises:
        InvalidParameter: for ends that are not finite, or not in order, or a logarithm of 0.

    >>> str(Range(0.1, 10, log=True))
    '0.1..10 log'
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        """Check the ends."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InvalidParameter(
                f"range {self}: the first end must be below the second; exchange them, or give one value"
            )
        if self.log and self.low <= 0:
            raise InvalidParameter(f"range {self}: a log range must begin above 0, got {brief(self.low)}")

    def __str__(self) -> str:
        """As it is written."""
        return f"{value_text(self.low)}..{value_text(self.high)}{' log' if self.log else ''}"


@dataclass(frozen=True)
class Choices:
    """Values of which one is taken."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        """As they are written."""
        return "{" + ", ".join(map(value_text, self.values)) + "}"


def parse_stages(text: str, *, space: bool = False) -> list[StageSpec]:
    """Read the text form of a strategy, or of a space of strategies, whose values may be `Range` and `Choices`.

    Raises:
        StrategySyntaxError: with the position and what was expected there.
        InvalidParameter: for a range that is none.

    >>> [s.name for s in parse_stages("temperature=0.8 | sample(n=4)")]
    ['temperature', 'sample']
    >>> [str(s.first) for s in parse_stages("temperature=0.5..1.5 | top_k={5, 50}", space=True)]
    ['0.5..1.5', '{5, 50}']
    """
    return _Parser(text, space).strategy()


def parse_value(text: str, *, space: bool = False) -> Any:
    """Read one value, of a strategy or of a space of them.

    Raises:
        StrategySyntaxError: with the position and what was expected there.
        InvalidParameter: for a range that is none.
    """
    return _Parser(text, space).only_value()


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str, space: bool = False) -> None:
        self.text = text
        self.space = space
        self.tokens: list[tuple[str, str, int]] = []
        end, last = 0, len(text.rstrip())
        while end < last:
            found = _TOKEN.match(text, end)
            if found is None:
                start = len(text) - len(text[end:].lstrip())
                self._fail(start, "a name, a value or one of | = ( ) [ ] { } ,")
            kind = str(found.lastgroup)
            self.tokens.append((kind, found[kind], found.start(kind)))
            end = found.end()
        self.tokens.append(("end", "", len(text)))
        self.at = 0

    def _fail(self, position: int, expected: str) -> NoReturn:
        found = self.text[position : position + 12] or "the end"
        raise StrategySyntaxError(
            f"strategy {brief(self.text)}: expected {expected} at character {position + 1}, got {found!r}; "
            "write it like 'temperature=0.8 | top_p=0.9 | sample(n=4)'"
        )

    def _next(self, *wanted: str, expected: str) -> str:
        """Consume a token that is one of the marks, or of the kind `word`, `number` or `string`."""
        kind, text, position = self.tokens[self.at]
        if kind in wanted or (kind == "mark" and text in wanted):
            self.at += 1
            return text
        self._fail(position, expected)

    def _peek(self, mark: str) -> bool:
        return self.tokens[self.at][:2] == ("mark", mark)

    def strategy(self) -> list[StageSpec]:
        specs = [self.stage()]
        while self._peek("|"):
            self.at += 1
            specs.append(self.stage())
        self._end("'|' or the end")
        return specs

    def only_value(self) -> Any:
        found = self.value(0)
        self._end("the end")
        return found

    def _end(self, expected: str) -> None:
        if self.tokens[self.at][0] != "end":
            self._fail(self.tokens[self.at][2], expected)

    def stage(self) -> StageSpec:
        name = self._next("word", expected="the name of a stage")
        if self._peek("="):
            self.at += 1
            return StageSpec(name, self.value(0), {})
        arguments: dict[str, Any] = {}
        if self._peek("("):
            self.at += 1
            while not self._peek(")"):
                if arguments:
                    self._next(",", expected="',' or ')'")
                position = self.tokens[self.at][2]
                key = self._next("word", expected="a parameter name")
                if key in arguments:
                    self._fail(position, f"{key!r} only once")
                self._next("=", expected="'=' after the parameter name")
                arguments[key] = self.value(0)
            self.at += 1
        return StageSpec(name, NOTHING, arguments)

    def value(self, depth: int) -> Any:
        kind, text, position = self.tokens[self.at]
        if depth > _DEPTH:
            self._fail(position, f"at most {_DEPTH} nested lists")
        self.at += 1
        if kind == "number":
            return self._range(_number(text)) if self._peek("..") else _number(text)
        if kind == "word":
            if text.lstrip("+-") in ("inf", "nan"):
                return float(text)
            return _WORDS.get(text, text)
        if kind == "string":
            try:
                # A single-quoted string is the JSON string with the quotes exchanged.
                inner = text if text[0] == '"' else '"' + text[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
                return json.loads(inner, strict=False)
            except ValueError:
                self._fail(position, "a string with JSON escapes")
        if (kind, text) == ("mark", "["):
            return self._items("]", lambda: self.value(depth + 1))
        if (kind, text) == ("mark", "{"):
            return self._choices(depth + 1) if self.space else dict(self._items("}", lambda: self._pair(depth + 1)))
        self._fail(position, "a value")

    def _range(self, low: float) -> Range:
        if not self.space:
            self._fail(self.tokens[self.at][2], "one value (ranges are for decodelab tune)")
        self.at += 1
        high = _number(self._next("number", expected="the other end of the range"))
        log = self.tokens[self.at][:2] == ("word", "log")
        self.at += log
        return Range(low, high, log)

    def _choices(self, depth: int) -> Choices | dict[Any, Any]:
        """What stands between braces: choices, or a map as in a strategy."""
        start = self.at
        if not self._peek("}"):
            self.value(depth)
        is_map = self._peek(":") or (self._peek("}") and self.at == start)
        self.at = start
        if is_map:
            return dict(self._items("}", lambda: self._pair(depth)))
        return Choices(tuple(self._items("}", lambda: self.value(depth))))

    def _pair(self, depth: int) -> tuple[Any, Any]:
        key = self.value(depth)
        if isinstance(key, list | dict):
            self._fail(self.tokens[self.at][2], "a plain key")
        self._next(":", expected="':'")
        return key, self.value(depth)

    def _items(self, close: str, read: Any) -> list[Any]:
        items: list[Any] = []
        while not self._peek(close):
            if items:
                self._next(",", expected=f"',' or {close!r}")
            items.append(read())
        self.at += 1
        return items
