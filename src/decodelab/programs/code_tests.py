"""Whether the tests of a function can run apart from the program that defines it, told from prompt and tests alone.

A program must have no say in it: an answer that chose to be judged in its own interpreter could deceive its tests.
"""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_GIVEN = frozenset(vars(builtins)) | {"__name__", "__builtins__"}


@dataclass(frozen=True)
class Apart:
    """How tests run.

    Attributes:
        before: source that they need before them: what precedes the function in the prompt, if they use any of it.
        why_not: why they must share the program's interpreter; "" if they need not.
    """

    before: str = ""
    why_not: str = ""


@lru_cache(maxsize=1024)
def apart(prompt: str, tests: str, function: str) -> Apart:
    """How the tests of a function run.

    Args:
        prompt: source that begins to define the function, perhaps after imports and other functions.
        tests: source that defines `check(candidate)`.
        function: its name.

    >>> apart("def f(x):\\n", "def check(candidate):\\n    assert candidate(1) == 2\\n", "f")
    Apart(before='', why_not='')
    >>> apart("def f(x):\\n", "def check(candidate):\\n    assert helper(candidate(1))\\n", "f").why_not
    'the tests use helper, which the prompt does not define'
    """
    begun = list(re.finditer(rf"^def[ \t]+{re.escape(function)}\b", prompt, re.MULTILINE))
    if not begun:
        return Apart(why_not=f"the prompt does not begin a function {function}")
    before = prompt[: begun[-1].start()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            helpers, tree = ast.parse(before), ast.parse(tests)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Apart(why_not="the prompt or the tests cannot be read alone")
    check = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"), None)
    if check is None or not check.args.args:
        return Apart(why_not="the tests do not define check(candidate)")
    called = {function, check.args.args[0].arg}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in called:
            return Apart(why_not=f"the tests look at {node.value.id}.{node.attr}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Call) and _names(node.func.func) & called:
            return Apart(why_not="the tests call what the function returns")
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    wanted = used - set(_bound(tree)) - _GIVEN - {function}
    missing = sorted(wanted - set(_bound(helpers)))
    if missing:
        return Apart(why_not=f"the tests use {missing[0]}, which the prompt does not define")
    return Apart(before if wanted else "")


def _names(node: ast.expr) -> set[str]:
    return {node.id} if isinstance(node, ast.Name) else set()


def _bound(tree: ast.AST) -> Iterator[str]:
    """The names that a source binds, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, _FUNCTIONS):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
