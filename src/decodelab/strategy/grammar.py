"""The text form of a strategy: `name`, `name=value` and `name(key=value, ...)`, joined by `|`.

A value may be a call, too: `best_of(by=reward(model=pocket-verifier))`.

`GRAMMAR` is the language of spaces of strategies, which `decodelab tune` searches: a strategy, with ranges and choices
among the values. A strategy is a text of it without either.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decodelab.core.call import Call
from decodelab.core.errors import InvalidParameter, StrategySyntaxError
from decodelab.core.stage import Written, brief, value_text

if TYPE_CHECKING:
    from lark import Lark, Token

GRAMMAR = r"""
strategy: stage ("|" stage)*
stage: STAGE                                            -> bare
     | STAGE "=" value                                  -> first
     | STAGE "(" [argument ("," argument)*] ")"         -> call
argument: PARAMETER "=" value
?value: NUMBER                                          -> number
      | NUMBER ".." NUMBER LOG?                         -> range
      | WORD                                            -> word
      | WORD "(" [argument ("," argument)*] ")"         -> value_call
      | STRING                                          -> string
      | "[" [value ("," value)*] "]"                    -> list
      | "{" [pair ("," pair)*] "}"                      -> map
      | "{" value ("," value)* "}"                      -> choices
pair: value ":" value

STAGE: NAME
PARAMETER: NAME
WORD: NAME
LOG: "log"
NAME: /[-+]?[A-Za-z_][A-Za-z0-9_]*(-[A-Za-z0-9_]+)*/
NUMBER: /[-+]?([0-9][0-9_]*(\.(?!\.)[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?(?![A-Za-z0-9_]|\.(?!\.))/
STRING: /"([^"\\]|\\.)*"|'([^'\\]|\\.)*'/s
%ignore /[ \t\n\r\f\v]+/
"""

_WORDS: dict[str, Any] = {"true": True, "false": False, "none": None, "null": None}
_DEPTH = 20
_OPEN, _CLOSE = ("LSQB", "LBRACE", "LPAR"), ("RSQB", "RBRACE", "RPAR")
_EXPECTED = (
    ("STAGE", "the name of a stage"),
    ("PARAMETER", "a parameter name"),
    ("STRING", "a value"),
    ("NUMBER", "the other end of the range"),
    ("VBAR", "'|' or the end"),
    ("RPAR", "',' or ')'"),
    ("RSQB", "',' or ']'"),
    ("COLON", "':'"),
    ("RBRACE", "',' or '}'"),
    ("EQUAL", "'=' after the parameter name"),
    ("$END", "the end"),
)
"""What an error says was expected: the first of these that the parser would take."""


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
class Range(Written):
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
            raise InvalidParameter(f"range {self}: the lower end must be below the upper; swap them, or give one value")
        if self.log and self.low <= 0:
            raise InvalidParameter(f"range {self}: a log range must start above 0, got {brief(self.low)}")

    def __str__(self) -> str:
        """As it is written."""
        return f"{value_text(self.low)}..{value_text(self.high)}{' log' if self.log else ''}"


@dataclass(frozen=True)
class Choices(Written):
    """Values of which one is taken."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        """As they are written."""
        return "{" + ", ".join(map(value_text, self.values)) + "}"


def parse_stages(text: str, *, space: bool = False) -> list[StageSpec]:
    """Read the text form of a strategy, or of a space of strategies, whose values may be `Range` and `Choices`.

    Raises:
        StrategySyntaxError: with the position and what was expected there.
        InvalidParameter: for an invalid range.

    >>> [s.name for s in parse_stages("temperature=0.8 | sample(n=4)")]
    ['temperature', 'sample']
    >>> [str(s.first) for s in parse_stages("temperature=0.5..1.5 | top_k={5, 50}", space=True)]
    ['0.5..1.5', '{5, 50}']
    """
    return _parse(text, "strategy", space)


def parse_value(text: str, *, space: bool = False) -> Any:
    """Read one value, of a strategy or of a space of strategies.

    Raises:
        StrategySyntaxError: with the position and what was expected there.
        InvalidParameter: for an invalid range.
    """
    return _parse(text, "value", space)


@functools.cache
def _lark(start: str) -> Lark:
    """The parser of a start rule, made when first needed."""
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", start=start, propagate_positions=True)


def _parse(text: str, start: str, space: bool) -> Any:
    """Parse a text token by token, so that errors can say what would have been right."""
    from lark import UnexpectedCharacters, UnexpectedToken

    parser = _lark(start).parse_interactive(text.rstrip())
    depth = 0
    try:
        for token in parser.iter_parse():
            depth += (token.type in _OPEN) - (token.type in _CLOSE)
            if depth > _DEPTH:
                raise _error(text, token.start_pos, f"at most {_DEPTH} nested brackets")
        tree = parser.resume_parse()
    except UnexpectedCharacters as error:
        raise _error(text, error.pos_in_stream, "a name, a value or one of | = ( ) [ ] { } ,") from None
    except UnexpectedToken as error:
        accepted = parser.accepts()
        expected = next(said for kind, said in _EXPECTED if kind in accepted)
        position = len(text) if error.token.type == "$END" else error.pos_in_stream
        raise _error(text, position, expected) from None
    return _Reader(text, space).read(tree)


def _error(text: str, position: int | None, expected: str) -> StrategySyntaxError:
    position = len(text) if position is None else position
    found = text[position : position + 12] or "the end"
    return StrategySyntaxError(
        f"strategy {brief(text)}: expected {expected} at character {position + 1}, got {found!r}; "
        "write it like 'temperature=0.8 | top_p=0.9 | sample(n=4)'"
    )


@dataclass(frozen=True)
class _Reader:
    """Turns the tree of one text into stages and values."""

    text: str
    space: bool

    def read(self, tree: Any) -> Any:
        """What a node stands for."""
        return getattr(self, tree.data)(*(child for child in tree.children if child is not None))

    def strategy(self, *stages: Any) -> list[StageSpec]:
        return [self.read(stage) for stage in stages]

    def bare(self, name: Token) -> StageSpec:
        return StageSpec(str(name), NOTHING, {})

    def first(self, name: Token, value: Any) -> StageSpec:
        return StageSpec(str(name), self.read(value), {})

    def call(self, name: Token, *arguments: Any) -> StageSpec:
        return StageSpec(str(name), NOTHING, self._arguments(arguments))

    def value_call(self, name: Token, *arguments: Any) -> Call:
        return Call(str(name), self._arguments(arguments))

    def _arguments(self, arguments: Sequence[Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for argument in arguments:
            key, value = argument.children
            if key in found:
                raise _error(self.text, key.start_pos, f"{str(key)!r} only once")
            found[str(key)] = self.read(value)
        return found

    def number(self, token: Token) -> int | float:
        return _number(token)

    def word(self, token: Token) -> Any:
        if token.lstrip("+-") in ("inf", "nan"):
            return float(token)
        return _WORDS.get(token, str(token))

    def string(self, token: Token) -> str:
        try:
            # A single-quoted string is the JSON string with the quotes exchanged.
            quoted = token if token[0] == '"' else '"' + token[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
            return json.loads(quoted, strict=False)
        except ValueError:
            raise _error(self.text, token.start_pos, "a string with JSON escapes") from None

    def list(self, *values: Any) -> list[Any]:
        return [self.read(value) for value in values]

    def map(self, *pairs: Any) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for pair in pairs:
            key, value = pair.children
            read = self.read(key)
            if not isinstance(read, str | int | float | None):
                raise _error(self.text, key.meta.start_pos, "a plain key")
            found[read] = self.read(value)
        return found

    def range(self, low: Token, high: Token, log: Token | None = None) -> Range:
        if not self.space:
            raise _error(self.text, low.end_pos, "one value (ranges are for decodelab tune)")
        return Range(_number(low), _number(high), log is not None)

    def choices(self, *values: Any) -> Choices:
        if not self.space:
            raise _error(self.text, values[0].meta.end_pos, "':' (choices are for decodelab tune)")
        return Choices(tuple(self.read(value) for value in values))


def _number(text: str) -> int | float:
    digits = text.replace("_", "")
    return int(digits) if re.fullmatch(r"[-+]?\d{1,4000}", digits) else float(digits)
