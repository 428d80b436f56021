"""Numbers as tables and sentences show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decodelab.metrics.estimate import Estimate


def p_value(p: float) -> str:
    """A p value to three decimals; none is shown as 0.

    >>> p_value(0.0312), p_value(0.00002)
    ('0.031', '<0.001')
    """
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def p_equals(p: float) -> str:
    """A p value in a sentence.

    >>> p_equals(0.0312), p_equals(0.00002)
    ('p = 0.031', 'p < 0.001')
    """
    return f"p < {p_value(p)[1:]}" if p < 0.001 else f"p = {p_value(p)}"


def fixed(value: float, digits: int = 3) -> str:
    """A number; one that rounds to 0 has no sign.

    >>> fixed(-1.25), fixed(-0.0001)
    ('-1.250', '0.000')
    """
    text = f"{value:.{digits}f}"
    return text if text.strip("-0.") else text.lstrip("-")


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign; one that rounds to 0 has none.

    >>> signed(0.25), signed(-0.0001)
    ('+0.250', '0.000')
    """
    text = f"{value:+.{digits}f}"
    return text if text.strip("+-0.") else text[1:]


def signed_interval(estimate: Estimate, digits: int = 2) -> str:
    """The interval of a difference. An end beside 0 keeps the digits that show on which side of 0 it is.

    >>> from decodelab.metrics import Estimate
    >>> signed_interval(Estimate(0.2, 0.0004, 0.3, 0.1, 9, 9)), signed_interval(Estimate(0, -0.1, 0.1, 0.1, 9, 9))
    ('[+0.0004, +0.30]', '[-0.10, +0.10]')
    """
    return f"[{_end(estimate.low, digits)}, {_end(estimate.high, digits)}]"


def _end(value: float, digits: int) -> str:
    text = signed(value, digits)
    return text if value == 0 or text.strip("+-0.") else f"{value:+.1g}"
