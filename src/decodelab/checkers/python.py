"""Whether a text is a prefix of a Python program."""

from __future__ import annotations

import ast
import keyword
import re
import tokenize
import warnings
from dataclasses import dataclass, replace
from typing import Literal

from decodelab.checkers.tables import Stack, Tables, python_tables
from decodelab.core.protocols import Verdict

_SOFT = {"match": "MATCH", "case": "CASE"}
_PREFIXES = frozenset(["r", "u", "b", "f", "br", "rb", "fr", "rf"])
_ASSIGNS = frozenset(["=", "+=", "-=", "*=", "@=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=", "**=", "//="])
_PAIRS = {")": "(", "]": "[", "}": "{"}
_NUMBER = re.compile(tokenize.Number)
_DIGITS = r"\d(?:_?\d)*"
_BEGUN = re.compile(
    rf"0[xX](?:_?[0-9a-fA-F])*_?|0[oO](?:_?[0-7])*_?|0[bB](?:_?[01])*_?"
    rf"|(?:{_DIGITS})?\.?(?:{_DIGITS}_?)?|{_DIGITS}_?|(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})[eE][-+]?(?:{_DIGITS}_?)?"
)
"""A number that may be unfinished."""
_AFTER_NUMBER = ("and", "else", "for", "if", "in", "is", "not", "or")
_PLAIN = {quote: re.compile(rf"[^\\\n{quote}]+") for quote in "'\""}
_PLAIN_TRIPLE = {quote: re.compile(rf"[^\\{quote}]+") for quote in "'\""}
_COMMENT = re.compile(r"[^\n]*")
_BLANK = re.compile(r"[ \t\f]+")

DEEPEST_BRACKETS = 200
"""The limit of CPython's tokenizer."""
DEEPEST_INDENTS = 99
"""The limit of CPython's tokenizer, not counting the outermost level."""
LONGEST_CHECKED = 4000
"""Longest logical line, in characters, passed to CPython's parser; longer ones are checked by the grammar only."""
LONGEST_NUMBER = 5000
"""Longest number, in characters; CPython rejects integers of more than 4,300 digits."""
DEEPEST_CHECKED = 12
"""Deepest nesting passed to CPython's parser, whose time on errors is exponential in the depth."""

_Where = Literal["indent", "code", "comment", "quote", "string", "continued"]


@dataclass(frozen=True, slots=True)
class Program:
    """The part of a program read so far: an immutable value; `read` returns a new one.

    Attributes:
        tables: the grammar's LALR(1) tables.
        stacks: the parser's stacks; several where a word or bracket is ambiguous, none when the text is invalid.
        where: lexer mode: indentation, code, comment, after an opening quote, in a string, after a backslash.
        tail: the last token, which may be unfinished.
        columns: current indentation, with tabs advancing to multiples of eight and with tabs counted as one.
        brackets: the open brackets.
        indents: the columns of the open blocks.
        line: the logical line so far from its first token, at most `LONGEST_CHECKED` characters and one token.
        first: its first word; empty before there is one.
        last: its last token, as written.
        depth: the deepest bracket nesting in it.
        quote: the open string's quote, once or three times, plus one for each closing quote seen so far.
        in_bytes: whether the string is a bytes literal.
        escaped: whether the next character in the string is escaped.
        after_cr: whether the last character was a carriage return.
    """

    tables: Tables
    stacks: tuple[Stack, ...]
    where: _Where = "indent"
    tail: str = ""
    columns: tuple[int, int] = (0, 0)
    brackets: str = ""
    indents: tuple[tuple[int, int], ...] = ((0, 0),)
    line: str = ""
    first: str = ""
    last: str = ""
    depth: int = 0
    quote: str = ""
    in_bytes: bool = False
    escaped: bool = False
    after_cr: bool = False

    @property
    def invalid(self) -> bool:
        """Whether no valid program starts with this text."""
        return not self.stacks or bool(self.tail and not self._tail_fits())

    @property
    def complete(self) -> bool:
        """Whether the text is a program as it stands."""
        if self.brackets or self.where in ("string", "continued") or (self.where == "quote" and len(self.quote) == 1):
            return False
        # CPython wants something after a line continuation, be it white space.
        if self.where == "code" and not self.tail and self.line.endswith("\\\n"):
            return False
        ended = self.read("\n") if self.where != "indent" else self
        if not ended.stacks or ended.where != "indent" or ended.brackets:
            return False
        stacks = ended.stacks
        for _ in ended.indents[1:]:
            stacks = self.tables.push(stacks, ["DEDENT"])
        return self.tables.complete(stacks)

    def read(self, text: str) -> Program:
        """The program after more text."""
        if not self.stacks or not text:
            return self
        if "\0" in text:
            return replace(self, stacks=())
        after_cr = text.endswith("\r")
        if self.after_cr and text[0] == "\n":
            text = text[1:]
        return _Reader(self, text.replace("\r\n", "\n").replace("\r", "\n")).read(after_cr)

    def _tail_fits(self) -> bool:
        """Whether the token at the end can still become one that the grammar allows here."""
        return any(self.tables.push(self.stacks, [kind]) for kind in _kinds_to_come(self.tables, self.tail))


def _kinds_to_come(tables: Tables, tail: str) -> list[str]:
    """What an unfinished token can become."""
    literals = tables.literals
    if tail[:1].isdigit() or (tail[1:2].isdigit() and tail[0] == "."):
        return ["NUMBER"]
    if tail[0] == ".":
        return ["NUMBER", literals["."], literals["..."]] if tail == "." else [literals["..."], literals["."]]
    if _is_word(tail[0]):
        kinds = ["NAME", *(kind for word, kind in _SOFT.items() if word.startswith(tail))]
        kinds += [literals[word] for word in keyword.kwlist if word.startswith(tail)]
        return [*kinds, "STRING"] if any(p.startswith(tail.lower()) for p in _PREFIXES) else kinds
    kinds = [kind for operator, kind in literals.items() if operator.startswith(tail)]
    return [*kinds, "WITH_LPAR"] if tail == "(" else kinds


def _is_word(character: str) -> bool:
    """Whether CPython's tokenizer treats a character as part of a name."""
    return character.isalnum() or character == "_" or character >= "\x80"


class _Reader:
    """Reads more text from the state of a program; used once."""

    def __init__(self, program: Program, text: str) -> None:
        self.program = program
        self.tables = program.tables
        self.stacks = program.stacks
        self.where: _Where = program.where
        self.text = program.tail + text
        self.known = len(program.tail)
        self.at = 0
        self.columns, self.brackets, self.indents = program.columns, program.brackets, program.indents
        self.line, self.first, self.last, self.depth = program.line, program.first, program.last, program.depth
        self.quote, self.in_bytes, self.escaped = program.quote, program.in_bytes, program.escaped
        self.waiting = False

    def read(self, after_cr: bool) -> Program:
        """Read to the end of the text, to a token that may be unfinished, or until the text is invalid."""
        steps = {
            "indent": self._indent, "code": self._code, "comment": self._comment,
            "quote": self._quote, "string": self._string, "continued": self._continued,
        }  # fmt: skip
        while self.at < len(self.text) and self.stacks and not self.waiting:
            steps[self.where]()
        if not self.stacks:
            return replace(self.program, stacks=(), tail="")
        return Program(
            self.tables, self.stacks, self.where, self.text[self.at :], self.columns, self.brackets, self.indents,
            self.line, self.first, self.last, self.depth, self.quote, self.in_bytes, self.escaped, after_cr,
        )  # fmt: skip

    def _wait(self) -> None:
        """Stop here: what the rest is depends on later text."""
        self.waiting = True

    def _reject(self) -> None:
        self.stacks = ()

    def _take(self, length: int) -> str:
        """Advance, adding the text passed to the logical line."""
        taken = self.text[self.at : self.at + length]
        self.at += length
        if len(self.line) <= LONGEST_CHECKED:
            self.line += taken
        return taken

    def _token(self, kinds: list[str], length: int) -> None:
        """Push a token of the logical line to the parser."""
        text = self._take(length)
        self.first = self.first or text
        self.last = text
        self.stacks = self.tables.push(self.stacks, kinds)

    # --- lines ---------------------------------------------------------------------------------------

    def _indent(self) -> None:
        """White space at the beginning of a line."""
        character = self.text[self.at]
        column, alternative = self.columns
        if character == " ":
            self.columns = column + 1, alternative + 1
        elif character == "\t":
            self.columns = (column // 8 + 1) * 8, alternative + 1
        else:
            self.columns = 0, 0
        if character in " \t\f\n":
            self.at += 1
        elif character == "#":
            self.where = "comment"
        else:
            self._indented(column, alternative)
            self.where = "code"

    def _indented(self, column: int, alternative: int) -> None:
        """Open or close blocks before the first token of a line."""
        top, other = self.indents[-1]
        if column == top:
            if alternative != other:
                self._reject()
            return
        if column > top:
            if alternative <= other or len(self.indents) > DEEPEST_INDENTS:
                self._reject()
                return
            self.indents = (*self.indents, (column, alternative))
            self.stacks = self.tables.push(self.stacks, ["INDENT"])
            return
        while self.indents[-1][0] > column and self.stacks:
            self.indents = self.indents[:-1]
            self.stacks = self.tables.push(self.stacks, ["DEDENT"])
        if self.indents[-1] != (column, alternative):
            self._reject()

    def _comment(self) -> None:
        """The rest of a line after #; a line with only a comment is not a logical line."""
        found = _COMMENT.match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        if self.at < len(self.text):
            self.where = "code" if self.first or self.brackets else "indent"
            if self.where == "indent":
                self.at += 1

    def _end_line(self) -> None:
        """A line end outside brackets, which ends the logical line."""
        self.at += 1
        if self.first:
            self.stacks = self.tables.push(self.stacks, ["NEWLINE"])
            if self.stacks and not _line_parses(self.line, self.first, self.last, self.depth):
                self._reject()
        self.line = self.first = self.last = ""
        self.depth = 0
        self.where = "indent"

    def _continued(self) -> None:
        """After a backslash only a line end is allowed."""
        if self.text[self.at] != "\n":
            self._reject()
            return
        self._take(1)
        self.where = "code"

    # --- tokens --------------------------------------------------------------------------------------

    def _code(self) -> None:
        """The next token, white space or line end."""
        character = self.text[self.at]
        if character in " \t\f":
            found = _BLANK.match(self.text, self.at)
            assert found is not None
            self._take(found.end() - self.at)
        elif character == "\n":
            if self.brackets:
                self._take(1)
            else:
                self._end_line()
        elif character == "#":
            self.where = "comment"
        elif character == "\\":
            self._take(1)
            self.where = "continued"
        elif character in "'\"":
            self._open("", character)
        elif character.isascii() and character.isdigit():
            self._number()
        elif _is_word(character):
            self._word()
        elif character == ".":
            after = self.text[self.at + 1 : self.at + 2]
            if after.isascii() and after.isdigit():
                self._number()
            else:
                self._operator()
        else:
            self._operator()

    def _word(self) -> None:
        """A name, a keyword, or a string prefix."""
        end = self.at + (self.known if self.at == 0 else 0)
        while end < len(self.text) and _is_word(self.text[end]):
            end += 1
        word = self.text[self.at : end]
        if not word.isidentifier():
            self._reject()
        elif end == len(self.text):
            self._wait()
        elif self.text[end] in "'\"" and word.lower() in _PREFIXES:
            self._open(word, self.text[end])
        elif keyword.iskeyword(word):
            self._token([self.tables.literals[word]], len(word))
        else:
            self._token(["NAME", _SOFT[word]] if word in _SOFT else ["NAME"], len(word))

    def _number(self) -> None:
        """A number; a keyword may follow it without a space."""
        found = _NUMBER.match(self.text, self.at)
        end = found.end() if found is not None else self.at
        if end - self.at > LONGEST_NUMBER:
            self._reject()
        elif end == len(self.text) or _BEGUN.fullmatch(self.text, self.at):
            self._wait()
        elif end == self.at or (_is_word(self.text[end]) and not self._keyword_begins(end)):
            self._reject()
        else:
            self._token(["NUMBER"], end - self.at)

    def _keyword_begins(self, at: int) -> bool:
        """Whether a keyword that may directly follow a number starts here, or may with more text."""
        rest = self.text[at : at + 4]
        last = at + len(rest) == len(self.text)
        return any(rest.startswith(word) or (last and word.startswith(rest)) for word in _AFTER_NUMBER)

    def _operator(self) -> None:
        """The longest operator or bracket; at the end of the text more characters may extend it."""
        literals = self.tables.literals
        rest = self.text[self.at : self.at + 3]
        if self.at + len(rest) == len(self.text) and any(o.startswith(rest) and o != rest for o in literals):
            self._wait()
            return
        operator = next((rest[:n] for n in (3, 2, 1) if rest[:n] in literals), "")
        if not operator:
            self._reject()
            return
        if operator in "([{":
            if len(self.brackets) == DEEPEST_BRACKETS:
                self._reject()
                return
            self.brackets += operator
            self.depth = max(self.depth, len(self.brackets))
        elif operator in _PAIRS:
            if not self.brackets.endswith(_PAIRS[operator]):
                self._reject()
                return
            self.brackets = self.brackets[:-1]
        self._token([literals[operator], "WITH_LPAR"] if operator == "(" else [literals[operator]], len(operator))
        # The target of an assignment is complete at its sign, unless that is a lambda parameter's default.
        assigns = self.stacks and operator in _ASSIGNS and not self.brackets and "lambda" not in self.line
        if assigns and not _line_parses(self.line + " 0", self.first, "0", self.depth):
            self._reject()

    # --- strings -------------------------------------------------------------------------------------

    def _open(self, prefix: str, quote: str) -> None:
        """The start of a string: its prefix and first quote."""
        self._token(["STRING"], len(prefix) + 1)
        self.in_bytes = "b" in prefix.lower()
        self.quote = quote
        self.escaped = False
        self.where = "quote"

    def _quote(self) -> None:
        """After one or two opening quotes: three start a triple-quoted string, two are an empty string."""
        mark = self.quote[0]
        if self.text[self.at] == mark:
            self._take(1)
            self.quote += mark
            if len(self.quote) == 3:
                self.where = "string"
        else:
            self.where = "string" if len(self.quote) == 1 else "code"

    def _string(self) -> None:
        """Inside a string, up to its closing quotes."""
        mark, long = self.quote[0], len(self.quote) >= 3
        character = self.text[self.at]
        if self.escaped:
            self._take(1)
            self.escaped = False
        elif character == mark:
            self._close(mark, long)
            return
        elif character == "\\":
            self._take(1)
            self.escaped = True
            self.quote = self.quote[: 3 if long else 1]
            return
        elif character == "\n" and not long:
            self._reject()
            return
        else:
            found = (_PLAIN_TRIPLE if long else _PLAIN)[mark].match(self.text, self.at)
            assert found is not None
            character = self._take(found.end() - self.at)
        self.quote = self.quote[: 3 if long else 1]
        if self.in_bytes and not character.isascii():
            self._reject()

    def _close(self, mark: str, long: bool) -> None:
        """A quote inside a string: it closes the string, or counts towards the three that do."""
        self._take(1)
        if not long or len(self.quote) == 5:
            self.where = "code"
            self.quote = ""
        else:
            self.quote += mark


def _line_parses(line: str, first: str, last: str, depth: int) -> bool:
    """Whether CPython's parser accepts a logical line in some program; it is stricter than the grammar.

    A header is given a body, and a clause the statement it belongs to.
    """
    if len(line) > LONGEST_CHECKED or depth > DEEPEST_CHECKED:
        return True
    body = " pass" if last == ":" else ""
    readings = {
        "elif": [f"if 1: pass\n{line}{body}"],
        "else": [f"if 1: pass\n{line}{body}"],
        "except": [f"try: pass\n{line}{body}"],
        "finally": [f"try: pass\n{line}{body}"],
        "try": [f"{line}{body}\nfinally: pass"],
        "@": [f"{line}\nclass c: pass"],
        "match": [line, f"{line}\n case _: pass"],
        "case": [line, f"match 0:\n {line}{body}"],
    }
    return any(map(_parses, readings.get(first, [line + body])))


def _parses(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    except (RecursionError, MemoryError):  # nested too deeply for CPython to parse
        return True
    return True


class Python:
    """Decide whether a text is a Python 3.11 program, a prefix of one, or neither.

    Tokens go through an LALR(1) automaton, which rejects a token as soon as no program has it at that place; a token
    at the end of the text counts as everything it can still become (`i` is a name, `if`, `in`, `is` or `import`). For
    `match`, `case` and the bracket after `with`, both readings are followed. At the end of each logical line CPython's
    parser checks that line for errors that the grammar does not cover (`f() = 1`, the inside of an f-string); lines of
    more than 4,000 characters or with more than 12 nested brackets are checked by the grammar only. Code that CPython
    rejects only when compiling (`return` outside a function) passes; a null character never does.

    Time is linear in the length of the text: each character is read once, however the text is split into tokens.

    >>> check = Python()
    >>> [check(text) for text in ("def f(x):", "def f(x):\\n    return x", "def f(x)):")]
    ['prefix', 'complete', 'invalid']
    """

    def begin(self) -> Program:
        """The reading of the empty text."""
        tables = python_tables()
        return Program(tables, ((tables.begin, None),))

    def __call__(self, text: str) -> Verdict:
        """The verdict on a text."""
        program = self.begin().read(text)
        return "invalid" if program.invalid else "complete" if program.complete else "prefix"
