"""Reads submitted paths out of whatever a model wrote."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from decodelab.tasks.shortest_paths import WeightedPath

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "submit_paths",
        "description": "Submit the top P shortest paths found",
        "parameters": {
            "type": "object",
            "properties": {
                "paths": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
                "weights": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["paths", "weights"],
        },
    },
}
"""The tool as the course defines it, for chat templates and the OpenAI API."""

_LONGEST = 200_000
"""Characters that are looked at; an answer is a few hundred."""
_LONGEST_LIST = 10_000
_LARGEST = 10**12
_LIST = rf"\[[\[\]()\d\s,.+-]{{0,{_LONGEST_LIST}}}?\]"
_CALLS = (
    re.compile(rf"submit_paths\s{{0,9}}\(\s{{0,9}}paths\s{{0,9}}=\s{{0,9}}(?P<paths>{_LIST})\s{{0,9}},"
               rf"\s{{0,9}}weights\s{{0,9}}=\s{{0,9}}(?P<weights>{_LIST})\s{{0,9}},?\s{{0,9}}\)", re.ASCII),
    re.compile(rf"submit_paths\s{{0,9}}\(\s{{0,9}}weights\s{{0,9}}=\s{{0,9}}(?P<weights>{_LIST})\s{{0,9}},"
               rf"\s{{0,9}}paths\s{{0,9}}=\s{{0,9}}(?P<paths>{_LIST})\s{{0,9}},?\s{{0,9}}\)", re.ASCII),
)  # fmt: skip
_SUM = re.compile(r"\d{1,12}(?:\s?\+\s?\d{1,12}){1,50}", re.ASCII)
_OBJECTS = 64
"""JSON objects that are tried, so that a text full of braces costs no more than one."""
_THOUGHT = "</think>"
_GOES_ON = re.compile(r"\s{0,9}(?:paths|weights)\s{0,9}=")


def read_paths(text: str) -> list[WeightedPath] | None:
    """The `(path, weight)` pairs of an answer, or None if it has none that can be read.

    The first of these that is there counts: JSON in the shape of the published answers, `{"paths": [{"path": [0, 2],
    "weight": 5}]}`; a tool call as JSON, `{"paths": [[0, 2]], "weights": [5]}`, bare, under `arguments` or `parameters`
    (perhaps as text) or in a list of `tool_calls`; the text `submit_paths(paths=[[0, 2]], weights=[5])`, its arguments
    in either order. Weights may be sums (`[3 + 2]`). A path without a weight is left out, and so is whatever is no list
    of integers.

    As the course's grader, which evaluates the text as Python; here nothing is evaluated, and texts of more than
    200,000 characters are read to there.

    >>> read_paths("so submit_paths(weights=[3 + 2], paths=[[0, 2]])")
    [((0, 2), 5)]
    >>> read_paths('{"paths": [{"path": [0, 2], "weight": 5}]}')
    [((0, 2), 5)]
    >>> read_paths("the path is 0, 2") is None
    True
    """
    text = text[:_LONGEST]
    for found in _json_objects(text):
        pairs = _from_json(found)
        if pairs is not None:
            return pairs
    for pattern in _CALLS:
        match = pattern.search(text)
        if match:
            paths, weights = _literal(match["paths"]), _literal(match["weights"])
            if isinstance(paths, list) and isinstance(weights, list):
                return _pairs(paths, weights)
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
        text = f"{TOOL['function']['name']}({text}"
    answer = text[text.rfind(_THOUGHT) + len(_THOUGHT) :] if _THOUGHT in text else text
    parts = (answer.partition("<tool_call>")[2], answer, text)
    return next((found for part in dict.fromkeys(parts) if (found := read_paths(part)) is not None), None)


def _json_objects(text: str) -> Iterator[Any]:
    """What the text holds of JSON: from the first brace to the last, then each object for itself."""
    decoder = json.JSONDecoder()
    first, last = text.find("{"), text.rfind("}")
    if first < 0 or last < first:
        return
    whole = _decoded(decoder, text[first : last + 1])
    if whole is not None:
        yield whole[0]
        return
    at = first
    for _ in range(_OBJECTS):
        found = _decoded(decoder, text, at)
        if found is not None:
            yield found[0]
        at = text.find("{", found[1] if found is not None else at + 1)
        if at < 0:
            return


def _decoded(decoder: json.JSONDecoder, text: str, at: int = 0) -> tuple[Any, int] | None:
    """The JSON value that begins here and where it ends; None if there is none that can be read."""
    try:
        return decoder.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None


def _from_json(value: Any) -> list[WeightedPath] | None:
    """The pairs of a JSON answer in any of its shapes."""
    for _ in range(6):  # how deep arguments may be wrapped
        if isinstance(value, str):
            wrapped = _decoded(json.JSONDecoder(), value.strip())
            value = wrapped[0] if wrapped is not None else None
        if isinstance(value, list):
            value = value[0] if value else None
        if not isinstance(value, Mapping):
            return None
        paths, weights = value.get("paths"), value.get("weights")
        if isinstance(paths, list) and isinstance(weights, list):
            return _pairs(paths, weights)
        if isinstance(paths, list) and paths and all(isinstance(p, Mapping) for p in paths):
            return _pairs([p.get("path") for p in paths], [p.get("weight") for p in paths])
        value = next((value[k] for k in ("arguments", "parameters", "function", "tool_calls") if k in value), None)
    return None


def _literal(text: str) -> Any:
    """A list of numbers and lists as Python writes it; None for anything else."""
    summed = _SUM.sub(lambda match: str(sum(map(int, re.findall(r"\d+", match[0])))), text)
    depth = 0
    for character in summed:
        depth += (character in "[(") - (character in "])")
        if depth > 4:
            return None
    try:
        return ast.literal_eval(summed)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _pairs(paths: list[Any], weights: list[Any]) -> list[WeightedPath]:
    """Paths with their weights, where both are what they should be."""
    pairs: list[WeightedPath] = []
    for path, weight in zip(paths, weights, strict=False):
        if isinstance(path, list | tuple) and len(path) <= 1000 and all(map(_is_whole, path)) and _is_whole(weight):
            pairs.append((tuple(int(node) for node in path), int(weight)))
    return pairs


def _is_whole(value: Any) -> bool:
    """Whether a value is a whole number of reasonable size."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= _LARGEST
        and value == int(value)
    )
