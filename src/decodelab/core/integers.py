"""Integers in text, such as the answers to sums: one reader for every task, scorer and vote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from decodelab.core.plain_latex import plain_latex
from decodelab.core.thoughts import without_thoughts

_MOST_DIGITS = 1000
_LONGEST = 200_000
_LONGEST_UNANNOUNCED = 20_000
"""Characters from the end that are looked at for what is announced, and for what is not."""
_TRIED = 100
NEXT_QUESTION = "\nQuestion:"
"""How a model that was shown answered questions goes on to the next."""

_THIN = "\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f"
_CURRENCY = "$\u20ac\u00a3\u00a5\u20b9\u20a9\u20bd\u20ba\u20aa\u20ab\u0e3f\u00a2"
_SUPERSCRIPTS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
_VULGAR = {
    "\u00bc": (1, 4), "\u00bd": (1, 2), "\u00be": (3, 4), "\u2150": (1, 7), "\u2151": (1, 9), "\u2152": (1, 10),
    "\u2153": (1, 3), "\u2154": (2, 3), "\u2155": (1, 5), "\u2156": (2, 5), "\u2157": (3, 5), "\u2158": (4, 5),
    "\u2159": (1, 6), "\u215a": (5, 6), "\u215b": (1, 8), "\u215c": (3, 8), "\u215d": (5, 8), "\u215e": (7, 8),
}  # fmt: skip
_SAME = str.maketrans(
    dict.fromkeys("\u2212\u2011\u2010\ufe63\uff0d", "-")
    | dict.fromkeys("\u200b\u2060\ufeff\u00ad", "")
    | dict.fromkeys("\u00f7\u2215\u2044\uff0f", "/")
    | dict.fromkeys("\u22c5\u00b7\u2219\u00d7\u2217", "*")
    | {chr(0xFF10 + digit): str(digit) for digit in range(10)}
    | dict(zip("\uff0c\uff0e\uff0b\uff1d\uff04\uff05", ",.+=$%", strict=True))
)
"""Characters that say the same, as the one that is read."""

_MARKUP = re.compile(r"(?<!\d)\*\*|\*\*(?!\d)|__|`|</?(?:b|i|em|strong|u|code|span)>", re.IGNORECASE)
_SUPERSCRIPT = re.compile(f"([-\u207b]?)([{_SUPERSCRIPTS}]+)")
_THOUSANDS = "".join(
    rf"\d{{1,3}}(?:[{sign}]\d{{3}})+(?!\d)|" for sign in (",", _THIN, "'\u2019", "_")
) + r"\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|"  # fmt: skip
_LITERAL = re.compile(
    rf"(?P<european>\d{{1,3}}(?:\.\d{{3}})+,\d+)|(?:(?P<whole>{_THOUSANDS}\d+)(?P<more>(?:\.\d+)*)"
    rf"|(?<![\d.])(?P<point>\.\d+))"
    r"(?:[eE](?P<exponent>[-+]?\d{1,9})(?![\w.]))?"
)
_BEFORE = re.compile(
    r"(?P<sign>(?<![\w)\]}%])-|(?<=[=({:/*^])\s{0,3}-\s?|(?<!\w)\u2013|(?P<either>\u00b1\s?)|\b(?:minus|negative)\s+)?"
    rf"(?:(?:\b[A-Z]{{1,3}})?[{_CURRENCY}]\s?(?P<inner>-\s?)?)?$",
    re.IGNORECASE,
)
_SCALE = re.compile(
    r"\s{0,2}(?:\*|x(?=\s?10))\s{0,2}10\s{0,2}(?:\^|\*\*)\s{0,2}[({]?\s?([-+]?\d{1,9})(?!\.?\d)\s?[)}]?"
)
_POWER = re.compile(r"\s{0,2}(?:\^|\*\*)\s{0,2}[({]?\s?([-+]?\d{1,9})(?!\.?\d)\s?[)}]?")
_OVER = re.compile(r"\s?/\s?\(?(\d{1,9})(?![\d/]|[.,]\d)\)?|(?:/\d[\d.,]*)+")
_MIXED = re.compile(rf"[\s{_THIN}-]{{0,3}}(?<!\d)(\d{{1,9}})/(\d{{1,9}})(?![\d/])|\s?([{''.join(_VULGAR)}])")
_MULTIPLES = {
    "hundred": 100, "thousand": 10**3, "lakh": 10**5, "million": 10**6, "crore": 10**7, "billion": 10**9,
    "trillion": 10**12, "k": 10**3, "m": 10**6, "mn": 10**6, "b": 10**9, "bn": 10**9, "t": 10**12, "tn": 10**12,
}  # fmt: skip
_NO_FACTOR = r"(?!\w|\s{0,2}[=^(])"
_MULTIPLE = re.compile(
    rf"(?:k|(?-i:M)|\s?(?:mn|bn|tn)){_NO_FACTOR}"
    r"|(?:\s{1,3}|(?P<hyphen>-)|)(?:hundred|thousand|lakh|million|crore|billion|trillion)s?\b(?(hyphen)|(?!-\w))",
    re.IGNORECASE,
)
_MULTIPLE_OF_MONEY = re.compile(rf"[kmbt]{_NO_FACTOR}", re.IGNORECASE)
_MOST_MULTIPLES = 3
_LINK = re.compile(
    r"\s{0,3}\)?\s{0,3}(?:[A-Za-z%\u00b0$\u20ac\u00a3]{1,20}\.?\s{1,3}|[%\u00b0$\u20ac\u00a3]\s{0,3}"
    r"|[A-Za-z]{1,20}(?=\s{0,3}=)){0,3}"
    r"(?:(?P<equals>=)|[+*]|(?<=\s)[-/\u2013x](?=\s)|(?<=\d)x|(?<=%\s)of)\s{0,3}\(?\s?"
)
_MAY_SIGN = f"-\u2013\u00b1{_CURRENCY}"
"""What a number must follow to have a sign or a currency before it, if not white space."""
_ENDS = ("", "+", "=", ",", ".", ";", ":", ")", "]", "}", "<", "&", "!", "?", '"', "'")
"""What ends a number for good: no power of ten, fraction or multiple begins with it."""
_MARKS = (
    (re.compile(r"####(?=([^\n]{0,300}))"), 1),
    (re.compile(r"\\f?box(?:ed)?(?![a-z])\s?\{?(?=([^\n]{0,300}))"), -1),
    (
        re.compile(
            r"\banswers?(?:\b(?:(?!\bis\b)[^\n.:=?!\d]){0,60}?\b(?:is|are)\b"
            r"|[ \t]?[:=])[:\s]{0,9}(?!\W{0,3}not\b)(?=([^\n]{0,300}))",
            re.IGNORECASE,
        ),
        -1,
    ),
)
"""What announces an answer, and whether it is looked for from the first (1) or from the last (-1)."""
_SPACED_THOUSANDS = re.compile(r"(?<![\d.,/])(\d{1,3})((?: \d{3})+)(?![\d/-]|,\d)")
_LEADING_MINUS = re.compile(r"^([\s(]{0,9}-)\s+(?=[\d.$])")


@dataclass(frozen=True)
class _Quantity:
    """A number of a text: where it stands and what it is worth; None where that is not clear."""

    begin: int
    end: int
    value: Fraction | None


def read_number(text: str) -> Fraction | None:
    r"""The number that an answer settles on, exactly, or None; otherwise as `read_integer`.

    >>> read_number("#### 1,234.50"), read_number(r"so \boxed{\frac{1}{2}}, not 3"), read_number("0.5 + 2 = 2.5")
    (Fraction(2469, 2), Fraction(1, 2), Fraction(5, 2))
    """
    text = plain(without_thoughts(text)[-_LONGEST:].partition(NEXT_QUESTION)[0])
    for mark, step in _MARKS:
        for found in list(mark.finditer(text))[::step][:_TRIED]:
            tail = _inside(found[1]) if found[0].endswith("{") else found[1]
            tail = _LEADING_MINUS.sub(r"\1", tail)
            for value in _settled(tail):
                return value
    last = None
    for value in _settled(text[-_LONGEST_UNANNOUNCED:]):
        last = value
    return last


def read_integer(text: str) -> int | None:
    r"""The integer that an answer settles on, or None.

    Thoughts, and what follows a next `Question:`, are no answer. Then the first of these with a number after it counts:
    the first `####`, the last `\boxed`, the last `answer is` or `answer:`; else the last number of the text. Of a sum
    that is worked out (`10 + 8 = 18`) the result counts.

    Units, currencies, percent signs, markup and LaTeX are read over; thousands may be parted by commas, apostrophes or
    narrow spaces. A multiple counts: `hundred` to `trillion`, `lakh` and `crore` (`2 million`, `1.5 thousand`), `mn`,
    `bn` and `tn`, and directly at the digits `k` and `M` (`5k`, `5K`, `2M`); of money `m`, `b` and `t` too (`$2m`,
    `$3B`). Any other word is a unit: `5 km`, `5kg`, `2m`, `300 K`, `5 dozen`. What is no integer (`.5`, `1/2`, `2.5`,
    `10 + 8`) is no answer, and never read in part; 18.00, 36/2, 5e3 and 5 * 10^3 are integers. None with more than 1000
    digits is read.

    As lm-evaluation-harness's strict filter where there is `####`, and as its flexible one elsewhere, but for the
    forms above and that what is announced is preferred to what is last.

    >>> read_integer("2 + 3 = 5\n#### 5"), read_integer(r"$\boxed{\$1,200}$, not 3"), read_integer("The answer is .5")
    (5, 1200, None)
    >>> read_integer("5k"), read_integer("$2.5 million"), read_integer("5 km"), read_integer("7 dozen eggs")
    (5000, 2500000, 5, 7)
    """
    found = read_number(text)
    return int(found) if found is not None and found.denominator == 1 else None


def plain(text: str) -> str:
    """A text with its numbers in one notation: no markup or LaTeX, a minus as a hyphen, ASCII digits."""
    text = _MARKUP.sub("", plain_latex(text).translate(_SAME))
    text = _SUPERSCRIPT.sub(_raised, text)
    return _SPACED_THOUSANDS.sub(lambda found: found[1] + found[2].replace(" ", "\u202f"), text)


def _raised(found: re.Match[str]) -> str:
    sign = "-" if found[1] else ""
    return f"^{sign}{''.join(str(_SUPERSCRIPTS.index(digit)) for digit in found[2])}"


def _inside(tail: str) -> str:
    """What stands before the brace that closes."""
    depth = 1
    for place, character in enumerate(tail):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return tail[:place]
    return tail


def _settled(text: str) -> Iterator[Fraction | None]:
    """What the numbers of a text come to, in their order: a sum that is worked out is one."""
    parts: list[list[Fraction | None]] = []  # of a sum: what stands between its signs of equality
    before: _Quantity | None = None
    for number in _quantities(text):
        link = _LINK.fullmatch(text, before.end, number.begin) if before and number.begin - before.end < 80 else None
        if link is None:
            if parts:
                yield _result(parts)
            parts = [[number.value]]
        elif link["equals"]:
            parts.append([number.value])
        else:
            parts[-1].append(number.value)
        before = number
    if parts:
        yield _result(parts)


def _result(parts: list[list[Fraction | None]]) -> Fraction | None:
    return next((part[0] for part in reversed(parts) if len(part) == 1), None)


def _quantities(text: str) -> Iterator[_Quantity]:
    at = 0
    vulgar = not text.isascii() and any(sign in text for sign in _VULGAR)
    while True:
        found = _LITERAL.search(text, at)
        alone = _MIXED.search(text, at, found.start() if found else len(text)) if vulgar else None
        if alone and alone[3]:
            yield _Quantity(alone.start(), alone.end(), None)
            at = alone.end()
            continue
        if found is None:
            return
        start = found.start()
        before = text[start - 1] if start else ""
        signed = before.isspace() or before in _MAY_SIGN if before else False
        sign = _BEFORE.search(text, max(0, start - 20), start) if signed else None
        begin = sign.start() if sign else start
        money = any(character in _CURRENCY for character in text[begin:start])
        value, end = _literal(found), found.end()
        if text[end : end + 1] not in _ENDS:
            value, end = _multiplied(value, text, end, money)
            for pattern, change in ((_SCALE, _scaled), (_POWER, _power), (_MIXED, _mixed), (_OVER, _over)):
                more = pattern.match(text, end)
                if more:
                    value, end = _multiplied(change(value, more), text, more.end(), money)
        if sign and (sign["sign"] or sign["inner"]) and value is not None:
            value = -value
        if sign and sign["either"]:
            value = None
        yield _Quantity(begin, end, value)
        at = end


def _literal(found: re.Match[str]) -> Fraction | None:
    """What digits are worth; None for two points (1.2.3) and for more digits than any answer has."""
    # int() of many digits takes quadratic time and Python refuses it.
    if found.end() - found.start() > _MOST_DIGITS:
        return None
    if found["european"]:
        return Fraction(found["european"].replace(".", "").replace(",", "."))
    whole = found["whole"] or "0"
    if not whole.isdecimal():
        whole = re.sub(r"\D", "", whole)
    more = found["point"] or found["more"] or ""
    if more.count(".") > 1:
        return None
    value = Fraction(whole + more) if more else Fraction(int(whole))
    return _times_ten_to(value, int(found["exponent"])) if found["exponent"] else value


def _times_ten_to(value: Fraction | None, exponent: int) -> Fraction | None:
    return None if value is None or abs(exponent) > _MOST_DIGITS else value * Fraction(10) ** exponent


def _multiplied(value: Fraction | None, text: str, end: int, money: bool) -> tuple[Fraction | None, int]:
    """A value with the multiples that follow it (`5k`, `2 million`), and where they end."""
    for _ in range(_MOST_MULTIPLES):
        found = _MULTIPLE.match(text, end) or (_MULTIPLE_OF_MONEY.match(text, end) if money else None)
        if found is None:
            break
        name = found[0].strip().lstrip("-").lower()
        value, end = value and value * _MULTIPLES[name.rstrip("s")], found.end()
    return value, end


def _scaled(value: Fraction | None, found: re.Match[str]) -> Fraction | None:
    return _times_ten_to(value, int(found[1]))


def _power(value: Fraction | None, found: re.Match[str]) -> Fraction | None:
    exponent = int(found[1])
    if value is None or abs(exponent) * len(str(value)) > _MOST_DIGITS or (value == 0 and exponent < 0):
        return None
    return value**exponent


def _mixed(value: Fraction | None, found: re.Match[str]) -> Fraction | None:
    above, below = _VULGAR[found[3]] if found[3] else (int(found[1]), int(found[2]))
    return None if value is None or below == 0 else value + Fraction(above, below)


def _over(value: Fraction | None, found: re.Match[str]) -> Fraction | None:
    return None if value is None or not found[1] or int(found[1]) == 0 else value / int(found[1])
