"""JSON numbers between bounds, as regular expressions over their digits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

_DIGITS = 200
"""Digits before and after the point at most: what a reader of JSON turns into a number that is finite."""

_WHOLE = f"(?:0|[1-9][0-9]{{0,{_DIGITS - 1}}})"
_FRACTION = rf"(?:\.[0-9]{{1,{_DIGITS}}})?"
_EXACT = 2**53


@dataclass(frozen=True)
class Bound:
    """A number that another must reach, or exceed if strict."""

    value: Decimal
    strict: bool


class InexactBound(ValueError):
    """A bound at which readers of JSON round."""


def integers(low: Bound | None, high: Bound | None) -> tuple[str, ...]:
    """Expressions whose union is the integers between bounds, written without a fraction."""
    least = _next_whole(low, ROUND_CEILING, 1) if low else None
    most = _next_whole(high, ROUND_FLOOR, -1) if high else None
    return _signed(least, most, whole=True)


def numbers(low: Bound | None, high: Bound | None) -> tuple[str, ...]:
    """Expressions whose union is the numbers between bounds; with an exponent only where there is no bound.

    A reader rounds to the nearest float, which keeps order: whatever is at least a float as written is so when read. A
    strict bound is therefore the next float, not strict.

    Raises:
        InexactBound: if a bound is 2**53 or beyond, where integers and floats no longer compare as written.
    """
    if low is None and high is None:
        exponent = r"[eE][+\-]?(?:[0-9]{1,2}|[12][0-9]{2}|30[0-7])"
        return (f"-?(?:{_WHOLE}{_FRACTION}|[0-9]{_FRACTION}{exponent})",)
    for bound in (low, high):
        if bound is not None and abs(bound.value) >= _EXACT:
            raise InexactBound
    return _signed(_reached(low, math.inf) if low else None, _reached(high, -math.inf) if high else None, whole=False)


def _next_whole(bound: Bound, rounding: str, step: int) -> Bound:
    value = bound.value.to_integral_value(rounding)
    return Bound(value + step if bound.strict and value == bound.value else value, False)


def _reached(bound: Bound, towards: float) -> Bound:
    if not bound.strict or bound.value == 0:
        return bound
    return Bound(Decimal(repr(math.nextafter(float(bound.value), towards))), False)


def _signed(low: Bound | None, high: Bound | None, *, whole: bool) -> tuple[str, ...]:
    """Numbers from low to high: those without a sign, and those with one."""
    found = [_magnitudes(low, high, "", whole)]
    found.append(_magnitudes(_negated(high), _negated(low), "-", whole))
    return tuple(f for f in found if f is not None)


def _negated(bound: Bound | None) -> Bound | None:
    return Bound(-bound.value, bound.strict) if bound else None


def _magnitudes(low: Bound | None, high: Bound | None, sign: str, whole: bool) -> str | None:
    """Digits of the numbers of at least 0 between bounds, as an intersection; None where there are none."""
    if high is not None and (high.value < 0 or (high.value == 0 and high.strict)):
        return None
    first = _WHOLE.replace("0|", "") if whole and sign else _WHOLE  # no integer is -0
    parts = [first + ("" if whole else _FRACTION)]
    if low is not None and (low.value > 0 or (low.value == 0 and low.strict)):
        parts.append(_at_least(low, whole))
    if high is not None:
        parts.append(_at_most(high, whole))
    return " & ".join(f"/{sign}(?:{part})/" for part in parts)


def _split(value: Decimal) -> tuple[str, str]:
    whole, _, fraction = f"{abs(value):f}".partition(".")
    return whole, fraction.rstrip("0")


def _digit(low: int, high: int) -> str:
    return f"[{low}-{high}]"


def _at_least(bound: Bound, whole: bool) -> str:
    digits, fraction = _split(bound.value)
    tail = "" if whole else _FRACTION
    count = len(digits)
    found = [f"[1-9][0-9]{{{count},}}{tail}"]
    for i, d in enumerate(digits):
        if d != "9":
            found.append(f"{digits[:i]}{_digit(int(d) + 1, 9)}[0-9]{{{count - i - 1}}}{tail}")
    if not fraction:
        found.append(rf"{digits}\.[0-9]*[1-9][0-9]*" if bound.strict else digits + tail)
    for j, d in enumerate(fraction):
        if d != "9":
            found.append(rf"{digits}\.{fraction[:j]}{_digit(int(d) + 1, 9)}[0-9]*")
    if fraction:
        found.append(rf"{digits}\.{fraction}[0-9]*")
    return "|".join(found)


def _at_most(bound: Bound, whole: bool) -> str:
    digits, fraction = _split(bound.value)
    tail = "" if whole else _FRACTION
    count = len(digits)
    found = [f"(?:0|[1-9][0-9]{{0,{count - 2}}}){tail}"] if count > 1 else []
    for i, d in enumerate(digits):
        least = 1 if i == 0 and count > 1 else 0
        if int(d) > least:
            found.append(f"{digits[:i]}{_digit(least, int(d) - 1)}[0-9]{{{count - i - 1}}}{tail}")
    found.append(digits)
    if not whole:
        found.append(rf"{digits}\.0+")
    for j, d in enumerate(fraction):
        if d != "0":
            found.append(rf"{digits}\.{fraction[:j]}{_digit(0, int(d) - 1)}[0-9]*")
        if j:
            found.append(rf"{digits}\.{fraction[:j]}")
    if fraction:
        found.append(rf"{digits}\.{fraction}0*")
    return "|".join(found)
