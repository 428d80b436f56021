"""What tasks read from a row of JSONL or CSV, each fault named with where it stands."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from decodelab.core.errors import InvalidData


def text_field(where: str, row: Mapping[str, Any], names: Sequence[str], example: str) -> str:
    """The text of the first of these fields that a row has.

    Raises:
        InvalidData: if it has none of them, or it is no text, is empty, or cannot be written as UTF-8.

    >>> text_field("line 1", {"article": "A cat sat."}, ("document", "article"), "...")
    'A cat sat.'
    """
    value = next((row[name] for name in names if row.get(name) is not None), None)
    if not isinstance(value, str) or not value.strip():
        raise InvalidData(f"{where}: needs the field {names[0]!r} as non-empty text; write {example}")
    return checked_text(where, value, names[0])


def checked_text(where: str, text: str, name: str) -> str:
    """A text that can be written as UTF-8, which halves of characters in JSON (`"\\ud800"`) cannot.

    Raises:
        InvalidData: naming the field.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidData(f"{where}: {name!r} has a lone surrogate (half a character); fix it") from None
    return text


def item_id(where: str, row: Mapping[str, Any], number: int, seen: Container[str]) -> str:
    """What a row calls itself, or its number from 0.

    Raises:
        InvalidData: if that is no text or whole number, or an item before it has it.
    """
    value = row.get("id", number)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InvalidData(f"{where}: id must be a text or a whole number, got {value!r:.60}")
    name = checked_text(where, str(value), "id")
    if name in seen:
        raise InvalidData(f"{where}: id {name[:60]!r} is listed twice; leave one out")
    return name
