"""Whether a text is the beginning of a Python program."""

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
"""A number that may not be finished."""
_AFTER_NUMBER = ("and", "else", "for", "if", "in", "is", "not", "or")
_PLAIN = {quote: re.compile(rf"[^\\\n{quote}]+") for quote in "'\""}
_PLAIN_TRIPLE = {quote: re.compile(rf"[^\\{quote}]+") for quote in "'\""}
_COMMENT = re.compile(r"[^\n]*")
_BLANK = re.compile(r"[ \t\f]+")

DEEPEST_BRACKETS = 200
"""As many as CPython's tokenizer has room for."""
DEEPEST_INDENTS = 99
"""As many as CPython's tokenizer has room for, beside the first."""
LONGEST_CHECKED = 4000
"""Characters of a logical line that CPython is asked about; a longer one is held to the grammar alone."""
LONGEST_NUMBER = 5000
"""Characters of a number; CPython refuses integers of more than 4,300 digits."""
DEEPEST_CHECKED = 12
"""Brackets in brackets, likewise: on errors in deeper ones CPython's parser takes time exponential in the depth."""

_Where = Literal["indent", "code", "comment", "quote", "string", "continued"]


@dataclass(frozen=True, slots=True)
class Program:
    """What has been read of a program: a value; reading on gives another.

    Attributes:
        tables: the grammar's.
        stacks: the parser's; several where a word or a bracket has two readings, none when the text is dead.
        where: at a line's indentation, in code, in a comment, behind an opening quote, in a string, behind a backslash.
        tail: the token that may not be finished.
        columns: of a line's beginning so far, with tabs to multiples of eight and with tabs as one.
        brackets: those that are open.
        indents: the columns of the blocks that are open.
        line: the logical line so far, from its first token on; no more of it than `LONGEST_CHECKED` and a token.
        first: its first word; empty before.
        last: the last token of it, as written.
        depth: how many brackets were open at once in it.
        quote: of the string that is open, the quote, once or three times, and again for each that may close it.
        in_bytes: whether the string is one of bytes.
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
    def dead(self) -> bool:
        """Whether no program begins like this."""
        return not self.stacks or bool(self.tail and not self._tail_fits())

    @property
    def complete(self) -> bool:
        """Whether the text as it stands is a program."""
        if self.brackets or self.where in ("string", "continued") or (self.where == "quote" and len(self.quote) == 1):
            return False
        ended = self.read("\n") if self.where != "indent" else self
        if not ended.stacks or ended.where != "indent" or ended.brackets:
            return False
        stacks = ended.stacks
        for _ in ended.indents[1:]:
            stacks = self.tables.push(stacks, ["DEDENT"])
        return self.tables.complete(stacks)

    def read(self, text: str) -> Program:
        """The program after some more text."""
        if not self.stacks or not text:
            return self
        if "\0" in text:
            return replace(self, stacks=())
        after_cr = text.endswith("\r")
        if self.after_cr and text[0] == "\n":
            text = text[1:]
        return _Reader(self, text.replace("\r\n", "\n").replace("\r", "\n")).read(after_cr)

    def _tail_fits(self) -> bool:
        """Whether the token at the end can become one that the grammar has a place for."""
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
    """Whether a character stands in names, as CPython's tokenizer first sees it."""
    return character.isalnum() or character == "_" or character >= "\x80"


class _Reader:
    """Reads some text on from a program, and is forgotten."""

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
        """Read to the end of the text, or to a token that may not be finished, or until it is dead."""
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
        """Leave the rest for later: what it is shows only with more text."""
        self.waiting = True

    def _die(self) -> None:
        self.stacks = ()

    def _take(self, length: int) -> str:
        """Move on, keeping what is passed as a part of the logical line."""
        taken = self.text[self.at : self.at + length]
        self.at += length
        if len(self.line) <= LONGEST_CHECKED:
            self.line += taken
        return taken

    def _token(self, kinds: list[str], length: int) -> None:
        """A token of the logical line."""
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
                self._die()
            return
        if column > top:
            if alternative <= other or len(self.indents) > DEEPEST_INDENTS:
                self._die()
                return
            self.indents = (*self.indents, (column, alternative))
            self.stacks = self.tables.push(self.stacks, ["INDENT"])
            return
        while self.indents[-1][0] > column and self.stacks:
            self.indents = self.indents[:-1]
            self.stacks = self.tables.push(self.stacks, ["DEDENT"])
        if self.indents[-1] != (column, alternative):
            self._die()

    def _comment(self) -> None:
        """The rest of a line behind #; a line of nothing else is no logical line."""
        found = _COMMENT.match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        if self.at < len(self.text):
            self.where = "code" if self.first or self.brackets else "indent"
            if self.where == "indent":
                self.at += 1

    def _end_line(self) -> None:
        """A line end outside brackets: the logical line is whole."""
        self.at += 1
        if self.first:
            self.stacks = self.tables.push(self.stacks, ["NEWLINE"])
            if self.stacks and not _line_parses(self.line, self.first, self.last, self.depth):
                self._die()
        self.line = self.first = self.last = ""
        self.depth = 0
        self.where = "indent"

    def _continued(self) -> None:
        """Behind a backslash there is nothing but the line's end."""
        if self.text[self.at] != "\n":
            self._die()
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
        """A name, a keyword, or what stands before a string."""
        end = self.at + (self.known if self.at == 0 else 0)
        while end < len(self.text) and _is_word(self.text[end]):
            end += 1
        word = self.text[self.at : end]
        if not word.isidentifier():
            self._die()
        elif end == len(self.text):
            self._wait()
        elif self.text[end] in "'\"" and word.lower() in _PREFIXES:
            self._open(word, self.text[end])
        elif keyword.iskeyword(word):
            self._token([self.tables.literals[word]], len(word))
        else:
            self._token(["NAME", _SOFT[word]] if word in _SOFT else ["NAME"], len(word))

    def _number(self) -> None:
        """A number, which a keyword may follow without a space."""
        found = _NUMBER.match(self.text, self.at)
        end = found.end() if found is not None else self.at
        if end - self.at > LONGEST_NUMBER:
            self._die()
        elif end == len(self.text) or _BEGUN.fullmatch(self.text, self.at):
            self._wait()
        elif end == self.at or (_is_word(self.text[end]) and not self._keyword_begins(end)):
            self._die()
        else:
            self._token(["NUMBER"], end - self.at)

    def _keyword_begins(self, at: int) -> bool:
        """Whether one of the keywords that may touch a number stands there, or may come to."""
        rest = self.text[at : at + 4]
        last = at + len(rest) == len(self.text)
        return any(rest.startswith(word) or (last and word.startswith(rest)) for word in _AFTER_NUMBER)

    def _operator(self) -> None:
        """An operator or bracket, the longest there is; at the end of the text a longer one may come."""
        literals = self.tables.literals
        rest = self.text[self.at : self.at + 3]
        if self.at + len(rest) == len(self.text) and any(o.startswith(rest) and o != rest for o in literals):
            self._wait()
            return
        operator = next((rest[:n] for n in (3, 2, 1) if rest[:n] in literals), "")
        if not operator:
            self._die()
            return
        if operator in "([{":
            if len(self.brackets) == DEEPEST_BRACKETS:
                self._die()
                return
            self.brackets += operator
            self.depth = max(self.depth, len(self.brackets))
        elif operator in _PAIRS:
            if not self.brackets.endswith(_PAIRS[operator]):
                self._die()
                return
            self.brackets = self.brackets[:-1]
        self._token([literals[operator], "WITH_LPAR"] if operator == "(" else [literals[operator]], len(operator))
        # What is assigned to shows at once, unless the sign may be that of a lambda's parameter.
        assigns = self.stacks and operator in _ASSIGNS and not self.brackets and "lambda" not in self.line
        if assigns and not _line_parses(self.line + " 0", self.first, "0", self.depth):
            self._die()

    # --- strings -------------------------------------------------------------------------------------

    def _open(self, prefix: str, quote: str) -> None:
        """The beginning of a string, of which one quote is read."""
        self._token(["STRING"], len(prefix) + 1)
        self.in_bytes = "b" in prefix.lower()
        self.quote = quote
        self.escaped = False
        self.where = "quote"

    def _quote(self) -> None:
        """Behind one or two opening quotes: three make a long string, two an empty one."""
        mark = self.quote[0]
        if self.text[self.at] == mark:
            self._take(1)
            self.quote += mark
            if len(self.quote) == 3:
                self.where = "string"
        else:
            self.where = "string" if len(self.quote) == 1 else "code"

    def _string(self) -> None:
        """In a string, up to the quotes that close it."""
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
            self._die()
            return
        else:
            found = (_PLAIN_TRIPLE if long else _PLAIN)[mark].match(self.text, self.at)
            assert found is not None
            character = self._take(found.end() - self.at)
        self.quote = self.quote[: 3 if long else 1]
        if self.in_bytes and not character.isascii():
            self._die()

    def _close(self, mark: str, long: bool) -> None:
        """A quote in a string: the last, or one of three, which are counted behind the opening ones."""
        self._take(1)
        if not long or len(self.quote) == 5:
            self.where = "code"
            self.quote = ""
        else:
            self.quote += mark


def _line_parses(line: str, first: str, last: str, depth: int) -> bool:
    """Whether CPython takes a logical line in some program; it knows what the grammar leaves open.

    A header gets a body, and a clause the statement that it belongs to.
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
    except (RecursionError, MemoryError):  # too deep for CPython to tell
        return True
    return True


class Python:
    """Whether a text is the beginning of a Python program (the grammar of Python 3.11), and whether it is one.

    Tokens go through an LALR(1) automaton, which refuses a token as soon as no program has it there; a token at the
    end of the text is held to what it may still become (`i` is a name, `if`, `in`, `is` or `import`). Of `match`,
    `case` and the bracket behind `with` both readings are followed. At the end of each logical line CPython's own
    parser is asked about that line, for what is no matter of the grammar (`f() = 1`, an f-string's inside); a line of
    more than 4,000 characters or of more than 12 brackets in brackets is held to the grammar alone. What CPython
    refuses only as it compiles (`return` outside a function) passes, and a null character never does.

    Time is proportional to the text, whatever its size: each character is read once, however it is cut into tokens.

    >>> check = Python()
    >>> [check(text) for text in ("def f(x):", "def f(x):\\n    return x", "def f(x)):")]
    ['alive', 'complete', 'dead']
    """

    def begin(self) -> Program:
        """Nothing read yet."""
        tables = python_tables()
        return Program(tables, ((tables.begin, None),))

    def __call__(self, text: str) -> Verdict:
        """The verdict on a whole text."""
        program = self.begin().read(text)
        return "dead" if program.dead else "complete" if program.complete else "alive"
