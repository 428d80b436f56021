"""Integers in text, such as the answers to sums."""

from __future__ import annotations

import re
from collections.abc import Iterator

# A minus right after a word or number is a dash; commas belong to a number where they part thousands.
_NUMBER = re.compile(r"((?<!\w)[-−][$€£]?)?(\d{1,3}(?:,\d{3})+(?!\d)|\d+)((?:\.\d+)*)")
_MOST_DIGITS = 1000


def integer_texts(text: str) -> Iterator[str | None]:
    """The numbers of a text in their order: integers as digits, None for each that is no integer.

    Zeros after the point are nothing (18.00 is 18), a minus may be a hyphen or U+2212 and stand before a currency sign.

    >>> list(integer_texts("from $1,200.00 to 1.5 and −3"))
    ['1200', None, '-3']
    """
    for found in _NUMBER.finditer(text):
        minus, whole, fraction = found.groups()
        integral = fraction.count(".") < 2 and not fraction.strip(".0")
        yield ("-" if minus else "") + whole.replace(",", "") if integral else None


def last_integer_text(text: str) -> str | None:
    """The last integer of a text as written but for commas between thousands, or None.

    >>> last_integer_text("7 + 1,005 is 1,012."), last_integer_text("none")
    ('1012', None)
    """
    last = None
    for digits in integer_texts(text):
        last = digits or last
    return last


def integer_from(digits: str | None) -> int | None:
    """The integer of a text of digits; None for None and for more than 1000 digits.

    >>> integer_from("-12"), integer_from("9" * 1001)
    (-12, None)
    """
    # int() of many digits takes quadratic time and Python refuses it; no answer is so long.
    return int(digits) if digits is not None and len(digits) <= _MOST_DIGITS else None
