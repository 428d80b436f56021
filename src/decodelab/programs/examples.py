"""The function that a prompt asks for, and the examples of it that the prompt shows."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from decodelab.programs.code_answers import blocks_of

_DEFINES = re.compile(r"^(?:async[ \t]+)?def[ \t]+([^\W\d]\w*)[ \t]*\(", re.MULTILINE)
_GIVES = re.compile(r"\s*(?:==|=>|->|\u279e|\u2192|\u21d2|#\s*=>|returns|should return|should equal)\s*")
_PROMPT = re.compile(r"^[ \t]*(?:[rRuU]?(?:\"\"\"|''')[ \t]*)?>>> ?(.*)$")
_MORE = re.compile(r"^[ \t]*\.\.\. ?(.*)$")
_ENDS = re.compile(r"^[ \t]*(?:\"\"\"|'''|>>>|```|$)")
_LONGEST_LINE = 1_000
MOST = 100
"""Examples that are looked at."""
_MOST_TRIED = 200
"""Places in a prompt that may say what a call gives and are parsed, so that no prompt costs more."""


@dataclass(frozen=True)
class Asked:
    """A function that a prompt begins.

    Attributes:
        code: the prompt's source, up to where it is to go on.
        name: of the function.
    """

    code: str
    name: str

    @property
    def before(self) -> str:
        """What precedes the function: imports and helpers."""
        return self.code[: [found.start() for found in _DEFINES.finditer(self.code) if found[1] == self.name][-1]]


@dataclass(frozen=True)
class Case:
    """A call of a function, and what it should give.

    Attributes:
        call: an expression that calls the function.
        expected: an expression, or what is printed for the value; None where the output is only compared with others'.
        setup: statements that come before it.
    """

    call: str
    expected: str | None = None
    setup: str = ""


def asked_function(prompt: str) -> Asked | None:
    r"""The last function that a prompt begins, in its last block of code that begins one, or else anywhere.

    >>> asked_function("import re\n\ndef f(x):\n"), asked_function("What is 2 + 2?")
    (Asked(code='import re\n\ndef f(x):\n', name='f'), None)
    """
    blocks = [f"{block.rstrip()}\n" for block in blocks_of(prompt) if _DEFINES.search(block)]
    code = blocks[-1] if blocks else prompt
    names = _DEFINES.findall(code)
    return Asked(code, names[-1]) if names else None


def shown_examples(asked: Asked) -> list[Case]:
    r"""The examples in a prompt's docstring: doctests, and lines such as `f(1) == 2`, `f(1) => 2` or `f(1) returns 2`.

    >>> prompt = "def f(x):\n    '''Double: f(3) => 6\n    >>> f(1)\n    2\n    '''\n"
    >>> [(case.call, case.expected) for case in shown_examples(Asked(prompt, "f"))]
    [('f(1)', '2'), ('f(3)', '6')]
    """
    lines = asked.code.split("\n")
    found: dict[str, Case] = {}
    for case in (*_doctests(lines, asked.name), *_statements(lines, asked.name)):
        found.setdefault(case.setup + case.call, case)
    return list(found.values())[:MOST]


def written_case(text: str, name: str) -> Case | None:
    """A case that is written as an expression: of `f(1) == 2` both sides; of another comparison, that it is true; of
    any other expression, its output. None for what does not call the function.

    >>> written_case("f(1) == 2", "f"), written_case("f(1)", "f"), written_case("g(1)", "f")
    (Case(call='f(1)', expected='2', setup=''), Case(call='f(1)', expected=None, setup=''), None)
    """
    node = _expression(text)
    if node is None or not _calls(node, name):
        return None
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq):
        return Case(ast.unparse(node.left), ast.unparse(node.comparators[0]))
    denied = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    return Case(ast.unparse(node), "True" if denied or isinstance(node, ast.Compare | ast.BoolOp) else None)


def _doctests(lines: Sequence[str], name: str) -> Iterator[Case]:
    """Calls after `>>>`, with the lines that follow them, and the statements before as their setup."""
    setup: list[str] = []
    at = 0
    while at < len(lines):
        begun = _PROMPT.match(lines[at]) if len(lines[at]) <= _LONGEST_LINE else None
        at += 1
        if begun is None:
            continue
        source = [begun[1]]
        while at < len(lines) and (more := _MORE.match(lines[at])):
            source.append(more[1])
            at += 1
        wanted: list[str] = []
        while at < len(lines) and not _ENDS.match(lines[at]):
            wanted.append(lines[at].strip())
            at += 1
        node = _expression("\n".join(source))
        if node is None:
            setup.append("\n".join(source))
        elif wanted and _calls(node, name):
            yield Case(ast.unparse(node), " ".join(wanted), "\n".join(setup))


def _statements(lines: Sequence[str], name: str) -> Iterator[Case]:
    """Lines that say what a call gives."""
    begins = re.compile(rf"(?<![\w.])(?<!def )(?<!>>> ){re.escape(name)}\(")
    left = _MOST_TRIED
    for line in lines:
        if len(line) > _LONGEST_LINE:
            continue
        for begun in begins.finditer(line):
            for gives in islice(_GIVES.finditer(line, begun.end()), 3):
                left -= 1
                if left < 0:
                    return
                call = _expression(line[begun.start() : gives.start()])
                expected = _expression(line[gives.end() :].strip().rstrip(".;,"))
                if call is not None and _calls(call, name) and expected is not None and _literal(expected):
                    yield Case(ast.unparse(call), ast.unparse(expected))
                    break


def _expression(text: str) -> ast.expr | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False
    return True


def _calls(node: ast.expr, name: str) -> bool:
    return any(
        isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id == name
        for part in ast.walk(node)
    )
