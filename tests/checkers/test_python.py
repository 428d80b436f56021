"""Which texts are beginnings of Python programs: against CPython's parser, on programs, their prefixes and ruins."""

import ast
import gzip
import json
import random
import sysconfig
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodelab.checkers.python import Python
from decodelab.pocket import code

check = Python()


def first_dead(source: str, size: int = 1) -> int | None:
    """Where a program that grows by pieces of this size first becomes invalid."""
    program = check.begin()
    for at in range(0, len(source), size):
        program = program.read(source[at : at + size])
        if program.invalid:
            return at
    assert program.complete, source
    return None


def parses(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


ALIVE = [
    # a word or sign at the end can become another
    "i", "x = 1 i", "x = 1 !", "x = 1 =", "a <", "a <<", "a <<=", "-", "@", "x -", "def f() -", "not", "no", "else_",
    "if x: pass\nel", "if x:\n  pass\nels", "a is not", "a not in", "_", "try", "async d", "return return",
    # numbers
    "1", "1.", "1..", "1..r", "1.e", "1e", "1e-", "1_", "0x", "0b", "012", "1i", "1if", "1if x el", "1or 2", ".5",
    ".", "..", "...", "x = ..", "from ..", "from ...", "from ....x",
    # strings
    "f", "f'", "rb", "rb'''a\n", "'''", "''", "'a\\\n", "'a' 'b' f'c'", "x = 'a\\", "r'\\'", "u", "U'x'", "BR'x'",
    "'''a''", "'''a''b", "print(f'{x!r:>{w}}')", "x = '\\N{DASH}'",
    # brackets, lines and continuations
    "x = (\n\n", "x = [1, # c\n2", "x = 1 \\", "x = 1 \\\n", "x = 1 \\\n + ", "\\", "\f", "#", "# c", "   # c",
    "\n\n", "pass;", "pass; pass\n", "x = 1\r\ny = 2", "x = 1\ry = 2",
    # blocks
    "if x:", "if x:\n", "if x:\n  # c\n", "if 1:\n\tx\n", "while 1: break\nelse", "try:\n x\nexcept* E:\n",
    "@a\n#c\n\n", "async with a as b, c: pass", "async for", "class A(B, m=C): pass", "def f(a, /, b, *, c): pass",
    "def f(a: int = 1, *b: *c)", "with (a", "with (a as b, c as d", "with (a, b) as c", "with (a).b as c",
    "for x, *y in z: pass\n", "for (x) in",
    # soft keywords
    "match", "match x", "match x:\n case", "match x:\n case [", "match(x)", "match (x):", "match (x):\n", "match = 3",
    "case(1)", "match x:\n case case:", "match[x]: int", "match x, y:\n case", "match x:\n case {'a': 1, **r}: pass",
    "type = 3", "match x:\n case A.B(c, d=1) | -1+2j | [a, *_] as z if y:", "match x:\n case (1 | 2) as y, *_:",
    # expressions and statements
    "x:", "x: int =", "lambda", "lambda x=1: x", "x = lambda a=1: a", "await x", "a if b else",
    "[x for x in y if z if", "{**", "{*a, ", "{a:b for", "f(*a, **", "x = yield", "global", "nonlocal x",
    "del (a), b", "import a.b as c,", "from a import (b,\n c,", "a @ b", "a @= b", "x = *a, b", "if (n := 10) > 5",
    "f(a:=1)", "x[1:2, ::3, *a]", "return *a, b", "é", "名 = 1", "x = a if b else lambda: c",
]  # fmt: skip

CLOSED_OFF = [
    "def f(x)):", "x = = 1", "1 = ", "f() = ", "x + 1 = ", "if x\n", "x = 1\n  y", "if x:\ny", "else:", "x +* y =",
    "def f(a a", "class 1", "import 1", "'abc\n", "a b", "x = (1]", "0x1g", "1__0", "012 ", "1ab", "x = 1e+a",
    "while:", "try:\n  x\ny", "@x\ny", "lambda x y", "print 'hi'", "a ? b", "$x", "x = !y", "if x:\n    y\n  z",
    "def f(:", "b'é", "'\\x1' \n", "f'{a b}'\n", "f(a=1, b) \n", "async x ", "x..y", "match x:\n  y", "(yield) = ",
    "del f()\n", "x: int: int", "with open(f) as g h", "from import x", "global x.y", "elif x:", "except:",
    "except* x", "a = 1 = ", "\0", "x = '\0", "\\x", "€", "if x = 3", "not = 3", "x not y", "1.x", "1.0.0", "x = 5 5",
    "{1:2, 3}", "x[1:2:3:4]", "def f(*):\n", "from x import *, y", "if 1:\n\tx\n        y", "(" * 201, "x = )",
    "return return ", "if x: if y: z", "x ++ = 1", "for x y", "continue 1", "case _:", "pass pass", "f(**a for", "<>",
]  # fmt: skip


@pytest.mark.parametrize("text", ALIVE)
def test_what_a_program_can_begin_with_is_alive(text):
    assert check(text) != "invalid"


@pytest.mark.parametrize("text", CLOSED_OFF)
def test_what_no_program_begins_with_is_dead_and_stays_so(text):
    assert check(text) == "invalid"
    assert check.begin().read(text).read("\n1").invalid
    assert check.begin().read(text).read(")").invalid


@pytest.mark.parametrize(
    "text", ["", "x", "x = 1 # c", "if x: y", "if x:\n    y", "''", "x = (\n)", "\n", "  # c", "def f():\n  '''d'''\n"]
)
def test_a_whole_program_is_complete_with_or_without_its_last_line_end(text):
    assert check(text) == "complete"
    assert check(text + "\n") == "complete"


@pytest.mark.parametrize(
    "text", ["if x:", "x =", "(", "'''a", "'", "x \\\n", "@a\n", "try: x\n", "1e", "match x:\n", "0x"]
)
def test_what_lacks_something_is_alive_and_not_complete(text):
    assert check(text) == "prefix"


# --- programs ---------------------------------------------------------------------------------------


def test_every_prefix_of_pocket_programs_is_alive():
    for seed in range(60):
        item = code.generate(seed, "test")
        assert first_dead(item.prompt + item.reference + "\n") is None


def test_every_prefix_of_human_eval_solutions_is_alive(data_dir: Path):
    with gzip.open(data_dir / "humaneval" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as file:
        problems = [json.loads(line) for line in file]
    assert len(problems) == 164
    for problem in problems:
        assert first_dead(problem["prompt"] + problem["canonical_solution"]) is None, problem["task_id"]


def test_every_prefix_of_files_of_the_standard_library_is_alive():
    folder = Path(sysconfig.get_path("stdlib"))
    names = [
        "heapq",
        "bisect",
        "colorsys",
        "contextlib",
        "dataclasses",
        "functools",
        "keyword",
        "this",
        "token",
        "types",
        "asyncio/locks",
    ]
    for name in names:
        assert first_dead((folder / f"{name}.py").read_text(encoding="utf-8"), 3) is None, name


@pytest.mark.slow
def test_every_file_of_the_standard_library_is_alive_in_pieces():
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        source = path.read_bytes().decode(errors="replace")
        if parses(source) and "site-packages" not in path.parts:
            assert first_dead(source, 11) is None, path


GRAMMAR_TESTS = """
async def f(a, /, b: int = 1, *c, d, **e) -> 'x':
    async with (open(a) as b, c as d,): await g(*b, **e)
    async for i, *j in h: yield i
    return [k async for k in l if k if not k]
match(x).y = {**a, 'b': lambda *a, k=1, **b: (yield), 0x_ff: 1_0.5e-3j}
match x, *y:
    case [1, -2.5, 'a' 'b', None, *_] | (3 | 4 as z) if z > 1: del a[1:2, ...], (b)
    case {'k': C(x=1, ), **rest}: global g
    case a.b: assert x, y; raise A from b
with (a): pass
with (a, b): pass
with (yield): pass
with a as (b, c), d as e.f[0]: x: int = yield
try: pass
except* (A, B) as e: pass
else: pass
finally: nonlocal_ = 1if x else 2
print(f'{x!r:{y}}' rf"\\{z}", a if b else c, x := 1, *a, k=2) if 0 else 1 # c
"""


def test_every_prefix_of_a_program_that_uses_the_whole_grammar_is_alive():
    source = "def outer(g):\n" + "".join(f"  {line}\n" if line else "\n" for line in GRAMMAR_TESTS.splitlines())
    assert parses(source)
    assert first_dead(source) is None
    assert first_dead(source.replace("\n", "\r\n")) is None


# --- against CPython ----------------------------------------------------------------------------------

PIECES = [
    "(", ")", "[", "]", "{", "}", ":", "=", ",", ".", "if ", "else ", "in ", "for ", "def ", "x", "1", "'", "\n",
    "    ", " ", "*", "lambda ", "not ", "\\", "@", "match ", "case ", "#", "f'{", "yield ", "with ", "as ", "e", "_",
    "0",
]  # fmt: skip


@given(seed=st.integers(0, 2**32 - 1), pieces=st.lists(st.sampled_from(PIECES), max_size=3))
@settings(max_examples=300)
def test_of_ruined_programs_complete_are_those_that_cpython_parses(seed, pieces):
    rng = random.Random(seed)
    source = rng.choice(
        [GRAMMAR_TESTS, code.generate(seed % 50, "test").prompt + code.generate(seed % 50, "test").reference]
    )
    source = "".join(source.splitlines(keepends=True)[: rng.randint(1, 9)])
    for piece in pieces:
        at = rng.randrange(len(source) + 1)
        source = source[:at] + piece + source[at + rng.choice([0, 0, 1, 4]) :]
    assert (check(source) == "complete") == parses(source)


@pytest.mark.parametrize(
    ("text", "complete"),
    [("\\\n", False), ("x\n\\\n", False), ("\\\n\n", True), ("\\\n  ", True), ("\\\n#", True), ("\\\nx", True)],
)
def test_a_line_continuation_at_the_end_is_not_complete(text, complete):
    assert (check(text) == "complete") == complete == parses(text)


@given(text=st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@settings(max_examples=300)
def test_of_sequences_of_tokens_complete_are_those_that_cpython_parses(text):
    assert (check(text) == "complete") == parses(text)
    if check(text) == "invalid":
        assert not parses(text)


@given(cuts=st.lists(st.integers(0, len(GRAMMAR_TESTS)), max_size=8), ruined=st.booleans())
@settings(max_examples=100)
def test_how_a_text_is_cut_into_pieces_makes_no_difference(cuts, ruined):
    source = GRAMMAR_TESTS.replace("a.b", "a,.b") if ruined else GRAMMAR_TESTS
    edges = [0, *sorted(min(c, len(source)) for c in cuts), len(source)]
    program = check.begin()
    for start, stop in pairwise(edges):
        program = program.read(source[start:stop])
    whole = check.begin().read(source)
    assert (program.invalid, program.invalid or program.complete) == (whole.invalid, whole.invalid or whole.complete)


def test_a_reading_is_a_value_that_forks():
    begun = check.begin().read("def f(")
    assert not begun.read("x").invalid
    assert begun.read("(").invalid
    assert begun.read("x):\n  return x").complete


# --- hostile text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("-" * 20_000 + "1", "complete"),
        ("1+" * 20_000 + "1", "complete"),
        ("f" + "()" * 20_000, "complete"),
        ("not " * 20_000, "prefix"),
        ("a" * 100_000, "complete"),
        ("'''" + "a" * 100_000, "prefix"),
        ("\n" * 50_000, "complete"),
        (" " * 50_000, "complete"),
        ("\\\n" * 20_000, "complete"),
        ("9" * 6_000, "invalid"),
        ("(" * 200, "prefix"),
        ("{" * 11 + "f()" + "}" * 11 + " = 3", "invalid"),
        ("{" * 12 + "f()" + "}" * 12 + " = 3", "complete"),
        ("".join(" " * i + "if x:\n" for i in range(120)), "invalid"),
        ("lambda: " * 20_000, "prefix"),
        ("\ud800", "invalid"),
        ("x = '\ud800", "prefix"),
        ("\x00", "invalid"),
    ],
    ids=lambda value: (
        value[:8].replace("\x00", "null").replace("\ud800", "surrogate") if isinstance(value, str) else ""
    ),
)
def test_text_made_to_break_parsers_breaks_nothing(text, verdict):
    assert check(text) == verdict


@given(text=st.text(max_size=60))
@settings(max_examples=100)
def test_any_text_gets_a_verdict(text):
    assert (check(text) == "complete") == parses(text)
