"""Python programs without linter findings."""

from __future__ import annotations

import ast
import builtins
import itertools
import warnings
from dataclasses import dataclass

from decodelab.checkers.python import Program, Python


@dataclass(frozen=True, slots=True)
class LintedProgram:
    """The part of a program read so far, with its text."""

    program: Program
    text: str

    @property
    def invalid(self) -> bool:
        """Whether no valid program starts with this text."""
        return self.program.invalid

    @property
    def complete(self) -> bool:
        """Whether the text is a program without linter findings."""
        return self.program.complete and not remarks(self.text)

    def read(self, text: str) -> LintedProgram:
        """The program after more text."""
        return LintedProgram(self.program.read(text), self.text + text)


class LintedPython:
    """Accept prefixes of Python programs; a text is complete only if a linter finds nothing in it.

    Like `python`, but a program is complete only if every name it reads is bound somewhere or built in, nothing is
    compared with itself (also by `min` or `max`), no branch of an `if` in a function ends with the same statement as
    the other branch or as the code after the `if`, and no statement follows a `return`.

    >>> from decodelab.checkers.reading import begin_reading
    >>> program = begin_reading("linted_python").read("def f(ab):\\n    return a")
    >>> program.invalid, program.complete, program.read("b").complete
    (False, False, True)
    """

    def begin(self) -> LintedProgram:
        """The reading of the empty text."""
        return LintedProgram(Python().begin(), "")


def remarks(source: str) -> list[str]:
    """The linter's findings in a program.

    >>> remarks("def f(a, b):\\n    if a:\\n        return 1\\n    return 1")
    ['f does the same whatever the condition in line 2']
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        return [*_on_names(tree), *(remark for function in functions for remark in _remarks(function))]
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # nested too deeply to analyse
        return []


def _on_names(tree: ast.AST) -> list[str]:
    """Findings about unbound names and comparisons of an expression with itself."""
    nodes = list(ast.walk(tree))
    bound = set(dir(builtins))
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.alias(name=name, asname=other):
                bound.add((other or name).partition(".")[0])
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                bound.add(name)
            case ast.MatchMapping(rest=str(name)):
                bound.add(name)
    read = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    found = [f"nothing binds {name}" for name in dict.fromkeys(read) if name not in bound]
    for node in nodes:
        match node:
            case ast.Call(func=ast.Name(id="min" | "max"), args=[a, b]) | ast.Compare(left=a, comparators=[b]):
                if ast.dump(a) == ast.dump(b):
                    found.append(f"{ast.unparse(node)} compares a thing with itself")
    return found


def _remarks(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    found = []
    for node in ast.walk(function):
        body: list[ast.stmt] = getattr(node, "body", []) if isinstance(node, ast.stmt) else []
        if isinstance(node, ast.If) and node.orelse and _same(node.body[-1], node.orelse[-1]):
            found.append(f"{function.name} does the same whatever the condition in line {node.lineno}")
        for first, second in itertools.pairwise(body):
            if isinstance(first, ast.If) and not first.orelse and _same(first.body[-1], second):
                found.append(f"{function.name} does the same whatever the condition in line {first.lineno}")
            if isinstance(first, ast.Return):
                found.append(f"{function.name} never comes to line {second.lineno}")
    return found


def _same(a: ast.stmt, b: ast.stmt) -> bool:
    return ast.dump(a) == ast.dump(b)
