"""The function that a prompt asks for, and the examples that it shows."""

import gzip
import json

import pytest

from decodelab.core.errors import SandboxMissing
from decodelab.programs.completion import program
from decodelab.programs.examples import Asked, Case, asked_function, shown_examples, written_case
from decodelab.programs.sandbox import Bounds, sandbox
from decodelab.programs.trials import tried


def shown(docstring: str) -> list[tuple[str, str | None]]:
    asked = asked_function(f'def f(x):\n    """{docstring}\n    """\n')
    assert asked is not None
    return [(case.call, case.expected) for case in shown_examples(asked)]


@pytest.mark.parametrize(
    ("docstring", "found"),
    [
        (">>> f(1)\n    2", [("f(1)", "2")]),
        (">>> f(\n    ...     1)\n    [2,\n     3]", [("f(1)", "[2, 3]")]),
        ("Doubles: f(1) == 2.", [("f(1)", "2")]),
        ("f(1) => 2\n    f('a, b') \u279e ['a', 'b']", [("f(1)", "2"), ("f('a, b')", "['a', 'b']")]),
        ("f(1) returns 2 # twice", [("f(1)", "2")]),
        ("max(f(1), 0)\n    g(1) == 2\n    f(1) == y\n    f(1) = 2\n    half(1) == 2", []),
        ("\n".join(["f(1) == f(1) == " * 60] * 50), []),
    ],
)
def test_examples_are_doctests_and_lines_that_say_what_a_call_gives(docstring, found):
    assert shown(docstring) == found


def test_statements_before_a_doctest_are_its_setup():
    (case,) = shown_examples(Asked("def f(x):\n    '''\n    >>> x = [1]\n    >>> f(x)\n    2\n    '''\n", "f"))
    assert case == Case("f(x)", "2", "x = [1]")


def test_the_last_function_is_asked_for_and_what_precedes_it_is_kept():
    asked = asked_function("import re\n\ndef g():\n    return 1\n\ndef f(x):\n")
    assert asked is not None
    assert (asked.name, asked.before) == ("f", "import re\n\ndef g():\n    return 1\n\n")


def test_another_comparison_must_be_true_and_anything_else_has_an_output_only():
    assert written_case("abs(f(1) - 2) < 1e-6", "f") == Case("abs(f(1) - 2) < 1e-06", "True")
    assert written_case("not f(1)", "f") == Case("not f(1)", "True")
    assert written_case("f(1) + 1", "f") == Case("f(1) + 1")


@pytest.mark.slow
def test_published_solutions_pass_the_examples_that_prompts_show(data_dir):
    try:
        sandbox()
    except SandboxMissing as error:
        pytest.skip(str(error))
    with gzip.open(data_dir / "humaneval" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as file:
        items = [json.loads(line) for line in file]
    showing, failing = 0, []
    for item in items:
        asked = asked_function(item["prompt"])
        assert asked is not None
        assert asked.name == item["entry_point"]
        cases = shown_examples(asked)
        showing += bool(cases)
        written = program(asked.code, asked.name, item["canonical_solution"])
        if cases and not all(tried([written], asked, cases, Bounds(60))[0].passed):
            failing.append(item["task_id"])
    assert showing == 120
    assert failing == ["HumanEval/47", "HumanEval/80"]  # a wrong docstring, and arguments without quotes
