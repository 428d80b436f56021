"""`decodelab tasks list`, `show`, `options` and `fetch`."""

import json
import sys
from types import ModuleType

import pytest

QUESTIONS = """question,choice0,choice1,answer
Which comes first?,one,two,0
Which comes last?,one,two,1
Which is odd?,one,two,A
"""


@pytest.fixture
def questions(folder):
    (folder / "numbers_test.csv").write_text(QUESTIONS)
    (folder / "numbers_dev.csv").write_text(QUESTIONS)
    return "numbers_test.csv"


def test_the_list_has_every_task_with_its_parameters_and_a_line_of_its_file(run):
    from decodelab.tasks import TASKS

    found = {task["name"]: task for task in run("tasks", "list", "--json").json["tasks"]}
    assert list(found) == list(TASKS.ours)
    assert found["mmlu"]["parameters"] == ["subject", "form", "shots", "shots_file", "reader"]
    assert all(task["what"].endswith(".") and task["source"] for task in found.values())
    for task in found.values():
        assert task["makes"] if task["line"] is None else isinstance(json.loads(task["line"]), dict)
    shown = run("tasks", "list").stdout
    assert all(name in shown for name in TASKS.ours)


def test_an_item_is_shown_as_a_model_is_given_it(run, questions):
    found = run("tasks", "show", "mmlu", questions, "--set", "form=standard", "--set", "shots=1", "--item", "1")
    assert "Which is odd?" not in found.stdout
    assert "Answer: A\n\nWhich comes last?\nA. one\nB. two\nAnswer:\n" in found.stdout
    assert "reference: B" in found.stdout
    chat = run("tasks", "show", "mmlu", questions, "--chat", "--model", "pocket-nano", "--json").json
    assert chat["prompt"].startswith("<s><|user|>The following is")
    assert chat["prompt_tokens"] > 20


def test_a_made_item_is_shown_by_its_seed_and_a_chat_by_its_messages(run):
    assert run("tasks", "show", "mnli", "--item", "7", "--json").json["id"] == "made-7"
    shown = run("tasks", "show", "graph", "--set", "tools=forced").stdout
    assert "[tool] submit_paths\n[must call] submit_paths\n[user] You are given" in shown
    rendered = run("tasks", "show", "graph", "--set", "tools=forced", "-m", "pocket-nano").stdout
    assert "<|assistant|>submit_paths(" in rendered


def test_what_an_item_holds_cannot_command_the_terminal(run, folder):
    (folder / "p.jsonl").write_text('{"prompt": "\\u001b[31mred", "answer": "\\u001b[0m"}')
    assert "\x1b" not in run("tasks", "show", "jsonl", "p.jsonl").stdout


def test_options_are_answered_by_likelihood_and_calibrate_reads_what_comes_out(run, questions, folder):
    found = run("tasks", "options", "mmlu", questions, "-m", "pocket-nano", "--out", "c.jsonl", "--json").json
    rows = [json.loads(line) for line in (folder / "c.jsonl").read_text().splitlines()]
    assert found["items"] == rows
    assert found["n"] == len(rows) == 3
    assert found["accuracy"] == pytest.approx(sum(row["correct"] for row in rows) / 3)
    assert all(row["correct"] == (row["chosen"] == row["reference"]) for row in rows)
    assert all(0.5 <= row["confidence"] <= 1 for row in rows)
    calibrated = run("calibrate", "c.jsonl", "--json").json
    assert calibrated["estimates"]["accuracy"]["value"] == pytest.approx(found["accuracy"])
    assert "3 items: accuracy" in run("tasks", "options", "mmlu", questions, "-m", "pocket-nano", "--shots", "3").stdout


def test_questions_that_exceed_the_context_are_cut_and_counted(run, folder):
    (folder / "long_test.csv").write_text(f"question,choice0,choice1,answer\n{'word ' * 2000},a,b,0\nshort,a,b,0\n")
    found = run("tasks", "options", "mmlu", "long_test.csv", "-m", "pocket-nano", "--json")
    assert (found.json["cut"], found.json["n"]) == (1, 2)
    assert "1 of 2 questions are longer than the context (512 tokens) and lose their beginning" in found.stderr


def test_stored_texts_are_scored_by_any_scorer(run, folder):
    (folder / "my.jsonl").write_text('{"prompt": "2 + 2 =", "answer": 4}\n')
    (folder / "out.jsonl").write_text('{"id": 0, "output": "It is 4."}\n')
    assert run("tasks", "score", "jsonl", "my.jsonl", "out.jsonl", "--json").json["mean"] == 0
    found = run("tasks", "score", "jsonl", "my.jsonl", "out.jsonl", "--set", "scorer=integer", "--json").json
    assert (found["mean"], found["items"][0]["answer"]) == (1, "4")


@pytest.fixture
def hub(monkeypatch):
    """The package datasets, with one data set."""

    def load_dataset(source: str, config: str | None, split: str):
        if source != "owner/numbers":
            raise FileNotFoundError(f"no {source}\non the hub")
        row = {"question": "One?", "choices": ["1", "2"], "answer": 0, "subject": "sums"}
        return [row] if config == "sums" else [{"text": "something else"}]

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "datasets", module)


@pytest.mark.usefixtures("hub")
def test_a_data_set_of_the_hub_becomes_a_file_that_the_task_reads(run, folder):
    arguments = ("tasks", "fetch", "mmlu", "owner/numbers", "--config", "sums", "--out", "sums.jsonl")
    assert run(*arguments, "--json").json["n"] == 1
    assert "about  sums." in run("tasks", "show", "mmlu", "sums.jsonl").stdout


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("owner/numbers", "'owner/numbers': its rows, line 1: is not a multiple-choice item"),
        ("owner/other", "'owner/other' cannot be read: no owner/other on the hub"),
    ],
)
def test_a_data_set_that_the_task_cannot_read_leaves_no_file(run, folder, source, message):
    found = run("tasks", "fetch", "mmlu", source, "--out", "x.jsonl")
    assert (found.code, len(found.stderr.strip().splitlines())) == (2, 1)
    assert message in found.stderr
    assert not (folder / "x.jsonl").exists()


def test_without_the_package_fetch_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    found = run("tasks", "fetch", "mmlu", "owner/numbers", "--out", "x.jsonl")
    assert found.code == 2
    assert "pip install 'decodelab[hub]'" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "mmul", "x"], "unknown task 'mmul'; did you mean 'mmlu'?"),
        (["show", "mmlu"], "task mmlu needs a file with its items"),
        (["show", "mnli", "--item", "x"], "--item must be a seed (a whole number)"),
        (["show", "mmlu", "numbers_test.csv", "--item", "9"], "there is no item '9'; the first is '0'"),
        (["show", "mmlu", "numbers_test.csv", "--set", "shots"], "--set needs NAME=VALUE, got 'shots'"),
        (["show", "mmlu", "numbers_test.csv", "--set", "shot=1"], "no parameter 'shot'; did you mean 'shots'?"),
        (["show", "mmlu", "numbers_test.csv", "--set", "form=a", "--set", "form=b"], "--set form is given twice"),
        (["show", "mmlu", "numbers_test.csv", "--set", "shots=many"], "valid integer"),
        (["show", "jsonl", "x.jsonl", "--set", "scorer=rouge"], "unknown scorer 'rouge'"),
        (["options", "stories"], "task stories has no options to choose from"),
        (["options", "mmlu"], "task mmlu needs a file"),
        (["options", "mnli", "-n", "0"], "-n must be at least 1, got 0"),
        (["options", "mnli", "--out", "/nowhere/c.jsonl"], "there is no directory"),
        (["fetch", "mmlu", "a/b", "--out", "/nowhere/x"], "there is no directory"),
        (["fetch", "mmul", "a/b", "--out", "x"], "unknown task 'mmul'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(run, questions, arguments, message):
    found = run("tasks", *arguments)
    assert found.code == 2
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
