"""`decodelab tasks`: items made, answers scored, published answers audited."""

import json

import pytest


@pytest.fixture
def items(run, tmp_path):
    file = tmp_path / "items.jsonl"
    assert run("tasks", "make", "graph", "--out", str(file), "--count", "4").code == 0
    return file


def answers(items, tmp_path, text):
    file = tmp_path / "outputs.jsonl"
    rows = [json.loads(line) for line in items.read_text().splitlines()]
    file.write_text("".join(json.dumps({"id": row["id"], "output": text(row)}) + "\n" for row in rows))
    return file


def test_right_answers_score_one_and_hostile_ones_nothing(run, items, tmp_path):
    def right(row):
        return json.dumps(row["solution"])

    found = run("tasks", "score", "graph", str(items), str(answers(items, tmp_path, right)), "--json").json
    assert (found["n"], found["mean"], found["unread"]) == (4, 1.0, 0)
    hostile = answers(items, tmp_path, lambda row: "\x1b[31m<script>submit_paths(paths=[[0]], weights=[1])")
    shown = run("tasks", "score", "graph", str(items), str(hostile))
    assert shown.code == 0
    assert "\x1b" not in shown.stdout
    assert "score 0.000" in shown.stdout


@pytest.mark.parametrize("field", ["id", "task_id", "index"])
def test_an_output_may_name_its_item_as_others_do(run, items, tmp_path, field):
    rows = [json.loads(line) for line in items.read_text().splitlines()]
    file = tmp_path / "outputs.jsonl"
    file.write_text("".join(json.dumps({field: r["id"], "output": json.dumps(r["solution"])}) + "\n" for r in rows))
    assert run("tasks", "score", "graph", str(items), str(file), "--json").json["mean"] == 1.0


def test_an_audit_finds_the_answer_that_was_spoiled(run, items):
    rows = [json.loads(line) for line in items.read_text().splitlines()]
    assert run("tasks", "audit", "graph", str(items), "--json").json["wrong"] == []
    rows[2]["solution"]["paths"][0]["weight"] += 1
    items.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (wrong,) = run("tasks", "audit", "graph", str(items), "--json").json["wrong"]
    assert wrong["id"] == rows[2]["id"]
    assert "1 of 4 published answers are wrong" in run("tasks", "audit", "graph", str(items)).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "grahp", "a", "b"], "unknown task 'grahp'; did you mean 'graph'?"),
        (["score", "mmlu", "a", "b", "--ties", "all"], "--ties works with the graph task only"),
        (["score", "graph", "a", "b", "--ties", "some"], "ties must be published or all"),
        (["audit", "mmlu", "a"], "only the graph task can be audited"),
        (["audit", "graph", "/nowhere/a"], "cannot read"),
        (["make", "graph", "--out", "/nowhere/a"], "there is no directory"),
        (["make", "graph", "--out", "a", "--count", "0"], "--count must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(run, arguments, message):
    found = run("tasks", *arguments)
    assert found.code == 2
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


def test_of_many_items_that_are_not_right_the_first_are_listed_and_the_rest_counted(run, tmp_path):
    items, outputs = tmp_path / "items.jsonl", tmp_path / "outputs.jsonl"
    items.write_text("".join(f'{{"question": "{n}?", "answer": "#### 1"}}\n' for n in range(1000)))
    outputs.write_text("".join(json.dumps({"id": n, "output": "It is 7."}) + "\n" for n in (0, 998, 999)))
    shown = run("tasks", "score", "maths", str(items), str(outputs)).stdout
    rows = [line.split()[1] for line in shown.splitlines() if line.startswith("\u2502")]
    assert rows == ["0", "998", "999", *(str(n) for n in range(1, 18))]
    assert "... and 980 more; --json lists all" in shown
    assert "1000 items, 997 without an answer (empty 997), 3 answered" in shown
    assert len(run("tasks", "score", "maths", str(items), str(outputs), "--json").json["items"]) == 1000


def test_outputs_may_say_how_they_ended_and_what_they_answer(run, tmp_path):
    items, outputs = tmp_path / "items.jsonl", tmp_path / "outputs.jsonl"
    items.write_text('{"question": "2 + 2?", "answer": "#### 4"}\n' * 5)
    cut = {"output": "It is 4", "finish_reason": "length"}
    rows = [
        cut,
        cut | {"prompt": "2 + 2?<think>\n"},
        cut | {"output": "First, we", "prompt": None},
        {"output": "First, we", "finish_reason": "stop"},
        {"output": "4", "prompt": "2 + 2?<think>"},
    ]
    outputs.write_text("".join(json.dumps({"id": n, **row}) + "\n" for n, row in enumerate(rows)))
    found = run("tasks", "score", "maths", str(items), str(outputs), "--json").json
    assert [item["lacks"] for item in found["items"]] == [None, "unfinished thought", "cut off", "unreadable", None]


def test_no_answer_unreadable_ambiguous_and_wrong_are_told_apart(run, tmp_path):
    rows = [{"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}] * 5
    texts = ["The answer is (B).", "The answer is A.", "<think>B</think>", "I cannot say.", "A or B"]
    items, outputs = tmp_path / "items.jsonl", tmp_path / "outputs.jsonl"
    items.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outputs.write_text("".join(json.dumps({"id": n, "output": text}) + "\n" for n, text in enumerate(texts)))
    found = run("tasks", "score", "mmlu", str(items), str(outputs), "--json").json
    counts = [found[key] for key in ("n", "answered", "unread", "empty", "unreadable", "ambiguous", "mean", "over")]
    assert counts == [5, 2, 3, 1, 1, 1, 0.2, "all"]
    assert [item["lacks"] for item in found["items"]] == [None, None, "empty", "unreadable", "ambiguous"]
    shown = run("tasks", "score", "mmlu", str(items), str(outputs)).stdout
    assert "5 items, 3 without an answer (ambiguous 1, empty 1, unreadable 1), 2 answered" in shown
    assert "(unreadable)" in shown
    only = run("tasks", "score", "mmlu", str(items), str(outputs), "--answered-only")
    assert "score 0.500" in only.stdout
    assert "over answered items only, 5 items, 3 without an answer" in only.stdout
