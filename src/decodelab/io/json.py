"""Plain data as JSON that every reader takes: ASCII, no number that is not finite, no key twice."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any


def json_text(document: Any) -> str:
    """Plain data as indented JSON in ASCII, lists of numbers on one line; numbers that are not finite become null.

    >>> print(json_text({"p": [0.5, float("nan")], "text": "é"}))
    {
      "p": [0.5, null],
      "text": "\\u00e9"
    }
    """
    text = json.dumps(_finite(document), indent=2, allow_nan=False)
    # A line break inside a JSON string is written \n, so `[` before a real one always opens a list.
    return re.sub(r'\[\n[^\[\]{}"]*\]', lambda m: f"[{' '.join(m[0][1:-1].split())}]", text)


def json_line(document: Any) -> str:
    """Plain data as JSON in ASCII on one line, for JSONL; numbers that are not finite become null.

    >>> json_line({"p": [0.5, float("inf")]})
    '{"p": [0.5, null]}'
    """
    return json.dumps(_finite(document), allow_nan=False)


def parse_json(text: str, *, finite: bool = True) -> Any:
    """The data of a JSON text, where Python's own reader would lose or invent some of it without a word.

    Args:
        text: what was written.
        finite: whether NaN and infinities are refused, which JSON does not have.

    Raises:
        ValueError: in a line of its own words: for a text that is no JSON or is nested too deeply, an object that has a
            key twice, and a number that is not finite, also one too large for a float.

    >>> parse_json('{"a": 1}')
    {'a': 1}
    >>> parse_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
        ...
    ValueError: key 'a' appears twice
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_not_finite if finite else None,
            parse_float=_finite_number if finite else None,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(error.msg) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)[:60]!r} appears twice")
    return found


def _not_finite(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")


def _finite_number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:20]} is too large")
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
