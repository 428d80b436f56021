"""HumanEval: answers in every form become the program they stand for, and only programs that pass their tests score."""

import ast
import gzip
import json

import pytest

from decodelab.core.errors import DecodelabError, InvalidData, SandboxMissing
from decodelab.programs.code_tests import apart
from decodelab.programs.sandbox import sandbox
from decodelab.tasks.humaneval import EXAMPLE, HumanEval, instruction
from decodelab.tasks.response import Response
from decodelab.tasks.task import Example, task_named, verdicts_of

PREAMBLE = "from math import pi\n\n\ndef twice(x):\n    return 2 * x\n\n\n"
PROMPT = PREAMBLE + 'def area(r: float) -> float:\n    """The area."""\n'
BODY = "    return pi * r * r\n"
TEST = "def check(candidate):\n    assert abs(candidate(2) - 12.566) < 0.001\n    assert twice(2) == 4\n"
META = {"prompt": PROMPT, "entry_point": "area", "test": TEST}
ITEM = Example("t/0", PROMPT, BODY, META)
WHOLE = "def area(r):\n    return pi * r**2\n"


@pytest.fixture
def needs_sandbox():
    try:
        sandbox()
    except SandboxMissing as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        (BODY, PROMPT + BODY),
        (BODY + "\n\ndef other():\n    pass\n", PROMPT + BODY),
        (BODY + "\nprint(area(2))", PROMPT + BODY),
        (BODY + "\nif __name__ == '__main__':\n    area(1)", PROMPT + BODY),
        (BODY + "\n# Test\nassert area(1)", PROMPT + BODY),
        ("    if r:\n        return pi * r * r\n", PROMPT + "    if r:\n        return pi * r * r\n"),
        (BODY + "\n\ndef area(r):\n    return 0\n", PROMPT + BODY),
        (WHOLE, PREAMBLE + WHOLE),
        ("import math\n\n" + WHOLE, PREAMBLE + "import math\n\n" + WHOLE),
        (f"Here it is:\n```python\n{WHOLE}```\nIt squares r.", PREAMBLE + WHOLE),
        (f"```\n{WHOLE}", PREAMBLE + WHOLE),
        (f"```py\nx = 1\n```\nthen\n```python\n{WHOLE}```\nand\n```python\nprint(area(1))\n```", PREAMBLE + WHOLE),
        (f"```python\n{BODY}```", PROMPT + BODY),
        (f"<think>\n```python\ndef area(r):\n    return 0\n```\n</think>\n```python\n{WHOLE}```", PREAMBLE + WHOLE),
        (f"```python\n{PROMPT}{BODY}```", PREAMBLE + "from math import pi\n" + PROMPT.removeprefix(PREAMBLE) + BODY),
        (f"1. So:\n\n   ```python\n   {WHOLE.replace(chr(10), chr(10) + '   ')}\n   ```\n", PREAMBLE + WHOLE),
        (f"~~~python\n{WHOLE}~~~\n", PREAMBLE + WHOLE),
        (f"Sure, here it is:\n\n{WHOLE}\nIt squares r.\n", PREAMBLE + WHOLE),
        (
            f"```python\nfrom __future__ import annotations\n{WHOLE}```",
            f"from __future__ import annotations\n{PREAMBLE}{WHOLE}",
        ),
        (
            "```python\ndef square(r):\n    return r * r\n```\n```python\ndef area(r):\n    return pi * square(r)\n```",
            f"{PREAMBLE}def square(r):\n    return r * r\ndef area(r):\n    return pi * square(r)",
        ),
        (f"```python\ndef area(r):\n    return 0\n```\nNo, rather:\n```python\n{WHOLE}```", PREAMBLE + WHOLE),
        (f"```python\n{WHOLE}```\nYou asked for:\n```python\ndef area(r):\n    ...\n```", PREAMBLE + WHOLE),
        (f"{BODY}```\n\nIt squares r.", PROMPT + BODY),
        (f"Its body:\n\n{BODY}", PROMPT + BODY),
        ("```python\nreturn pi * r * r\n```", PROMPT + BODY),
        (f"    {WHOLE.replace(chr(10), chr(10) + '    ')}", PREAMBLE + WHOLE),
        (
            "```python\nunused = 1\nk = 2\nk += 1\nclass B:\n    x = k\n"
            "@staticmethod\ndef area(r):\n    return B.x\n```",
            f"{PREAMBLE}k = 2\nk += 1\nclass B:\n    x = k\n@staticmethod\ndef area(r):\n    return B.x",
        ),
        (f"```python\n{WHOLE}\ndef test():\n    assert area(1) == [1,", PREAMBLE + WHOLE),
        ("def areas(r):\n    return 1\n", PROMPT + "def areas(r):\n    return 1\n"),
        ("", PROMPT),
    ],
)
def test_an_answer_is_a_completion_or_a_whole_function(answer, program):
    lines, wanted = HumanEval().program(META, answer).splitlines(), program.splitlines()
    assert [line for line in lines if line] == [line for line in wanted if line]


def wrapped(entry: str, whole: str) -> dict[str, str]:
    """A whole solution in the forms in which chats give one."""
    listed = whole.replace("\n", "\n   ")
    return {
        "a fence": f"```python\n{whole}\n```",
        "tildes": f"Here:\n\n~~~python\n{whole}\n~~~\nDone.",
        "a list": f"1. So:\n\n   ```python\n   {listed}\n   ```\n\n2. It works.",
        "from __future__": f"```python\nfrom __future__ import annotations\n{whole}\n```",
        "prose": f"Sure! Here it is:\n\n{whole}\n\nThis is right. For example:\n\nprint({entry}(1))\n",
        "a helper": "```python\ndef my_helper(x):\n    return x\n```\nThen\n"
        f"```python\n{whole}\n```\n```python\n{entry}(2)\n```",
        "a correction": f"```python\ndef {entry}(*args):\n    return None\n```\nCorrected:\n```python\n{whole}\n```",
        "a quotation": "> ```python\n> " + whole.replace("\n", "\n> ") + "\n> ```",
        "a cut": f"```python\n{whole}\n\ndef test_it():\n    assert {entry}(1) == [1,",
        "thoughts": f"<think>\n```python\ndef {entry}():\n    pass\n```\n</think>\n\n```python\n{whole}\n```",
    }


def test_published_solutions_are_found_in_every_form(data_dir):
    """All 164, each in two of the forms: the function that is run is the published one, and the program compiles."""
    examples = HumanEval().read(data_dir / "humaneval" / "HumanEval.jsonl.gz")
    for number, example in enumerate(examples):
        entry, whole = example.meta["entry_point"], example.meta["prompt"] + example.reference
        forms = list(wrapped(entry, whole).items())
        for form, answer in (forms[number % len(forms)], forms[(number * 3 + 1) % len(forms)]):
            program = HumanEval().program(example.meta, answer)
            compile(program, "<program>", "exec")
            found = [node for node in ast.parse(program).body if getattr(node, "name", "") == entry][-1]
            published = [node for node in ast.parse(whole).body if getattr(node, "name", "") == entry][-1]
            assert ast.dump(found) == ast.dump(published), (example.id, form)


@pytest.mark.usefixtures("needs_sandbox")
def test_a_published_solution_passes_in_every_form(data_dir):
    example = HumanEval().read(data_dir / "humaneval" / "HumanEval.jsonl.gz")[38]  # its prompt has another function
    answers = wrapped("decode_cyclic", example.meta["prompt"] + example.reference)
    verdicts = verdicts_of(HumanEval(seconds=120), [(example, Response(answer)) for answer in answers.values()])
    assert dict(zip(answers, (verdict.answer for verdict in verdicts), strict=True)) == dict.fromkeys(
        answers, "finished"
    )


def test_long_and_hostile_answers_are_read_in_linear_time():
    for text in (
        "```python\n" * 100_000,
        "\n```" * 200_000,
        "def area(" * 100_000,
        "\0\x1b[31m\ud800" * 100_000,
        "def f():\n" * 20_000,
        "(\n" * 50_000,
    ):
        assert len(HumanEval().program(META, text)) < 300_000


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (BODY, "finished"),
        (f"Sure!\n```python\n{WHOLE}```", "finished"),
        ("    return None\n", "raised TypeError: unsupported operand type(s) for -: 'NoneType' and 'float'"),
        ("    return 0\n", "raised AssertionError"),
        ("    retrun 0\n", "raised SyntaxError: invalid syntax (<program>, line 10)"),
        ("    return object() + 1\n", "raised TypeError: unsupported operand type(s) for +: 'object' and 'int'"),
        ("    raise ValueError(object())\n", "raised ValueError: <object object at 0x...>"),
        ("    import sys; sys.exit()\n", "raised SystemExit"),
        ("    import os; os._exit(0)\n", "died before its end"),
        (f"    print('passed')\n{BODY}check = lambda candidate: None\n", "finished"),
        ("    return 1\n\ncheck = lambda candidate: None\nraise SystemExit\n", "raised SystemExit"),
        ("    import os; os.fork()\n", "forbidden os.fork"),
        (f"    open('/tmp/x', 'w')\n{BODY}", "forbidden open /tmp/x"),
        ("    return 'x' * 10**12\n", "memory"),
        ("    while True: pass\n", "timeout"),
        ("\0", "raised"),
        ("I cannot help with that.", "raised SyntaxError"),
    ],
)
@pytest.mark.usefixtures("needs_sandbox")
def test_only_a_program_that_passes_its_tests_scores(answer, verdict):
    found = HumanEval(seconds=0.5 if verdict == "timeout" else 120).judge(ITEM, answer)
    assert str(found.answer).startswith(verdict)
    assert found.score == (verdict == "finished")


@pytest.mark.usefixtures("needs_sandbox")
def test_many_are_judged_in_their_order():
    answers = [(ITEM, Response(BODY if number % 3 else "    return 0\n")) for number in range(9)]
    done = []
    found = verdicts_of(HumanEval(seconds=120), answers, done.append)
    assert [verdict.score for verdict in found] == [float(number % 3 > 0) for number in range(9)]
    assert done == list(range(1, 10))
    assert verdicts_of(HumanEval(), []) == []


def test_without_a_sandbox_a_program_is_refused_and_not_run(monkeypatch):
    monkeypatch.setattr("decodelab.programs.sandbox._places", lambda: iter(()))
    monkeypatch.setattr("decodelab.tasks.humaneval.sandbox", sandbox.__wrapped__)
    for judge in (lambda: HumanEval().judge(ITEM, BODY), lambda: list(HumanEval().judge_batch([(ITEM, BODY)]))):
        with pytest.raises(SandboxMissing, match="install bubblewrap"):
            judge()


def test_a_chat_is_asked_for_the_whole_function():
    assert instruction(PROMPT).endswith(f"```python\n{PROMPT}```\n")
    assert "```python block" in instruction(PROMPT)


def test_files_are_read_plain_and_compressed(tmp_path):
    row = {"task_id": "t/0", "canonical_solution": BODY, **META}
    plain, packed = tmp_path / "items.jsonl", tmp_path / "items.jsonl.gz"
    plain.write_text(json.dumps(row) + "\n")
    packed.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    assert HumanEval().read(plain) == HumanEval().read(packed) == [ITEM]
    assert HumanEval(instruct=True).read(plain)[0].prompt == instruction(PROMPT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entry_point": "f(); import os"}, "line 1: entry_point must be a Python name, got 'f(); import os'"),
        ({"entry_point": None}, "line 1: needs the field 'entry_point' as non-empty text"),
        ({"test": 1}, "line 1: needs the field 'test' as non-empty text"),
        ({"prompt": "\ud800"}, "line 1: 'prompt' has a lone surrogate"),
        ({}, "line 2: id 'HumanEval/0' appears twice"),
    ],
)
def test_a_line_that_is_no_problem_is_refused(tmp_path, change, message):
    file = tmp_path / "items.jsonl"
    file.write_text(json.dumps(json.loads(EXAMPLE) | change) + "\n" + EXAMPLE)
    with pytest.raises(InvalidData, match=r"^[^\n]*$") as error:
        HumanEval().read(file)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not gzip", "damaged, or not gzip"),
        (gzip.compress(EXAMPLE.encode(), mtime=0)[:-9], "damaged, or not gzip"),
        (gzip.compress(b"\xff", mtime=0), "is not UTF-8 text"),
        (gzip.compress(b"", mtime=0), "has no items"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_unpacked_is_refused(tmp_path, data, message):
    file = tmp_path / "items.jsonl.gz"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(DecodelabError, match=message):
        HumanEval().read(file)


def test_a_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("decodelab.tasks.humaneval._LARGEST_FILE", 10**6)
    file = tmp_path / "items.jsonl.gz"
    file.write_bytes(gzip.compress(b"\n" * 10**7, mtime=0))
    with pytest.raises(DecodelabError, match="unpacks to more than 1,000,000 bytes"):
        HumanEval().read(file)


@pytest.mark.parametrize(("name", "value"), [("seconds", 0), ("seconds", float("nan")), ("memory_mb", 1)])
def test_bounds_that_no_program_can_run_in_are_refused(name, value):
    with pytest.raises(InvalidData, match=f"code: {name} must be in"):
        task_named("code", {name: value})


WRONG = "    return None\n"


def check_published(data, numbers):
    """Published solutions pass, as completions and as whole functions; one that returns nothing fails."""
    task = HumanEval(seconds=120)
    examples = task.read(data / "humaneval" / "HumanEval.jsonl.gz")
    assert len(examples) == 164
    chosen = [examples[number] for number in numbers]
    right = [(e, Response(e.reference)) for e in chosen] + [
        (e, Response(f"```python\n{e.meta['prompt']}{e.reference}\n```")) for e in chosen
    ]
    for (example, _), verdict in zip(right, verdicts_of(task, right), strict=True):
        assert (example.id, verdict.answer) == (example.id, "finished")
    assert not any(verdict.score for verdict in verdicts_of(task, [(e, Response(WRONG)) for e in chosen]))


@pytest.mark.usefixtures("needs_sandbox")
def test_published_solutions_pass_and_an_empty_one_fails(data_dir):
    check_published(
        data_dir, (0, 32, 38, 50, 160, 162)
    )  # 32, 38 and 50 have functions in the prompt that the tests use


DECEIT = "    class Same(float):\n        __sub__ = __abs__ = lambda *a: 0\n    return Same()\n"


@pytest.mark.usefixtures("needs_sandbox")
def test_a_program_that_deceives_its_tests_does_not_pass():
    assert HumanEval(seconds=120).judge(ITEM, DECEIT).answer == "raised AssertionError"
    example = Example("t/1", PROMPT, BODY, {**META, "test": f"{TEST}    helper = undefined if False else 0\n"})
    shared = " (the tests shared its interpreter: the tests use undefined, which the prompt does not define)"
    assert HumanEval(seconds=120).judge(example, BODY).answer == "finished" + shared


@pytest.mark.parametrize(
    ("prompt", "tests", "why"),
    [
        ("def f(x):\n", "def check(c):\n    assert c(1)\n", ""),
        ("import math\ndef f(x):\n", "def check(c):\n    assert all(c(i) == math.pi for i in [1])\n", ""),
        ("def f(x):\n", "import re\nK = 1\ndef h(a):\n    return a\ndef check(c):\n    assert h(f(K))\n", ""),
        ("def f(x):\n", "def check(c):\n    assert c.__doc__\n", "the tests look at c.__doc__"),
        ("def f(x):\n", "def check(c):\n    assert c(1)(2)\n", "the tests call what the function returns"),
        ("def f(x):\n", "def check(c):\n    assert g(c)\n", "the tests use g, which the prompt does not define"),
        ("async def f(x):\n", "def check(c):\n    assert c(1)\n", "the prompt does not begin a function f"),
        ("class f:\n", "def check(c):\n    assert c(1)\n", "the prompt does not begin a function f"),
        ("@wraps\ndef f(x):\n", "def check(c):\n    assert c(1)\n", "the prompt or the tests cannot be read alone"),
        ("def f(x):\n", "assert f(1)\n", "the tests do not define check(candidate)"),
    ],
)
def test_tests_run_apart_from_the_program_unless_they_need_it(prompt, tests, why):
    assert apart(prompt, tests, "f").why_not == why


def test_all_tests_of_humaneval_run_apart(data_dir):
    examples = HumanEval().read(data_dir / "humaneval" / "HumanEval.jsonl.gz")
    found = {e.id: apart(e.meta["prompt"], e.meta["test"], e.meta["entry_point"]) for e in examples}
    assert [name for name, how in found.items() if how.why_not] == []
    assert [name for name, how in found.items() if how.before] == ["HumanEval/32", "HumanEval/38", "HumanEval/50"]


@pytest.mark.slow
@pytest.mark.usefixtures("needs_sandbox")
def test_all_published_solutions_pass_and_empty_ones_fail(data_dir):
    check_published(data_dir, range(164))
