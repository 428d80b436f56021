"""Answer readers by name: what a text gives as its answer, in a form in which equal answers are equal texts.

A third party adds one with an entry point in the group `decodelab.readers` that names a function of a text.
"""

from __future__ import annotations

from collections.abc import Callable

from decodelab.core.integers import read_integer
from decodelab.core.registry import Registry
from decodelab.core.thoughts import without_thoughts

Reader = Callable[[str], str | None]
"""The answer that a text gives, or None."""

READERS: Registry[Reader] = Registry(
    "answer reader",
    "decodelab.readers",
    {
        "integer": "decodelab.select.readers:integer",
        "line": "decodelab.select.readers:last_line",
        "text": "decodelab.select.readers:whole_text",
    },
)


def integer(text: str) -> str | None:
    """The integer that a text settles on, as tasks read it (`decodelab.core.integers.read_integer`).

    >>> integer("7 + 1,005 is 1,012."), integer("2.5")
    ('1012', None)
    """
    found = read_integer(text)
    return None if found is None else str(found)


def last_line(text: str) -> str | None:
    """The last line that is not empty, stripped; thoughts are no answer.

    >>> last_line("So: 12  ")
    'So: 12'
    """
    lines = [line.strip() for line in without_thoughts(text).splitlines() if line.strip()]
    return lines[-1] if lines else None


def whole_text(text: str) -> str | None:
    """The whole text but for thoughts, stripped."""
    return without_thoughts(text).strip() or None
