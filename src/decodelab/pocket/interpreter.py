"""An interpreter of a small subset of Python, to run model-written functions without `exec` or `eval`.

Integers, Booleans, strings, lists; arithmetic, comparison, `if`, `for` over a list or a range, assignment,
`return`, a few built-ins and `list.append`. Steps, magnitudes, sizes and nesting are bounded, there are no
attributes, imports, comprehensions or `while`: whatever the text says, nothing happens outside the values.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any

LONGEST_SOURCE = 2000
MOST_STEPS = 5000
LARGEST_NUMBER = 10**9
LONGEST_VALUE = 1000
DEEPEST_NESTING = 40


class Refused(Exception):
    """The text is not in the language, breaks a limit, or fails as it runs."""


class _Return(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_BUILTINS: dict[str, Callable[..., Any]] = {
    "len": len,
    "sum": sum,
    "min": min,
    "max": max,
    "abs": abs,
    "range": lambda *bounds: _range(*bounds),
    "sorted": sorted,
}


def _range(*bounds: Any) -> list[int]:
    values = range(*bounds)
    if len(values) > LONGEST_VALUE:
        raise Refused("a range is too long")
    return list(values)


def call_function(source: str, arguments: Sequence[Any]) -> Any:
    """Return what the one function defined in `source` returns for `arguments`.

    Raises `Refused` for anything but a function in the small language that ends within the limits.

    >>> call_function("def f(a, b):\\n    return (a + b) * 2\\n", [3, 4])
    14
    """
    if len(source) > LONGEST_SOURCE or "\0" in source:
        raise Refused("the source is too long or holds a null character")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Refused("the source is not Python") from error
    match tree.body:
        case [ast.FunctionDef(decorator_list=[]) as function]:
            return _Run().call(function, arguments)
    raise Refused("the source must be one plain function")


class _Run:
    """One call: its variables and how many steps it has taken."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.steps = 0

    def call(self, function: ast.FunctionDef, arguments: Sequence[Any]) -> Any:
        spec = function.args
        if spec.posonlyargs or spec.kwonlyargs or spec.vararg or spec.kwarg or spec.defaults:
            raise Refused("only plain parameters")
        if len(spec.args) != len(arguments):
            raise Refused("wrong number of arguments")
        for parameter, value in zip(spec.args, arguments, strict=True):
            self.names[parameter.arg] = list(value) if isinstance(value, list) else value
        try:
            self.block(function.body, 0)
        except _Return as returned:
            return returned.value
        except (TypeError, ValueError, ArithmeticError, IndexError, RecursionError) as error:
            raise Refused(f"failed as it ran: {error}") from error
        return None

    def tick(self, depth: int) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS or depth > DEEPEST_NESTING:
            raise Refused("too many steps or too deep")

    def block(self, body: Sequence[ast.stmt], depth: int) -> None:
        for statement in body:
            self.statement(statement, depth + 1)

    def statement(self, node: ast.stmt, depth: int) -> None:
        self.tick(depth)
        match node:
            case ast.Return(value=value):
                raise _Return(None if value is None else self.value(value, depth))
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.names[name] = self.value(value, depth)
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                # A new object even for `xs += [1]`: aliasing is not part of the language.
                self.names[name] = self.binary(op, self.look_up(name), self.value(value, depth))
            case ast.If(test=test, body=body, orelse=orelse):
                self.block(body if self.value(test, depth) else orelse, depth)
            case ast.For(target=ast.Name(id=name), iter=values, body=body, orelse=[]):
                items = self.value(values, depth)
                if not isinstance(items, (list, str)):
                    raise Refused("for needs a list or a string")
                for item in list(items):
                    self.tick(depth)
                    self.names[name] = item
                    self.block(body, depth)
            case ast.Expr(
                value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=[argument], keywords=[])
            ):
                target = self.look_up(name)
                if not isinstance(target, list):
                    raise Refused("append needs a list")
                self.names[name] = self.bounded([*target, self.value(argument, depth)])
            case ast.Pass():
                pass
            case _:
                raise Refused(f"{type(node).__name__} is not in the language")

    def look_up(self, name: str) -> Any:
        if name not in self.names:
            raise Refused(f"unknown name {name}")
        return self.names[name]

    def bounded(self, value: Any) -> Any:
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            raise Refused("a number is too large")
        if isinstance(value, (str, list)) and len(value) > LONGEST_VALUE:
            raise Refused("a value is too long")
        if isinstance(value, list) and not all(isinstance(item, (int, str)) for item in value):
            raise Refused("lists hold numbers and strings only")
        if not isinstance(value, (int, str, list)):
            raise Refused(f"{type(value).__name__} is not in the language")
        return value

    def binary(self, op: ast.operator, left: Any, right: Any) -> Any:
        if type(op) not in _BINARY:
            raise Refused(f"{type(op).__name__} is not in the language")
        if isinstance(op, ast.Mult) and not (isinstance(left, int) and isinstance(right, int)):
            raise Refused("only numbers are multiplied")
        if isinstance(op, ast.Mod) and not isinstance(left, int):
            raise Refused("only numbers have remainders")
        return self.bounded(_BINARY[type(op)](left, right))

    def value(self, node: ast.expr, depth: int) -> Any:
        depth += 1
        self.tick(depth)
        match node:
            case ast.Constant(value=bool() | int() | str() as constant):
                return self.bounded(constant)
            case ast.Name(id=name):
                return self.look_up(name)
            case ast.List(elts=elements):
                return self.bounded([self.value(element, depth) for element in elements])
            case ast.BinOp(left=left, op=op, right=right):
                return self.binary(op, self.value(left, depth), self.value(right, depth))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.bounded(-self.value(operand, depth))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self.value(operand, depth)
            case ast.BoolOp(op=op, values=values):
                result: Any = None
                for operand in values:
                    result = self.value(operand, depth)
                    if bool(result) == isinstance(op, ast.Or):
                        break
                return result
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                first = self.value(left, depth)
                for op, comparator in zip(ops, comparators, strict=True):
                    if type(op) not in _COMPARE:
                        raise Refused(f"{type(op).__name__} is not in the language")
                    second = self.value(comparator, depth)
                    if not _COMPARE[type(op)](first, second):
                        return False
                    first = second
                return True
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.value(body if self.value(test, depth) else orelse, depth)
            case ast.Subscript(value=target, slice=ast.Slice()):
                raise Refused("slices are not in the language")
            case ast.Subscript(value=target, slice=index):
                return self.bounded(self.value(target, depth)[self.value(index, depth)])
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _BUILTINS:
                return self.bounded(_BUILTINS[name](*[self.value(argument, depth) for argument in arguments]))
        raise Refused(f"{type(node).__name__} is not in the language")
