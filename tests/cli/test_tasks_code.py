"""`decodelab tasks score` on programs, and `pass-at-k`."""

import json

import pytest

from decodelab.programs.sandbox import sandbox

ITEMS = [
    {
        "task_id": f"t/{n}",
        "prompt": "def f(x):\n",
        "entry_point": "f",
        "canonical_solution": f"    return x + {n}\n",
        "test": f"def check(candidate):\n    assert candidate(1) == {1 + n}\n",
    }
    for n in range(2)
]


@pytest.fixture
def items(folder):
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    (folder / "sums.jsonl").write_text('{"question": "1 + 1?", "answer": "#### 2"}\n')
    return folder


def outputs(folder, rows):
    (folder / "outputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "outputs.jsonl"


@pytest.mark.usefixtures("needs_sandbox")
def test_programs_are_scored_by_running_them(run, items):
    rows = [{"id": "t/0", "output": "    return x\n"}, {"id": "t/1", "output": "    raise ValueError('\\x1b[31m')\n"}]
    found = run("tasks", "score", "code", "items.jsonl", outputs(items, rows), "--json").json
    assert [(item["score"], item["answer"]) for item in found["items"]] == [
        (1.0, "finished"),
        (0.0, "raised ValueError: \x1b[31m"),
    ]
    shown = run("tasks", "score", "code", "items.jsonl", "outputs.jsonl", "--set", "seconds=60")
    assert "\\x1b[31m" in shown.stdout
    assert "score 0.500" in shown.stdout


def test_several_answers_give_pass_at_k(run, items):
    rows = [{"task_id": 0, "completion": text} for text in ("It is 2.", "It is 3.", "It is 1 + 1 = 2.", "")]
    found = run("tasks", "pass-at-k", "maths", "sums.jsonl", outputs(items, rows), "-k", "3", "-k", "1", "--json").json
    assert {k: one["value"] for k, one in found["pass_at_k"].items()} == {"1": 0.5, "3": 1.0}
    assert found["items"] == [{"id": "0", "n": 4, "passed": 2}]
    assert "0.500" in run("tasks", "pass-at-k", "maths", "sums.jsonl", "outputs.jsonl").stdout


def test_without_a_sandbox_scoring_programs_is_refused(run, items, monkeypatch):
    monkeypatch.setattr("decodelab.programs.sandbox._places", lambda: iter(()))
    monkeypatch.setattr("decodelab.tasks.humaneval.sandbox", sandbox.__wrapped__)
    refused = run("tasks", "score", "code", "items.jsonl", outputs(items, [{"id": "t/0", "output": ""}]))
    assert refused.code == 2
    assert "install bubblewrap" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pass-at-k", "mahts", "sums.jsonl", "outputs.jsonl"], "did you mean 'maths'?"),
        (["pass-at-k", "maths", "sums.jsonl", "outputs.jsonl", "-k", "0"], "-k must be at least 1, got 0"),
        (
            ["pass-at-k", "maths", "sums.jsonl", "outputs.jsonl", "-k", "3"],
            "item '0' has 2 outputs, -k 3 needs",
        ),
        (["pass-at-k", "code", "items.jsonl", "outputs.jsonl"], "output '0' belongs to no example"),
        (["score", "maths", "sums.jsonl", "outputs.jsonl"], "id '0' appears twice; remove one, or use pass-at-k"),
        (["pass-at-k", "maths", "sums.jsonl", "sums.jsonl"], "needs an id and an output as text"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(run, items, arguments, message):
    outputs(items, [{"id": "0", "output": "2"}, {"id": "0", "output": "3"}])
    found = run("tasks", *arguments)
    assert found.code == 2
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
