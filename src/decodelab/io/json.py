"""Plain data as JSON that every reader takes: ASCII, and no number that is not finite."""

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


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
