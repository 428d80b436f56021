"""`decodelab tune` on a few items of the smallest model."""

import shutil

import pytest

SMALL = ("-t", "{name: pocket-sums, max_new_tokens: 30}", "--items", "3", "--trials", "3")
GIVEN = dict(zip(SMALL[::2], SMALL[1::2], strict=True))
SPACE = ("--space", "top_k={1, 3}", "--space", "temperature=1.5")


def test_it_finds_checks_and_shows_and_does_nothing_twice(run, tmp_path):
    first = run("tune", *SMALL, "-m", "pocket-nano", *SPACE, "--json", "--diagram", "d.html").json
    assert (first["model"], first["task"], first["items"]) == ("pocket-nano", "pocket-sums", 3)
    assert first["baseline"]["strategy"] == "greedy"
    assert {trial["strategy"] for trial in first["trials"]} == {
        "top_k=1 | sample", "top_k=3 | sample", "temperature=1.5 | sample",
    }  # fmt: skip
    contest = first["check"]["to_baseline"]
    assert contest["a"] == first["best"]["strategy"]
    assert set(first["check"]["values"]) >= {"greedy", first["best"]["strategy"]}
    assert any("fresh items" in sentence for sentence in first["says"])
    page = (tmp_path / "d.html").read_text()
    assert "<svg" in page
    assert "top_k=3 | sample" in page
    again = run("tune", *SMALL, "-m", "pocket-nano", *SPACE, "--json").json
    assert (again["generated"], again["reused"]) == (0, first["generated"])
    assert again["check"] == first["check"]
    shown = run("tune", *SMALL, "-m", "pocket-nano", *SPACE)
    assert "greedy (baseline)" in shown.stdout
    assert "3 tried: 3 answered all 3 items" in shown.stdout
    assert "stored in tune.journal.sqlite" in shown.stderr


def test_the_journal_has_tables_of_the_fresh_items(run):
    found = run("tune", *SMALL, "-m", "pocket-nano", *SPACE, "--check", "2", "--json").json
    rows = run("report", "tune.journal.sqlite", "--json").json["rows"]
    assert {(row["strategy"], row["items"]) for row in rows} == {(name, 2) for name in found["check"]["values"]}


def test_a_reversal_is_searched_with_the_smaller_model_first(run, tmp_path):
    (tmp_path / "space.yaml").write_text("- [temperature: '{1.0, 3.0}']\n")
    arguments = ("--find-reversal", "pocket-small", "pocket-nano", "--space-file", "space.yaml", "--diagram", "d.png")
    found = run("tune", *SMALL, *arguments, "--json").json
    assert (found["small"], found["large"]) == ("pocket-nano", "pocket-small")
    assert len(found["trials"]) == 2
    assert found["says"][-1].startswith(("A reversal", "No reversal"))
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")
    shown = run("tune", *SMALL, *arguments)
    assert "pocket-nano against pocket-small" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--space and --space-file: give exactly one of them"),
        ([*SPACE, "--space-file", "x.yaml"], "--space and --space-file: give exactly one of them"),
        (["--space-file", "x.yaml"], "cannot read"),
        (["--space", "top_p=0.5..1.5"], "p must be in (0, 1], got 1.5"),
        (["--space", "top_p=1..0.5"], "the lower end must be below the upper"),
        (["--space", "tempreature=0..1"], "did you mean 'temperature'?"),
        ([*SPACE, "-t", "pocket-sum"], "did you mean 'pocket-sums'?"),
        ([*SPACE, "-t", "mmlu"], "needs a file"),
        ([*SPACE, "-t", "{name: pocket-sums"], "--task is not YAML"),
        ([*SPACE, "-t", "{name: pocket-sums, items: 5}"], "leave items out"),
        ([*SPACE, "-t", "{name: pocket-sums, maxnewtokens: 5}"], "unknown field 'maxnewtokens'"),
        (
            [*SPACE, "-t", "{name: mmlu, file: q.jsonl}"],
            "has 1 different prompts, but 3 to tune on and 3 to check with",
        ),
        ([*SPACE, "-m", "pocket-nan"], "pocket-nan"),
        ([*SPACE, "--objective", "scores"], "did you mean 'score'?"),
        ([*SPACE, "--baseline", "gredy"], "did you mean 'greedy'?"),
        ([*SPACE, "--trials", "0"], "--trials must be at least 1, got 0"),
        ([*SPACE, "--items", "1"], "--items must be at least 2, got 1"),
        ([*SPACE, "--check", "0"], "--check must be at least 2, got 0"),
        ([*SPACE, "--samples", "0"], "samples: input should be greater than or equal to 1"),
        ([*SPACE, "--own-settings"], "--own-settings works with --find-reversal only"),
        ([*SPACE, "--find-reversal", "pocket-nano", "pocket-nano"], "there twice"),
        ([*SPACE, "--find-reversal", "pocket-nano", "pocket-small", "--objective", "score-per-token"], "leave it out"),
        ([*SPACE, "--journal", "/nowhere/j"], "there is no directory"),
        ([*SPACE, "--diagram", "d.gif"], "must end in one of"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_leaves_nothing(run, tmp_path, arguments, message):
    (tmp_path / "q.jsonl").write_text('{"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}\n' * 3)
    before = sorted(path.name for path in tmp_path.iterdir())
    others = [part for option, value in GIVEN.items() if option not in arguments for part in (option, value)]
    found = run("tune", *others, *arguments)
    assert found.code == 2
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert found.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_command_line_without_optuna_says_how_to_get_it(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    found = run("tune", *SMALL, "-m", "pocket-nano", "--space", "temperature=0.2..1.5")
    assert found.code == 2
    assert "pip install 'decodelab[tune]'" in found.stderr


def test_names_of_models_and_tasks_are_no_markup(run, tmp_path):
    from decodelab.models.loading import model_info

    shutil.copytree(model_info("pocket-nano").path, tmp_path / "<b>x\x1b[31m")
    arguments = (*SMALL, "-m", "./<b>x\x1b[31m", *SPACE, "--diagram", "d.html")
    shown = run("tune", *arguments)
    assert shown.code == 0
    assert "\x1b" not in shown.stdout
    assert "<b>x" not in (tmp_path / "d.html").read_text()
