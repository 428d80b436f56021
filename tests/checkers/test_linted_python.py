"""What the linting checker says of programs, and that it only keeps them from ending."""

import pytest

from decodelab.checkers.linted_python import LintedPython, remarks
from decodelab.pocket import code


@pytest.mark.parametrize(
    ("source", "remark"),
    [
        ("def f(a):\n    if a:\n        return 1\n    return 1", "f does the same whatever the condition in line 2"),
        (
            "def f(a):\n    if a:\n        b = 1\n    else:\n        b = 1",
            "f does the same whatever the condition in line 2",
        ),
        ("def f(a):\n    return a\n    a = 1", "f never comes to line 3"),
        ("def f(a):\n    return a + c", "nothing binds c"),
        ("def f(a):\n    return min(a, a)", "min(a, a) compares a thing with itself"),
        ("print(1 == 1)", "1 == 1 compares a thing with itself"),
    ],
)
def test_each_fault_keeps_the_program_from_ending_and_not_from_going_on(source, remark):
    assert remarks(source) == [remark]
    program = LintedPython().begin().read(source)
    assert (program.invalid, program.complete) == (False, False)


def test_names_bound_anywhere_and_built_in_are_fine():
    source = (
        "import os.path as p, sys\nfrom a import b\ndef f(x, *y, **z):\n"
        "    for i, j in y:\n        z[i] = [k for k in j if x]\n"
        "    try:\n        return p, sys, b, len(z), f, C\n    except Exception as e:\n        raise e\nclass C: pass\n"
        "match sys:\n    case [u, *v, {'w': w, **r}] as t: print(u, v, w, r, t)\n"
    )
    assert remarks(source) == []


def test_every_pocket_program_is_without_fault():
    for seed in range(200):
        item = code.generate(seed, "test")
        assert LintedPython().begin().read(item.prompt + item.reference).complete, item


def test_what_is_no_python_is_dead_all_the_same():
    assert LintedPython().begin().read("def f(x)):").invalid
