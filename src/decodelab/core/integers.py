"""Integers in running text, which is where answers to sums stand."""

from __future__ import annotations

import re

# A minus right after a word or number is a dash; commas belong to a number where they part thousands.
_INTEGER = re.compile(r"(?:(?<!\w)-)?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)")


def last_integer_text(text: str) -> str | None:
    """The last integer of a text as written but for commas between thousands, or None.

    >>> last_integer_text("7 + 1,005 is 1,012."), last_integer_text("none")
    ('1012', None)
    """
    found = _INTEGER.findall(text)
    return found[-1].replace(",", "") if found else None
