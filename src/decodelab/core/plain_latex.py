"""LaTeX in answers as the plain text that it stands for."""

from __future__ import annotations

import re

_STYLES = (
    r"text|textbf|textit|textrm|textsf|texttt|mathrm|mathbf|mathit|mathsf|mathbb|mathtt|boldsymbol|bm|mbox|emph"
    r"|operatorname|underline|ensuremath"
)
_RULES = tuple(
    (re.compile(pattern), becomes)
    for pattern, becomes in (
        (r"\\!", ""),
        (r"\\(?:[,;:>]|thinspace(?![a-zA-Z]))|(?<=\d)\{\\?,\\?!?\}(?=\d)|(?<=\d)~(?=\d)", "\u2009"),
        (r"\\(?:left|right|displaystyle|[bB]igg?[lr]?|limits|quad|qquad)(?![a-zA-Z])|\\[()\[\] ]|~", " "),
        (r"\\(?:times|cdot|ast)(?![a-zA-Z])", "*"),
        (r"\\div(?![a-zA-Z])", "/"),
        (r"\\(?:pm|mp)(?![a-zA-Z])", "\u00b1"),
        (r"\\(?:euro|EUR)(?![a-zA-Z])(?:\{\})?", "\u20ac"),
        (r"\\pounds(?![a-zA-Z])(?:\{\})?", "\u00a3"),
        (r"\\[dtc]?frac\s?\{([^{}]{1,200})\}\s?\{([^{}]{1,200})\}", r" \1/\2 "),
        (r"\\[dtc]?frac\s?(\d)\s?(\d)", r" \1/\2 "),
        (r"\\([$%#&_{}])", r"\1"),
    )
)
_STYLED = re.compile(rf"\\(?:{_STYLES})\s?\{{([^{{}}]{{0,2000}})\}}")


def plain_latex(text: str) -> str:
    r"""A text with its LaTeX commands for style, spaces, signs and fractions as plain text; `\boxed` is left.

    >>> plain_latex(r"\boxed{\$70,\!000}"), plain_latex(r"\dfrac{1}{2}"), plain_latex(r"\textbf{(B)}")
    ('\\boxed{$70,000}', ' 1/2 ', ' (B) ')
    """
    if "\\" not in text and "{" not in text and "~" not in text:
        return text
    for _ in range(3):  # one in another, as in \textbf{\text{B}}
        text = _STYLED.sub(r" \1 ", text)
    for pattern, becomes in _RULES:
        text = pattern.sub(becomes, text)
    return text
