"""Reads submitted paths out of whatever a model wrote."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from decodelab.pocket.paths import SUBMIT_PATHS
from decodelab.tasks.shortest_paths import WeightedPath

_LONGEST = 200_000
"""Characters that are looked at; an answer is a few hundred."""
_LONGEST_LIST = 10_000
_LARGEST = 10**12
_PATHS = (re.compile(r"submit_paths\s*\(\s*paths\s*=\s*(?=\[)"), re.compile(r"\]\s*,\s*weights\s*=\s*(?=\[)"))
_WEIGHTS = (re.compile(r"submit_paths\s*\(\s*weights\s*=\s*(?=\[)"), re.compile(r"\]\s*,\s*paths\s*=\s*(?=\[)"))
_CLOSED = re.compile(r"\]\s*\)")
_NUMBER = re.compile(r"\s{0,9}[+-]?\d{1,12}(?:\.0{0,9})?\s{0,9}", re.ASCII)
_NO_LIST = re.compile(r"\\|\d[^\W\d_]|[\[({]{20}")
"""What Python warns of, or sinks in, and no list of paths needs."""
_OBJECTS = 64
"""JSON objects that are tried, so that a text full of braces costs no more than one."""
_THOUGHT = "</think>"
_GOES_ON = re.compile(r"\s{0,9}(?:paths|weights)\s{0,9}=")


def read_paths(text: str) -> list[WeightedPath] | None:
    """The `(path, weight)` pairs of an answer, or None if it has none that can be read.

    Read to the letter as by the course's grader: what stands between the first brace and the last, if that is JSON in
    the shape of the published answers, `{"paths": [{"path": [0, 2], "weight": 5}]}`; or else the first text
    `submit_paths(paths=[[0, 2]], weights=[5])`, its arguments in either order. Only where it finds nothing, a tool call
    as JSON is looked for, which the course reads from the API: `{"paths": [[0, 2]], "weights": [5]}`, bare, under
    `arguments` or `parameters` (perhaps as text) or in a list of `tool_calls`; there, numbers may be text. A path
    without a weight is left out, and so is whatever is no list of integers.

    The course's grader evaluates the text as Python. Here nothing is: lists are read as Python writes them, with sums,
    differences and products of numbers (`[3 + 2]`, `sum([3, 2])`). Texts are read to their 200,000th character.

    Source: 11-763 LM inference, CMU, autumn 2025, `eval/grader.py` (`ResponseParser.parse_graph`) and, for tool calls,
    homework 1.

    >>> read_paths("so submit_paths(weights=[3 + 2], paths=[[0, 2]])")
    [((0, 2), 5)]
    >>> read_paths('{"paths": [{"path": [0, 2], "weight": 5}]}')
    [((0, 2), 5)]
    >>> read_paths("the path is 0, 2") is None
    True
    """
    text = text[:_LONGEST]
    for read in (_published, _called, _tool_call):
        pairs = read(text)
        if pairs is not None:
            return pairs
    return None


def read_call(text: str) -> list[WeightedPath] | None:
    """The pairs of an answer to a question that was asked with the tool, or None if it has none that can be read.

    As `read_paths`, but of what follows the first `<tool_call>` after the model's thoughts, or else of what follows
    these, or else of the whole text; and a text may go on from the opening of a call that stood in the prompt.

    >>> read_call('<think>{"paths": [[0, 1]], "weights": [9]}?</think><tool_call>{"paths": [[0, 2]], "weights": [5]}')
    [((0, 2), 5)]
    >>> read_call("paths=[[0, 2]], weights=[5])")
    [((0, 2), 5)]
    """
    text = text[:_LONGEST]
    if _GOES_ON.match(text):
        text = f"{SUBMIT_PATHS['function']['name']}({text}"
    answer = text[text.rfind(_THOUGHT) + len(_THOUGHT) :] if _THOUGHT in text else text
    parts = (answer.partition("<tool_call>")[2], answer, text)
    return next((found for part in dict.fromkeys(parts) if (found := read_paths(part)) is not None), None)


def _published(text: str) -> list[WeightedPath] | None:
    """The pairs of JSON in the shape of the published answers, if that is all that has braces."""
    try:
        value = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except (ValueError, RecursionError):
        return None
    listed = value.get("paths")
    if not isinstance(listed, list) or not listed:
        return None
    if not all(isinstance(pair, Mapping) and "path" in pair and "weight" in pair for pair in listed):
        return None
    return _pairs([pair["path"] for pair in listed], [pair["weight"] for pair in listed])


def _called(text: str) -> list[WeightedPath] | None:
    """The pairs of the first call as text, that with its paths first before that with its weights first."""
    for opening, comma in (_PATHS, _WEIGHTS):
        # What comes later can close the first call as well as a later one, so that only the first needs a look.
        begin = opening.search(text)
        middle = comma.search(text, begin.end() + 1) if begin else None
        end = _CLOSED.search(text, middle.end() + 1) if middle else None
        if begin and middle and end:
            first, second = text[begin.end() : middle.start() + 1], text[middle.end() : end.start() + 1]
            try:
                listed = [_literal(first), _literal(second)]
            except (ValueError, SyntaxError, MemoryError, RecursionError, ArithmeticError):
                continue
            return _pairs(*listed) if opening is _PATHS[0] else _pairs(*reversed(listed))
    return None


def _literal(text: str) -> Any:
    """A list as Python writes it, numbers worked out.

    Raises:
        ValueError, SyntaxError, MemoryError, RecursionError, ArithmeticError: for anything else.
    """
    if len(text) > _LONGEST_LIST or _NO_LIST.search(text):
        raise ValueError
    return _value(ast.parse(text, mode="eval").body)


def _value(node: ast.expr) -> Any:
    """What a part of a list is worth."""
    match node:
        case ast.Constant(value):
            return value
        case ast.List(entries) | ast.Tuple(entries):
            return [_value(entry) for entry in entries]
        case ast.UnaryOp(ast.USub(), operand):
            return -_number(operand)
        case ast.UnaryOp(ast.UAdd(), operand):
            return +_number(operand)
        case ast.BinOp(left, ast.Add(), right):
            return _number(left) + _number(right)
        case ast.BinOp(left, ast.Sub(), right):
            return _number(left) - _number(right)
        case ast.BinOp(left, ast.Mult(), right):
            return _number(left) * _number(right)
        case ast.Call(ast.Name("sum"), [ast.List(entries)], []):
            return sum(map(_number, entries))
    raise ValueError


def _number(node: ast.expr) -> int | float:
    value = _value(node)
    if not isinstance(value, int | float) or not abs(value) <= _LARGEST:
        raise ValueError
    return value


def _tool_call(text: str) -> list[WeightedPath] | None:
    """The pairs of the first tool call in JSON."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    for _ in range(_OBJECTS):
        if at < 0:
            break
        found = _decoded(decoder, text, at)
        if found is not None:
            pairs = _arguments(found[0])
            if pairs is not None:
                return pairs
        at = text.find("{", found[1] if found is not None else at + 1)
    return None


def _decoded(decoder: json.JSONDecoder, text: str, at: int = 0) -> tuple[Any, int] | None:
    """The JSON value that begins here and where it ends; None if there is none that can be read."""
    try:
        return decoder.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None


def _arguments(value: Any) -> list[WeightedPath] | None:
    """The pairs of a tool call, however its arguments are wrapped."""
    for _ in range(6):
        if isinstance(value, str):
            wrapped = _decoded(json.JSONDecoder(), value.strip())
            value = wrapped[0] if wrapped is not None else None
        if isinstance(value, list):
            value = value[0] if value else None
        if not isinstance(value, Mapping):
            return None
        paths, weights = value.get("paths"), value.get("weights")
        if isinstance(paths, list) and isinstance(weights, list):
            return _pairs([_of_text(path) for path in paths], _of_text(weights))
        value = next((value[k] for k in ("arguments", "parameters", "function", "tool_calls") if k in value), None)
    return None


def _of_text(values: Any) -> Any:
    """A list with the numbers that are written as text, as pydantic reads them for the course."""
    if not isinstance(values, list):
        return values
    return [int(float(v)) if isinstance(v, str) and _NUMBER.fullmatch(v) else v for v in values]


def _pairs(paths: Any, weights: Any) -> list[WeightedPath]:
    """Paths with their weights, where both are what they should be."""
    pairs: list[WeightedPath] = []
    for path, weight in zip(paths, weights, strict=False):
        if isinstance(path, list) and len(path) <= 1000 and all(map(_is_whole, path)) and _is_whole(weight):
            pairs.append((tuple(int(node) for node in path), int(weight)))
    return pairs


def _is_whole(value: Any) -> bool:
    """Whether a value equals a whole number of reasonable size; true and false are 1 and 0, as in Python."""
    return isinstance(value, int | float) and abs(value) <= _LARGEST and value == int(value)
