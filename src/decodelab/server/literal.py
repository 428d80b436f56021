"""Text as a regular expression that matches it alone."""

from __future__ import annotations


def literal(text: str) -> str:
    r"""A text as a regular expression, within brackets or not: all but letters and digits by their code points.

    `re.escape` writes a line end as a backslash before it, which means nothing to our strict reader of expressions.

    >>> literal("a\n(b)")
    'a\\u000a\\u0028b\\u0029'
    """
    return "".join(map(_written, text))


def _written(character: str) -> str:
    if character.isascii() and character.isalnum():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
