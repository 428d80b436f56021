"""Python functions in whatever a model wrote: blocks of code, prose around them, several versions."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_OPENING = re.compile(r"^(?P<before>[ \t>]{0,20}(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?)(?P<fence>`{3,}|~{3,})[^\n`]{0,60}$")
FENCE = re.compile(r"^[ \t>]{0,20}(?:`{3,}|~{3,})", re.MULTILINE)
_MOST_PARSED = 2_000
"""Texts that are parsed for an answer, so that no text costs more."""
_LONGEST_REACH = 30
"""Pieces that one statement may have whose later lines are not indented, as in a text in triple quotes."""
_UNFINISHED = ("never closed", "unterminated triple", "expected", "EOF")
_CONTINUES = re.compile(r"[)\]}]|(?:else|elif|except|finally)\b")
_STARTS = re.compile(r"(?:async[ \t]+)?def[ \t]|class[ \t]|@|import[ \t]|from[ \t]")


@dataclass(frozen=True)
class _Statement:
    """A statement at the top of a program.

    Attributes:
        node: as parsed.
        source: its lines, decorators included.
    """

    node: ast.stmt
    source: str

    @property
    def imports(self) -> bool:
        """Whether it imports, perhaps in a try."""
        return any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(self.node)) and not isinstance(
            self.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        )

    @property
    def future(self) -> bool:
        """Whether it has to be the first of a program."""
        return isinstance(self.node, ast.ImportFrom) and self.node.module == "__future__"

    @property
    def binds(self) -> frozenset[str]:
        """The names that it gives a value to."""
        node = self.node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return frozenset((node.name,))
        if isinstance(node, ast.Expr | ast.Assert | ast.For | ast.While) or _is_main(node):
            return frozenset()
        return frozenset(_bound(node))

    @property
    def adds(self) -> bool:
        """Whether it changes what a name has already, rather than giving it anew."""
        if isinstance(self.node, ast.AugAssign):
            return True
        return isinstance(self.node, ast.Assign) and not any(
            isinstance(t, ast.Name | ast.Tuple) for t in self.node.targets
        )

    @property
    def stub(self) -> bool:
        """Whether it is a function without a body yet."""
        body = getattr(self.node, "body", None)
        return isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef) and all(
            isinstance(part, ast.Pass | ast.Import | ast.ImportFrom)
            or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
            for part in body or ()
        )


def blocks_of(text: str) -> list[str]:
    """The blocks of code of a text, between fences of ``` or ~~~, without the indentation that they share.

    >>> blocks_of("1. So:\\n   ~~~python\\n   x = 1\\n   ~~~\\n```\\ny = 2")
    ['x = 1', 'y = 2']
    """
    found: list[str] = []
    fence, quoted, lines = "", False, []
    for line in text.split("\n"):
        if not fence:
            opening = _OPENING.match(line)
            if opening:
                fence, quoted, lines = opening["fence"], ">" in opening["before"], []
            continue
        bare = re.sub(r"^[ \t]{0,3}>[ \t]?", "", line) if quoted else line
        closing = bare.strip()
        if len(closing) >= len(fence) and not closing.strip(fence[0]):
            found.append(_without_margin(lines))
            fence = ""
        else:
            lines.append(bare)
    return [*found, _without_margin(lines)] if fence else found


def _without_margin(lines: Sequence[str]) -> str:
    """Lines without the white space that all begin with; unlike textwrap.dedent it leaves blank lines in strings."""
    margin = min((line[: len(line) - len(line.lstrip())] for line in lines if line.strip()), key=len, default="")
    return "\n".join(line.removeprefix(margin) for line in lines)


def whole_function(text: str, name: str) -> str | None:
    """The definitions of an answer that a function needs, itself included, or None if the answer does not define it.

    All imports are kept, and of functions, classes and values those that the function reaches, the last definition of
    each; calls, tests and prose are left out. Of blocks of code all are looked at, so that a helper may stand in an
    earlier one and a correction in a later. `from __future__` comes first.

    Source: as the sanitiser of EvalPlus (Liu et al. 2023), whose parser is tree-sitter.

    >>> print(whole_function("So:\\n\\ndef f(x):\\n    return 2 * x\\n\\nIt doubles x.\\nprint(f(1))", "f"))
    def f(x):
        return 2 * x
    """
    parser = _Parser()
    blocks = blocks_of(text)
    found = [statement for block in blocks for statement in parser.statements(block)]
    if not any(name in statement.binds for statement in found):
        found = list(parser.statements(_dedented(text, name))) if not blocks else []
    return _needed(found, name)


def after_future(program: str) -> str:
    """A program with its imports from `__future__` in front, where alone they may stand.

    >>> print(after_future("import re\\nfrom __future__ import annotations\\n"), end="")
    from __future__ import annotations
    import re
    """
    lines = program.split("\n")
    future = [line for line in lines if line.startswith("from __future__ import ")]
    return "\n".join([*dict.fromkeys(future), *(line for line in lines if line not in future)]) if future else program


def _dedented(text: str, name: str) -> str:
    """A text without fences whose code is perhaps indented as a whole, from where the function is defined."""
    define = re.search(rf"^([ \t]*)(?:async[ \t]+)?def[ \t]+{re.escape(name)}\b", text, re.MULTILINE)
    if define is None or not define[1]:
        return text
    first = text.lstrip("\n").split("\n")[0]
    if first[:1].isspace() and not _STARTS.match(first.strip()):
        return text  # a body, in which a function of this name is defined
    return "\n".join(line.removeprefix(define[1]) for line in text.split("\n"))


class _Parser:
    """Parses pieces of texts, with a bound on how many."""

    def __init__(self) -> None:
        self.left = _MOST_PARSED

    def statements(self, text: str) -> list[_Statement]:
        """The statements of a text; what is no Python is passed over."""
        whole = self._parse(text)
        return whole if isinstance(whole, list) else list(self._pieces(text.split("\n")))

    def _pieces(self, lines: Sequence[str]) -> Iterator[_Statement]:
        """The statements among lines of which some are no Python."""
        starts = [number for number, line in enumerate(lines) if line[:1].strip()]
        ends = [*starts[1:], len(lines)]
        piece = 0
        while piece < len(starts) and self.left > 0:
            reach = piece
            while True:
                found = self._parse("\n".join(lines[starts[piece] : ends[reach]]))
                if isinstance(found, list) or reach + 1 >= len(starts) or reach - piece >= _LONGEST_REACH:
                    break
                goes_on = _CONTINUES.match(lines[starts[reach + 1]]) or lines[starts[piece]].startswith("@")
                if not goes_on and not any(mark in found for mark in _UNFINISHED):
                    break
                reach += 1
            if isinstance(found, list):
                yield from found
                piece = reach + 1
                continue
            if _STARTS.match(lines[starts[piece]]):
                yield from self._shortened(lines[starts[piece] : ends[piece]])
            piece += 1

    def _shortened(self, lines: Sequence[str]) -> list[_Statement]:
        """A definition whose last lines are cut off in their midst, without these."""
        for end in range(len(lines) - 1, max(1, len(lines) - _LONGEST_REACH), -1):
            found = self._parse("\n".join(lines[:end]))
            if isinstance(found, list):
                return found
        return []

    def _parse(self, source: str) -> list[_Statement] | str:
        """The statements of a source, or why it has none."""
        self.left -= 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                body = ast.parse(source).body
        except SyntaxError as error:
            return error.msg
        except (ValueError, RecursionError, MemoryError):
            return "not Python"
        lines = source.split("\n")
        return [_Statement(node, _source(node, lines)) for node in body]


def _source(node: ast.stmt, lines: Sequence[str]) -> str:
    """The lines of a statement, its decorators included; what imports from __future__ in one line."""
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return ast.unparse(node)
    decorators = getattr(node, "decorator_list", ())
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    return "\n".join(lines[first - 1 : node.end_lineno])


def _bound(node: ast.stmt) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id
        elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield part.name
        elif isinstance(part, ast.Attribute | ast.Subscript) and isinstance(part.ctx, ast.Store):
            yield from (each.id for each in ast.walk(part.value) if isinstance(each, ast.Name))


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and any(
        isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test)
    )


def _needed(statements: Sequence[_Statement], name: str) -> str | None:
    """The source of a function and of what it needs, in their order."""
    given: dict[str, list[int]] = {}
    for number, statement in enumerate(statements):
        for bound in statement.binds:
            places = given.setdefault(bound, [])
            whole = [place for place in places if not statements[place].stub]
            if statement.adds or not places:
                places.append(number)
            elif not statement.stub or not whole:
                given[bound] = [number]
    if name not in given or all(statements[place].stub for place in given[name]):
        return None
    kept: set[int] = {number for number, statement in enumerate(statements) if statement.imports}
    wanted = [name]
    seen = {name}
    while wanted:
        for place in given.get(wanted.pop(), ()):
            kept.add(place)
            used = {part.id for part in ast.walk(statements[place].node) if isinstance(part, ast.Name)}
            wanted += used - seen
            seen |= used
    order = sorted(kept, key=lambda number: (not statements[number].future, number))
    return "\n".join(dict.fromkeys(statements[number].source for number in order))
