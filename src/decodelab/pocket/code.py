"""Tiny Python functions from a one-line specification, judged by test cases in a small interpreter."""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Callable
from typing import Any

from decodelab.pocket.interpreter import Refused, call_function
from decodelab.pocket.item import LONGEST_ANSWER, Item, Split, draw

TASK = "code"

# A task in the making: specification, parameters, body lines, the function in our own Python, argument maker.
Function = tuple[str, str, list[str], Callable[..., Any], Callable[[random.Random], list[Any]]]

# Which numbers of a list: words, condition in code, condition here. {k} is a small constant.
_FILTERS: tuple[tuple[str, str, Callable[[int, int], bool]], ...] = (
    ("the numbers in {xs}", "", lambda x, k: True),
    ("the even numbers in {xs}", "x % 2 == 0", lambda x, k: x % 2 == 0),
    ("the odd numbers in {xs}", "x % 2 == 1", lambda x, k: x % 2 == 1),
    ("the positive numbers in {xs}", "x > 0", lambda x, k: x > 0),
    ("the negative numbers in {xs}", "x < 0", lambda x, k: x < 0),
    ("the numbers in {xs} above {k}", "x > {k}", lambda x, k: x > k),
    ("the numbers in {xs} below {k}", "x < {k}", lambda x, k: x < k),
    ("the numbers in {xs} that are not {k}", "x != {k}", lambda x, k: x != k),
)
# What is done to each: words, code, function. {m} is a small constant.
_MAPS: tuple[tuple[str, str, Callable[[int, int], int]], ...] = (
    ("", "x", lambda x, m: x),
    ("the squares of ", "x * x", lambda x, m: x * x),
    ("{m} times ", "x * {m}", lambda x, m: x * m),
    ("{m} more than ", "x + {m}", lambda x, m: x + m),
    ("{m} less than ", "x - {m}", lambda x, m: x - m),
)
_NUMBERS: tuple[tuple[str, str, Callable[[int, int, int], int]], ...] = (
    ("the sum of {a} and {b}", "{a} + {b}", lambda a, b, k: a + b),
    ("{a} minus {b}", "{a} - {b}", lambda a, b, k: a - b),
    ("the product of {a} and {b}", "{a} * {b}", lambda a, b, k: a * b),
    ("the larger of {a} and {b}", "max({a}, {b})", lambda a, b, k: max(a, b)),
    ("the smaller of {a} and {b}", "min({a}, {b})", lambda a, b, k: min(a, b)),
    ("the distance from {a} to {b}", "abs({a} - {b})", lambda a, b, k: abs(a - b)),
    ("{k} times {a} plus {b}", "{k} * {a} + {b}", lambda a, b, k: k * a + b),
    ("{a} plus {k} times {b}", "{a} + {k} * {b}", lambda a, b, k: a + k * b),
)
_TESTS: tuple[tuple[str, str, Callable[[int, int, int], bool]], ...] = (
    ("{a} is even", "{a} % 2 == 0", lambda a, b, k: a % 2 == 0),
    ("{a} is odd", "{a} % 2 == 1", lambda a, b, k: a % 2 == 1),
    ("{a} is above {b}", "{a} > {b}", lambda a, b, k: a > b),
    ("{a} is below {b}", "{a} < {b}", lambda a, b, k: a < b),
    ("{a} equals {b}", "{a} == {b}", lambda a, b, k: a == b),
    ("{a} is above {k}", "{a} > {k}", lambda a, b, k: a > k),
    ("{a} is a multiple of {k}", "{a} % {k} == 0", lambda a, b, k: a % k == 0),
)
# What is done to the whole value at the end.
_TAILS = {"plus": ("+", operator.add), "minus": ("-", operator.sub), "times": ("*", operator.mul)}
_PAIRS = (("a", "b"), ("x", "y"), ("m", "n"), ("b", "a"), ("p", "q"))
_LISTS = ("xs", "nums", "values", "items")


def _two_numbers(rng: random.Random) -> list[Any]:
    a = rng.randint(-9, 20)
    return [a, a if rng.random() < 0.2 else rng.randint(-9, 20)]


def _one_list(rng: random.Random) -> list[Any]:
    return [[rng.randint(-9, 12) for _ in range(rng.randint(3, 7))]]


def _arithmetic(rng: random.Random) -> Function:
    a, b = rng.choice(_PAIRS)
    k, extra = rng.randint(2, 9), rng.randint(1, 9)
    words, code, function = rng.choice(_NUMBERS)
    said, written = words.format(a=a, b=b, k=k), code.format(a=a, b=b, k=k)
    tail = rng.choice(("", *_TAILS))
    if tail == "":
        return said, f"{a}, {b}", [f"return {written}"], (lambda p, q: function(p, q, k)), _two_numbers
    sign, change = _TAILS[tail]
    written = f"({written})" if tail == "times" else written
    return f"{said}, {tail} {extra}", f"{a}, {b}", [f"return {written} {sign} {extra}"], (
        lambda p, q: change(function(p, q, k), extra)), _two_numbers  # fmt: skip


def _branch(rng: random.Random) -> Function:
    a, b = rng.choice(_PAIRS)
    k = rng.randint(2, 9)
    words, code, test = rng.choice(_TESTS)
    said, written = words.format(a=a, b=b, k=k), code.format(a=a, b=b, k=k)
    if rng.random() < 0.3:
        return (f"True if {said}", f"{a}, {b}", [f"return {written}"], (lambda p, q: test(p, q, k)), _two_numbers)
    other = rng.randint(2, 9)
    (yes_words, yes_code, yes), (no_words, no_code, no) = rng.sample(_NUMBERS[:6], 2)
    spec = f"{yes_words.format(a=a, b=b)} if {said}, else {no_words.format(a=a, b=b)}"
    lines = [f"if {written}:", f"    return {yes_code.format(a=a, b=b)}", f"return {no_code.format(a=a, b=b)}"]
    return spec, f"{a}, {b}", lines, (
        lambda p, q: yes(p, q, other) if test(p, q, k) else no(p, q, other)), _two_numbers  # fmt: skip


def _loop(rng: random.Random) -> Function:
    xs = rng.choice(_LISTS)
    k, m = rng.randint(1, 9), rng.randint(2, 9)
    which, condition, keeps = rng.choice(_FILTERS)
    said = which.format(xs=xs, k=k)
    condition = condition.format(k=k)
    how, code, change = rng.choice(_MAPS)
    what = rng.choice(("sum", "count", "list", "list"))
    if what == "count":
        start, spec, line = "total = 0", f"how many of {said} there are", "total += 1"
    elif what == "sum":
        start, spec, line = "total = 0", f"the sum of {how.format(m=m)}{said}", f"total += {code.format(m=m)}"
    else:
        start = "total = []"
        spec, line = f"a list of {how.format(m=m)}{said}", f"total.append({code.format(m=m)})"
    inner = [f"    if {condition}:", f"        {line}"] if condition else [f"    {line}"]
    lines = [start, f"for x in {xs}:", *inner, "return total"]

    def expected(values: list[int]) -> Any:
        kept = [x for x in values if keeps(x, k)]
        if what == "count":
            return len(kept)
        changed = [change(x, m) for x in kept]
        return sum(changed) if what == "sum" else changed

    return spec, xs, lines, expected, _one_list


def _builtin(rng: random.Random) -> Function:
    xs, k = rng.choice(_LISTS), rng.randint(1, 9)
    words, code, function = rng.choice(
        (
            ("the largest number in {xs}", "max({xs})", lambda v: max(v)),
            ("the smallest number in {xs}", "min({xs})", lambda v: min(v)),
            ("the length of {xs}", "len({xs})", lambda v: len(v)),
            ("the sum of {xs}", "sum({xs})", lambda v: sum(v)),
            ("the first number in {xs}", "{xs}[0]", lambda v: v[0]),
            ("the last number in {xs}", "{xs}[-1]", lambda v: v[-1]),
            ("the largest minus the smallest number in {xs}", "max({xs}) - min({xs})", lambda v: max(v) - min(v)),
        )
    )
    said, written = words.format(xs=xs), code.format(xs=xs)
    tail = rng.choice(("", *_TAILS))
    if tail == "":
        return said, xs, [f"return {written}"], function, _one_list
    sign, change = _TAILS[tail]
    if tail == "times" and " - " in written:
        written = f"({written})"
    return f"{said}, {tail} {k}", xs, [f"return {written} {sign} {k}"], lambda v: change(function(v), k), _one_list


def _make(rng: random.Random) -> tuple[str, Item]:
    spec, parameters, body, expected, arguments = rng.choices((_arithmetic, _branch, _loop, _builtin), (3, 3, 4, 2))[0](
        rng
    )
    head = f"# Return {spec}.\ndef f({parameters}):"
    tests = []
    for _ in range(6):
        values = arguments(rng)
        tests.append([values, expected(*values)])
    reference = "\n" + "\n".join(f"    {line}" for line in body)
    return head, Item(TASK, head, reference, {"tests": tests})


def generate(seed: int, split: Split) -> Item:
    """Return the programming question that `seed` names: arithmetic, branches, loops with filters, built-ins.

    >>> generate(0, "test").prompt.startswith("# Return ")
    True
    """
    return draw(TASK, seed, split, _make)


def grade(item: Item, text: str) -> float:
    """Return 1.0 if the body in `text` passes every test of the item, else 0.0; Python runs none of it.

    The body ends before the first line that is not indented (a model may go on with something else). A
    body given without its leading newline or indentation, as chat replies are, is accepted.
    """
    text = text[:LONGEST_ANSWER]
    if not text.startswith("\n"):
        text = "\n    " + text.lstrip(" ")
    body = re.match(r"(?:\n(?:[ \t][^\n]*)?)*", text)
    source = item.prompt + (body[0] if body else "") + "\n"
    try:
        for arguments, wanted in item.meta["tests"]:
            got = call_function(source, arguments)
            if type(got) is not type(wanted) or got != wanted:
                return 0.0
    except Refused:
        return 0.0
    return 1.0
