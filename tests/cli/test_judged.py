"""`decodelab tasks score infobench` and `decodelab bench` with a judge: asked once, kept, counted before and after."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

ITEMS = [
    {"id": "a", "instruction": "Write a title.", "input": "An avocado.", "subset": "Easy_set",
     "decomposed_questions": ["Is it a title?", "Is it short?"]},
    {"id": "b", "instruction": "Write a poem.", "input": "", "subset": "Hard_set",
     "decomposed_questions": ["Is it a poem?", "Does it rhyme?", "Is it kind?"]},
    {"id": "c", "instruction": "Write nothing.", "input": "", "subset": "Hard_set",
     "decomposed_questions": ["Is it empty?"]},
]  # fmt: skip
SAYS = {"Is it a title?": "YES", "Is it short?": "NO", "Is it a poem?": "Yes.", "Does it rhyme?": "\x1b[31m<b>Hm\0"}


def said(body, number=0):
    return SAYS[body["messages"][-1]["content"].strip().splitlines()[-1]]


@pytest.fixture
def files(tmp_path):
    """Items and outputs as arguments of a command; c has no output."""
    items, outputs = tmp_path / "items.jsonl", tmp_path / "outputs.jsonl"
    items.write_text("".join(json.dumps(row) + "\n" for row in ITEMS))
    texts = {"a": "Green <b>Gold</b>\x1b[31m", "b": 'roses"\0'}
    outputs.write_text("".join(json.dumps({"id": name, "output": text}) + "\n" for name, text in texts.items()))
    return str(items), str(outputs)


def test_answers_are_judged_and_judged_again_without_the_judge(run, serve, files, tmp_path):
    server = serve(said)
    found = run("tasks", "score", "infobench", *files, "--judge", server.name, "--json").json
    assert found["drfr"]["value"] == pytest.approx(2 / 6)
    assert {name: part["value"] for name, part in found["subsets"].items()} == {"Easy_set": 0.5, "Hard_set": 0.25}
    assert found["mean"] == pytest.approx((1 / 2 + 1 / 3 + 0) / 3)
    assert (found["n"], found["ambiguous"], found["unasked"], found["unread"]) == (3, 1, 1, 1)
    assert found["items"][1]["answer"] == {"results": [True, None, None], "ambiguous": SAYS["Does it rhyme?"]}
    assert [item["lacks"] for item in found["items"]] == [None, None, "empty"]
    assert found["spent"]["asked"] == len(server.asked) == 4
    asked = [body["messages"][0]["content"] for body in server.asked]  # concurrent, so in any order
    assert any("Green <b>Gold</b>\x1b[31m" in text for text in asked)
    server.asked.clear()
    again = run("tasks", "score", "infobench", *files, "--json").json
    assert (again["spent"]["asked"], again["spent"]["reused"], server.asked) == (0, 4, [])
    assert again["items"] == found["items"]
    shown = run("tasks", "score", "infobench", *files, "--judge", server.name)
    assert (shown.code, server.asked) == (0, [])
    assert "DRFR 0.333" in shown.stdout
    assert "yes ? -" in shown.stdout
    assert "ambiguous replies: 1; questions left unasked after them: 1" in shown.stdout
    assert r"\x1b[31m<b>Hm\x00" in shown.stdout


def test_costs_are_told_before_and_counted_after(run, serve, files, tmp_path):
    server = serve(said)
    arguments = ("tasks", "score", "infobench", *files, "--judge", server.name, "--price-in", "2", "--price-out", "10")
    before = run(*arguments, "--dry-run", "--json").json["estimate"]
    assert (before["asked"], before["completion_tokens"], server.asked) == (5, 10, [])
    assert before["price"] == pytest.approx((before["prompt_tokens"] * 2 + 10 * 10) / 1e6)
    assert not (tmp_path / "outputs.journal.sqlite").exists()
    after = run(*arguments, "--json").json["spent"]
    assert after["price"] == pytest.approx((after["prompt_tokens"] * 2 + after["completion_tokens"] * 10) / 1e6)
    assert run(*arguments, "--dry-run", "--json").json["estimate"]["asked"] == 0
    assert "0 replies to request, 4 reused" in run(*arguments, "--dry-run").stdout


def test_answers_that_cannot_be_judged_are_said_and_tried_again(run, serve, files):
    server = serve(lambda body, number: (413, {}, b"") if "roses" in body["messages"][0]["content"] else said(body))
    found = run("tasks", "score", "infobench", *files, "--judge", server.name)
    assert found.code == 1
    assert "1 of 3 answers could not be judged" in found.stderr
    assert "DRFR 0.333 (95 %" in found.stdout  # of what was judged
    kept = run("tasks", "score", "infobench", *files)
    assert kept.code == 1
    assert "b: the journal has no reply to this" in kept.stderr
    server.answer = said
    assert run("tasks", "score", "infobench", *files, "--judge", server.name).code == 0


def test_what_a_judge_refuses_of_one_answer_is_shown_escaped_and_the_others_are_judged(run, serve, files):
    refused = 400, {}, json.dumps({"error": {"message": "\x1b[31mfiltered " + "x" * 1000}}).encode()
    server = serve(lambda body, number: refused if "roses" in body["messages"][0]["content"] else said(body))
    found = run("tasks", "score", "infobench", *files, "--judge", server.name)
    assert found.code == 1
    assert re.search(r"b: endpoint .* answered 400 \(\\x1b\[31mfiltered x+\.\.\.\)", found.stderr)
    assert "1 of 3 answers could not be judged" in found.stderr
    again = run("tasks", "score", "infobench", *files, "--judge", server.name, "--json")
    assert (again.code, [row["id"] for row in again.json["items"]]) == (1, ["a", "c"])
    assert (again.json["spent"]["asked"], again.json["failed"][0]["id"]) == (0, "b")


def test_a_judge_that_is_too_slow_is_given_up_after_the_timeout(run, serve, files, monkeypatch):
    monkeypatch.setattr("decodelab.backends.client.TRIES", 1)
    server = serve(lambda body, number: server.closing.wait(5) or "YES")
    found = run("tasks", "score", "infobench", *files, "--judge", server.name, "--timeout", "0.02")
    assert found.code == 2
    assert "did not reply within 0.02 s" in found.stderr


def test_a_key_that_cannot_be_sent_is_refused_before_anything_is_generated(run, files, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-s\xe9cret")
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "models: [pocket-nano]\nstrategies: [greedy]\n"
        'tasks: [{name: infobench, file: items.jsonl, items: 2, judge: "openai:http://127.0.0.1:9/v1#m"}]\n'
    )
    scoring = run("tasks", "score", "infobench", *files, "--judge", "openai:http://127.0.0.1:9/v1#m")
    for found in (run("bench", str(plan)), scoring):
        assert found.code == 2
        assert found.stderr.count("\n") == 1
        assert "OPENAI_API_KEY is no key" in found.stderr
        assert "cret" not in found.stderr
    assert not list(tmp_path.rglob("*.journal.sqlite"))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(("name", "code"), [("SIGKILL", -9), ("SIGINT", 130)])
def test_judging_that_is_killed_goes_on_where_it_was(run, serve, files, tmp_path, name, code):
    def answer(body, number):
        if number == 2:
            process.send_signal(getattr(signal, name))
            server.closing.wait(60)
        return said(body)

    server = serve(answer)
    arguments = ["tasks", "score", "infobench", *files, "--judge", server.name, "--at-once", "1", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from decodelab.cli.main import main; main()", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.wait() == code
    server.answer = said
    found = run(*arguments).json
    assert (found["spent"]["asked"], found["spent"]["reused"]) == (2, 2)
    assert found["drfr"]["value"] == pytest.approx(2 / 6)


def test_a_sweep_has_its_answers_judged_once(run, serve, files, tmp_path):
    server = serve(lambda body, number: "YES" if "title" in body["messages"][-1]["content"] else "No.")
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "models: [pocket-nano]\nstrategies: {greedy: greedy, same: temperature=0 | sample}\n"
        "tasks: [{name: infobench, file: items.jsonl, items: 2, max_new_tokens: 8, judge: "
        f'{{name: "{server.name}", at_once: 2, price_in: 100}}}}]\n'
    )
    dry = run("bench", str(plan), "--dry-run", "--json").json
    assert server.asked == []
    found = run("bench", str(plan), "--no-html", "--json")
    assert found.code == 0
    assert [row["score"]["value"] for row in found.json["rows"]] == [0.25, 0.25]  # 1 of 2 and 0 of 3
    assert len(server.asked) == 5  # greedy and same say the same
    assert found.json["judging"]["infobench"]["asked"] == 5
    assert found.json["judging"]["infobench"]["price"] > 0
    assert dry["judging"]["infobench"]["asked"] == 10  # before they are made, no answers are known to be alike
    after = run("bench", str(plan), "--dry-run", "--json").json
    assert after["judging"]["infobench"]["asked"] == 0
    again = run("bench", str(plan), "--no-html", "--json").json
    assert (again["rows"], again["judging"]["infobench"]["asked"], len(server.asked)) == (found.json["rows"], 0, 5)
    # Whoever changes how the judge is asked, not what, has the same plan.
    plan.write_text(plan.read_text().replace("at_once: 2", "at_once: 7"))
    assert run("report", str(plan), "--json").json["rows"] == found.json["rows"]


def test_a_sweep_whose_judge_refuses_keeps_its_answers_and_goes_on(run, serve, files, tmp_path):
    server = serve(lambda body, number: (401, {}, b""))
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "models: [pocket-nano]\nstrategies: [greedy]\n"
        f'tasks: [{{name: infobench, file: items.jsonl, items: 2, max_new_tokens: 8, judge: "{server.name}"}}]\n'
    )
    found = run("bench", str(plan), "--no-html")
    assert found.code == 2
    assert "answered 401" in found.stderr
    server.answer = lambda body, number: "YES"
    again = run("bench", str(plan), "--no-html", "--json").json
    assert (again["reused"], again["generated"]) == (2, 0)
    assert again["rows"][0]["score"]["value"] == 1


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("{name: infobench, file: items.jsonl}", "task infobench is judged by a model; write judge: MODEL"),
        ("{name: pocket-sums, judge: pocket-nano}", "task pocket-sums takes no judge; leave it out"),
        ('{name: infobench, file: items.jsonl, judge: "openai:nowhere"}', "write openai:http://HOST:PORT/v1#MODEL"),
        ("{name: infobench, file: items.jsonl, items: 2, judge: nowhere/at/all}", "no directory 'nowhere/at/all'"),
        ("{name: infobench, file: items.jsonl, judge: {nam: x}}", "did you mean 'name'?"),
        ("{name: infobench, file: items.jsonl, judge: {name: x, temperature: -1}}", "judge.temperature: "),
        ("{name: infobench, file: items.jsonl, judge: x, rules: strict}", "rules must be course or paper"),
    ],
)
def test_a_plan_with_a_judge_that_cannot_be_is_refused_before_anything_runs(run, files, tmp_path, task, message):
    plan = tmp_path / "plan.yaml"
    plan.write_text(f"models: [pocket-nano]\nstrategies: [greedy]\ntasks: [{task}]\n")
    found = run("bench", str(plan))
    assert found.code == 2
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "is judged by a model, and"),
        (("--judge", "openai:http://h/v1"), "write openai:http://HOST:PORT/v1#MODEL"),
        (("--judge", "no-such-model"), "there is no shipped model and no directory"),
        (("--judge", "openai:http://h/v1#m", "--price-in", "-1"), "--price-in and --price-out must be at least 0"),
        (("--judge", "openai:http://h/v1#m", "--timeout", "0"), "timeout must be above 0 seconds"),
        (("--judge", "openai:http://h/v1#m", "--at-once", "0"), "at_once must be at least 1"),
        (("--judge", "openai:http://h/v1#m", "--journal", "/nowhere/j"), "there is no directory"),
        (("--judge", "openai:http://h/v1#m", "--set", "rules=x"), "rules must be course or paper"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run, files, arguments, message):
    found = run("tasks", "score", "infobench", *files, *arguments)
    assert found.code == 2
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


def test_a_judge_for_a_task_that_needs_none_is_refused(run, files, tmp_path):
    (tmp_path / "q.jsonl").write_text('{"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}')
    found = run("tasks", "score", "mmlu", "q.jsonl", files[1], "--judge", "pocket-nano")
    assert found.code == 2
    assert "mmlu is not judged by a model" in found.stderr


def test_replies_of_two_judges_are_not_mixed(run, serve, files):
    first, second = serve(said), serve(said)
    for server in (first, second):
        run("tasks", "score", "infobench", *files, "--judge", server.name)
    found = run("tasks", "score", "infobench", *files)
    assert found.code == 2
    assert "has replies of 2 judges" in found.stderr
    assert first.name in found.stderr
