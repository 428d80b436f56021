"""Integer sums with worked steps: digit by digit from the right, the carry in plain view."""

from __future__ import annotations

import random
import re

from decodelab.core.integers import read_integer
from decodelab.core.thoughts import without_thoughts
from decodelab.pocket.item import LONGEST_ANSWER, Item, Split, draw

TASK = "sums"
_STATED = re.compile(r"answer is\s[^\n]{0,200}?(?=\.(?!\d)|\n|$)", re.IGNORECASE)


def work_addition(a: int, b: int) -> str:
    """Return the digit-by-digit working of `a + b` for non-negative integers.

    >>> work_addition(37, 45)
    '7+5=12, 3+4+1=8, so 37+45=82.'
    """
    steps, carry = [], 0
    for left, right in _columns(a, b):
        total = left + right + carry
        steps.append(f"{left}+{right}{'+1' if carry else ''}={total}")
        carry = total // 10
    return f"{', '.join(steps)}, so {a}+{b}={a + b}."


def work_subtraction(a: int, b: int) -> str:
    """Return the digit-by-digit working of `a - b` for `a >= b >= 0`; a borrow shows as a leading 1.

    >>> work_subtraction(82, 45)
    '12-5=7, 8-4-1=3, so 82-45=37.'
    """
    steps, borrow = [], 0
    for left, right in _columns(a, b):
        short = left - right - borrow < 0
        left += 10 * short
        steps.append(f"{left}-{right}{'-1' if borrow else ''}={left - right - borrow}")
        borrow = int(short)
    return f"{', '.join(steps)}, so {a}-{b}={a - b}."


def _columns(a: int, b: int) -> list[tuple[int, int]]:
    width = max(len(str(a)), len(str(b)))
    left, right = str(a).zfill(width), str(b).zfill(width)
    return [(int(x), int(y)) for x, y in zip(reversed(left), reversed(right), strict=True)]


def _operand(rng: random.Random) -> int:
    digits = rng.choices((1, 2, 3), weights=(2, 5, 3))[0]
    return rng.randrange(10 ** (digits - 1), 10**digits)


def _make(rng: random.Random) -> tuple[str, Item]:
    terms = 3 if rng.random() < 0.3 else 2
    value = _operand(rng)
    question, working = str(value), []
    for _ in range(terms - 1):
        term = _operand(rng)
        if rng.random() < 0.4:
            if term > value:
                if len(working) == 0:
                    value, term = term, value
                    question = str(value)
                else:
                    term = rng.randrange(0, value + 1)
            working.append(work_subtraction(value, term))
            question += f" - {term}"
            value -= term
        else:
            working.append(work_addition(value, term))
            question += f" + {term}"
            value += term
    reference = "\n" + "\n".join(working) + f"\nThe answer is {value}."
    return question, Item(TASK, f"What is {question}?", reference, {"value": value})


def generate(seed: int, split: Split) -> Item:
    """Return the sum that `seed` names: two or three terms of one to three digits, never below 0.

    >>> generate(0, "test").prompt.startswith("What is ")
    True
    """
    return draw(TASK, seed, split, _make)


def grade(item: Item, text: str) -> float:
    """Return 1.0 if the first `answer is N` in `text` gives the right number, else 0.0."""
    return float(read(text) == item.meta["value"])


def read(text: str) -> int | None:
    """The integer of the first `answer is N`, read as in all tasks, or None.

    The first, as what follows is no more of the answer: a text of the language ends with it.
    """
    stated = _STATED.search(without_thoughts(text)[-LONGEST_ANSWER:])
    return None if stated is None else read_integer(stated[0])
