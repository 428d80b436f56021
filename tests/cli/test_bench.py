"""`decodelab bench`, `report` and `journal` on a small plan."""

import json

import pytest

PLAN = """
models: [pocket-nano]
strategies: {greedy: greedy, "hot|<b>": temperature=1.5}
tasks: [{name: pocket-sums, items: 2, max_new_tokens: 30}]
"""


@pytest.fixture
def plan(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    return file


def test_a_sweep_runs_once_and_is_reported_as_often_as_wanted(run, plan, tmp_path):
    dry = run("bench", str(plan), "--dry-run", "--json").json
    assert dry["models"][0]["missing"] == 4
    assert not (tmp_path / "plan.journal.sqlite").exists()
    first = run("bench", str(plan), "--json").json
    assert (first["asked"], first["generated"], first["failed"]) == (4, 4, 0)
    assert [row["strategy"] for row in first["rows"]] == ["greedy", "hot|<b>"]
    computed = sum(row["forward_tokens"] for row in first["rows"])
    assert 0 < computed <= dry["models"][0]["most_forward_tokens"]
    assert (tmp_path / "plan.report.html").is_file()
    again = run("bench", str(plan), "--json", "--no-html").json
    assert (first["html"], again["html"]) == (str(tmp_path / "plan.report.html"), None)
    assert (again["reused"], again["generated"]) == (4, 0)
    assert again["rows"] == first["rows"]
    assert run("report", str(plan), "--json").json["rows"] == first["rows"]
    shown = run("report", str(plan), "--markdown", str(tmp_path / "r.md"))
    assert "pocket-sums, pocket-nano, 2 items" in shown.stdout
    text = (tmp_path / "r.md").read_text()
    assert "hot\\|\\<b\\>" in text


def test_a_dry_run_tells_the_memory_and_what_does_not_fit(run, plan, monkeypatch):
    (row,) = run("bench", str(plan), "--dry-run", "--json").json["models"]
    assert row["weight_bytes"] > 1e6
    assert 0 < row["batch_cache_bytes"] < 1e8
    assert row["fits"]
    monkeypatch.setattr("decodelab.models.memory.available_bytes", lambda: 1000)
    found = run("bench", str(plan), "--dry-run")
    assert found.code == 0
    assert "pocket-nano may not fit in memory with max_rows: 256; lower it" in found.stderr


def test_tables_are_shown_while_it_runs(run, plan, monkeypatch):
    ticks = iter(range(0, 10**6, 100))
    monkeypatch.setattr("decodelab.cli.commands.bench.time.monotonic", lambda: float(next(ticks)))
    shown = run("bench", str(plan), "--no-html", "--every", "60", "--shuffle", "1").stdout
    assert shown.count("pocket-sums, pocket-nano") > 2
    assert "1 of 2 items" in shown


def test_items_that_fail_are_named(run, tmp_path):
    file = tmp_path / "long.yaml"
    task = "{name: graph, items: 2, max_new_tokens: 9}"
    file.write_text(f"models: [pocket-nano]\nstrategies: [greedy]\ntasks: [{task}]\n")
    found = run("bench", str(file), "--no-html")
    assert found.code == 1
    assert "note: pocket-nano, graph, greedy, item made-1: the prompt has 1192 tokens" in found.stderr
    assert "1 of 2 answers failed; the same command tries them again" in found.stderr


def test_a_journal_gives_its_answers_out(run, plan, tmp_path):
    run("bench", str(plan))
    journal = str(tmp_path / "plan.journal.sqlite")
    assert run("journal", journal, "--json").json["answers"] == 4
    assert run("journal", journal, "--export", str(tmp_path / "a.jsonl")).code == 0
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert {row["strategy"] for row in rows} == {"greedy", "temperature=1.5 | sample"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "nowhere.yaml"], "cannot read"),
        (["report", "{plan}"], "there is no such file"),
        (["journal", "nowhere"], "there is no such file"),
        (["bench", "{plan}", "--journal", "/nowhere/j"], "there is no directory"),
        (["bench", "{plan}", "--markdown", "/nowhere/r.md"], "there is no directory"),
        (["bench", "{plan}", "--executor", "rey"], "--executor must be local or ray, got 'rey'; did you mean 'ray'?"),
        (["bench", "{plan}", "--ray-address", "a:1"], "--ray-address is for a Ray cluster"),
        (["bench", "{plan}", "--workers", "0"], "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run, plan, arguments, message):
    found = run(*(argument.format(plan=plan) for argument in arguments))
    assert found.code == 2
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


def test_items_that_repeat_a_prompt_are_noted_before_anything_runs(run, tmp_path):
    (tmp_path / "prompts.txt").write_text("Once upon a time,\nOne day,\nOnce upon a time,\n")
    (tmp_path / "plan.yaml").write_text(
        "models: [pocket-nano]\nstrategies: [greedy]\n"
        "tasks: [{name: stories, file: prompts.txt, items: 3, max_new_tokens: 5}]\n"
    )
    said = "stories: 1 of 3 items repeat the prompt of another; each prompt counts as one observation, which makes 2"
    assert said in run("bench", str(tmp_path / "plan.yaml"), "--dry-run").stderr
    found = run("bench", str(tmp_path / "plan.yaml"), "--no-html")
    assert said in found.stderr
    assert "stories, pocket-nano, 2 different prompts (1 further item repeats them)" in found.stdout


def test_items_that_a_task_makes_differ_in_their_prompts(run, tmp_path):
    (tmp_path / "plan.yaml").write_text(
        "models: [pocket-nano]\nstrategies: [greedy]\n"
        "tasks: [{name: pocket-stories, items: 60}, {name: stories, items: 60}, {name: pocket-code, items: 60}]\n"
    )
    assert "repeat" not in run("bench", str(tmp_path / "plan.yaml"), "--dry-run").stderr


def test_the_margin_can_be_another_one_when_the_tables_are_read(run, plan):
    run("bench", str(plan), "--no-html")
    usual = run("report", str(plan), "--json").json
    other = run("report", str(plan), "--margin", "0.99", "--json").json
    assert [w["margin"] for w in (*usual["winners"], *other["winners"])] == [0.05, 0.99]
    assert other["rows"] == usual["rows"]
    refused = run("report", str(plan), "--margin", "5")
    assert (refused.code, refused.stderr) == (
        2,
        "decodelab: --margin must be above 0 and below 1, got 5; 0.05 is 5 points of 100\n",
    )


def test_what_a_tokenizer_reads_in_another_way_is_noted_once_with_the_items(run, tmp_path):
    rows = [{"prompt": f"<s>What is {n} + 1?", "answer": str(n + 1)} for n in range(5)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "plan.yaml").write_text(
        "models: [pocket-nano]\nstrategies: {greedy: greedy, cold: temperature=0.5}\n"
        "tasks: [{name: jsonl, file: rows.jsonl, items: 5, max_new_tokens: 2}]\n"
    )
    items = ", ".join(f"pocket-nano, jsonl, item {n}" for n in range(3)) + " and 2 more"
    for more in ("--dry-run", "--no-html"):
        said = run("bench", str(tmp_path / "plan.yaml"), more).stderr
        assert f'note: {items}: begins with BOS ("<s>") twice' in said
        assert f'note: {items}: "<s>" became a special token; remove it if it is meant as text' in said
        assert said.count("note: ") == 2


def test_answers_that_were_cut_in_a_thought_which_their_prompt_opened_are_counted_as_such(run, tmp_path):
    rows = [{"prompt": f"What is {n} + 1? <think>", "answer": str(n + 1)} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "plan.yaml").write_text(
        "models: [pocket-nano]\nstrategies: [greedy]\n"
        "tasks: [{name: jsonl, file: rows.jsonl, items: 3, max_new_tokens: 3, scorer: contains}]\n"
    )
    (row,) = run("bench", str(tmp_path / "plan.yaml"), "--no-html", "--json").json["rows"]
    assert (row["score"]["value"], row["unread"], row["lacks"]["unfinished thought"]) == (0, 1, 3)
    journal = str(tmp_path / "plan.journal.sqlite")
    assert "greedy 3 of 3 (unfinished thought 3)" in run("report", journal).stdout
    assert run("journal", journal, "--export", str(tmp_path / "a.jsonl")).code == 0
    exported = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["lacks"] for line in exported] == ["unfinished thought"] * 3
