"""Plain data between a program and its tests: whole on the way, and harmless whatever the bytes are."""

import math
import random
from collections import Counter, OrderedDict, namedtuple
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from decodelab.programs.plain_data import NotPlain, decoded, encoded

Point = namedtuple("Point", "x y")
VALUES: list[Any] = [
    None, True, False, 0, -1, 10**5000, 0.1, -0.0, math.inf, 5e-324, 1 + 2j, "", "\ud800\0\u00e9", b"\xff",
    bytearray(b"a"), [], [1, [2, (3,)]], (), {1, "a"}, frozenset({2}), {"b": 1, (1, 2): [3]}, range(2, 9, 3),
    Decimal("1.10"), Fraction(2, 3),
]  # fmt: skip


def test_plain_data_comes_back_as_it_was():
    for value in VALUES:
        found = decoded(encoded(value))
        assert found == value
        assert type(found) is type(value)


def test_order_and_signs_are_kept():
    assert math.copysign(1, decoded(encoded(-0.0))) == -1
    assert math.isnan(decoded(encoded(math.nan)))
    assert list(decoded(encoded({"b": 1, "a": 2}))) == ["b", "a"]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Point(1, 2), (1, 2)),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (type("S", (str,), {})("x"), "x"),
    ],
)
def test_of_a_subclass_its_base_is_sent(value: Any, plain: Any):
    found = decoded(encoded(value))
    assert found == plain
    assert type(found) is type(plain)


def test_views_and_iterators_are_sent():
    found = decoded(encoded([{"a": 1}.keys(), {"a": 1}.values(), {"a": 1}.items(), iter([1, 2]), map(str, [3])]))
    assert [list(part) for part in found] == [["a"], [1], [("a", 1)], [1, 2], ["3"]]


@pytest.mark.parametrize("value", [object(), print, [lambda: 0], int, {"a": object()}, ...])
def test_what_is_no_plain_data_is_refused(value: Any):
    with pytest.raises(NotPlain):
        encoded(value)


def test_bytes_of_an_adversary_give_plain_data_or_an_error():
    draw = random.Random(0)
    whole = encoded(VALUES)
    for _ in range(2000):
        data = bytearray(whole[: draw.randrange(len(whole))] if draw.random() < 0.5 else whole)
        for _ in range(draw.randrange(4)):
            if data:
                data[draw.randrange(len(data))] = draw.choice(b"lLtszKVEdrcI0123456789:iufbaDQNTF-_ ")
        try:
            found = decoded(bytes(data))
        except (ValueError, TypeError, RecursionError, ArithmeticError, MemoryError):
            continue
        encoded(found)
    with pytest.raises(RecursionError):
        decoded(b"l1:" * 100_000)
