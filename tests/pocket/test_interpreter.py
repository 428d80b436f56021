"""Model-written functions: what the interpreter runs, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.pocket import Item, code
from decodelab.pocket.interpreter import Refused, call_function


def run(body: str, *arguments):
    parameters = ", ".join("abcdef"[: len(arguments)])
    return call_function(f"def f({parameters}):\n" + "".join(f"    {line}\n" for line in body.split("\n")), arguments)


numbers = st.integers(-50, 50)


@given(numbers, numbers)
def test_arithmetic_and_comparison_are_pythons(a, b):
    assert run("return a + b * 2 - (a - b)", a, b) == a + b * 2 - (a - b)
    assert run("return -a", a) == -a
    assert run("return [a < b, a <= b, a == b, a != b, a > b, a >= b, a < b < 3]", a, b) == [
        a < b, a <= b, a == b, a != b, a > b, a >= b, a < b < 3]  # fmt: skip
    assert run("return a and b or 7", a, b) == ((a and b) or 7)
    assert run("return a if not a else b", a, b) == (a if not a else b)
    if b:
        assert run("return [a // b, a % b]", a, b) == [a // b, a % b]


@given(st.lists(numbers, min_size=1, max_size=8))
def test_loops_lists_and_built_ins_are_pythons(xs):
    assert run("t = []\nfor x in a:\n    if x > 0:\n        t.append(x * x)\nreturn t", xs) == [
        x * x for x in xs if x > 0
    ]
    assert run("t = 0\nfor i in range(len(a)):\n    t += a[i]\nreturn t", xs) == sum(xs)
    assert run("return [len(a), sum(a), min(a), max(a), abs(a[0]), a[-1]]", xs) == [
        len(xs), sum(xs), min(xs), max(xs), abs(xs[0]), xs[-1]]  # fmt: skip
    assert run("return sorted(a)", xs) == sorted(xs)
    assert run("return 3 in a", xs) == (3 in xs)


def test_arguments_are_not_changed_and_a_function_without_return_gives_none():
    xs = [1, 2]
    assert run("a.append(3)\nreturn a", xs) == [1, 2, 3]
    assert xs == [1, 2]
    assert run("pass", 1) is None


REFUSED = {
    "import": "import os",
    "import from": "from os import system",
    "dunder": "return a.__class__",
    "method": "return a.bit_length()",
    "call of a name": "return open('/etc/passwd')",
    "eval": "return eval('1')",
    "exec": "exec('1')",
    "getattr": "return getattr(a, 'real')",
    "lambda": "return (lambda: 1)()",
    "comprehension": "return [x for x in [1]]",
    "while": "while True:\n    pass",
    "nested function": "def g():\n    return 1\nreturn g()",
    "recursion": "return f(a)",
    "class": "class A:\n    pass",
    "global": "global x\nx = 1",
    "try": "try:\n    pass\nfinally:\n    pass",
    "with": "with a:\n    pass",
    "raise": "raise ValueError",
    "assert": "assert False",
    "delete": "del a",
    "yield": "yield 1",
    "tuple unpacking": "a, b = 1, 2",
    "walrus": "return (b := 1)",
    "dict": "return {}",
    "float": "return 0.5",
    "power": "return 9 ** 9 ** 9",
    "shift": "return 1 << 99999",
    "true division": "return 1 / 2",
    "f-string": "return f'{a}'",
    "format by %": "return '%1000000d' % 1",
    "string repetition": "return 'a' * 10 ** 9",
    "list repetition": "return [0] * 1000000000",
    "huge literal": "return " + "9" * 1500,
    "growing number": "b = 2\nfor i in range(1000):\n    b = b * b\nreturn b",
    "growing list": "b = [1]\nfor i in range(100):\n    b = b + b\nreturn b",
    "growing string": "b = 'ab'\nfor i in range(100):\n    b = b + b\nreturn b",
    "huge range": "return sum(range(10000000))",
    "too many steps": "for i in range(999):\n    for j in range(999):\n        pass",
    "self-containing list": "b = []\nb.append(b)\nreturn b",
    "nested list": "return [[1]]",
    "division by zero": "return 1 // 0",
    "index error": "return [1][5]",
    "type error": "return 'a' + 1",
    "unknown name": "return zz",
    "bad range": "return range(1, 2, 0)",
    "star": "return max(*[1, 2])",
    "keyword": "return sorted([1], key=len)",
    "a built-in as a value": "return len",
    "deep parentheses": "return " + "(" * 400 + "1" + ")" * 400,
    "deep sum": "return " + "-" * 900 + "1",
    "not Python": "return return",
    "null": "return 1\0",
    "too long": "return 1" + " + 1" * 900,
    "annotation": "b: int = 1",
    "loop else": "for i in [1]:\n    pass\nelse:\n    pass",
    "invalid escape": "return '\\q'[9]",
    "is a literal": "return 1 is 1",
}


@pytest.mark.parametrize("name", REFUSED)
def test_everything_else_is_refused(name):
    with pytest.raises(Refused):
        run(REFUSED[name], 1)


@pytest.mark.parametrize(
    "source",
    ["", "1", "x = 1", "def f(a):\n    return a\nprint(1)", "@property\ndef f(a):\n    return a",
     "async def f(a):\n    return a", "def f(a, b):\n    return a", "def f(*a):\n    return a",
     "def f(a=1):\n    return a", "def f(a, *, b):\n    return a"],
)  # fmt: skip
def test_only_one_plain_function_of_the_right_arity_is_run(source):
    with pytest.raises(Refused):
        call_function(source, [1])


@given(st.text(max_size=200))
def test_any_text_either_runs_or_is_refused(text):
    try:
        run(text, 1, [2])
    except Refused:
        return


DOUBLE = Item("code", "# Return 2 times a.\ndef f(a):", "", {"tests": [[[1], 2], [[-3], -6]]})


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("\n    return a * 2", 1.0),
        ("return a + a", 1.0),
        ("\n    return a * 2\n\n# Return 1.\ndef g():\n    return 1", 1.0),
        ("\n    return 2", 0.0),
        ("\nreturn a * 2", 0.0),
        ("\n    if a:\n        return a * 2", 1.0),
        ("", 0.0),
        ("\n    return a * 2 == 2", 0.0),  # True is not 2... nor 1
    ],
)
def test_a_body_is_right_if_it_passes_every_test(text, grade):
    assert code.grade(DOUBLE, text) == grade


def test_true_is_not_one():
    item = Item("code", "# Return 1.\ndef f(a):", "", {"tests": [[[1], 1]]})
    assert code.grade(item, "\n    return True") == 0.0
