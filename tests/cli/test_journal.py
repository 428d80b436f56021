"""`decodelab journal`: what is in a journal, its answers as files, and a smaller file."""

import csv
import json
import sqlite3
from pathlib import Path

import pytest

from decodelab.bench.records import Answer, ItemView, Score, WorkItem
from decodelab.bench.store.export import COLUMNS
from decodelab.bench.store.journal import VERSION, Journal

HOSTILE = "=cmd|'/C calc'!A0 \0 \x1b[31m \ud800 <script>\n"


@pytest.fixture
def journal(tmp_path):
    """Two plans, of which the second is half done, and an answer that no plan asks for."""
    file = tmp_path / "runs.sqlite"
    with Journal(file, writing=True) as kept:
        for name, count in (("p", 2), ("q", 4)):
            kept.begin(
                json.dumps({"models": ["m"]}), name, {"sums": [ItemView(str(i), "?", i, f"r{i}") for i in range(4)]}
            )
            kept.ask(name, "m", [WorkItem("m", "sums", str(i), "greedy|\x1b", keys=(f"k{i}",)) for i in range(count)])
        for key in ("k0", "k1", "old"):
            answer = Answer(
                key, "m", "d", "greedy", HOSTILE, 0, str(2**63), "[]", HOSTILE,
                (1, 2), (-0.5, float("-inf")), (-0.5, -1.5), "eos", 3, 3, 2, 3, 100, 0.5,
            )  # fmt: skip
            kept.add([answer], [Score(key, f"r{key[1:]}", "sums", key[1:], 0.5, {"read": HOSTILE})])
    return file


def test_plans_are_listed_with_what_is_missing(run, journal):
    shown = run("journal", str(journal)).stdout
    assert "runs.sqlite: 3 answers, 3 scores" in shown
    assert "undamaged" in shown
    assert "2 of 4 answers" in shown
    assert "greedy|\\x1b 2 of 4" in shown
    data = run("journal", str(journal), "--json").json
    assert [plan["digest"] for plan in data["plans"]] == ["p", "q"]
    assert data["plans"][1]["cells"] == [
        {"task": "sums", "model": "m", "strategy": "greedy|\x1b", "asked": 4, "answers": 2, "scored": 2}
    ]


def test_jsonl_has_every_answer_as_it_was(run, journal, tmp_path):
    assert run("journal", str(journal), "--export", str(tmp_path / "a.jsonl")).code == 0
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["key"] for row in rows] == ["k0", "k1", "old"]
    assert list(rows[0]) == list(COLUMNS)
    assert (rows[0]["text"], rows[0]["prompt"], rows[0]["score"]) == (HOSTILE, HOSTILE, 0.5)
    assert json.loads(rows[0]["answer"]) == {"read": HOSTILE}
    assert rows[0]["token_logprobs"] == [-0.5, None]


def test_in_csv_nothing_is_a_formula_and_nothing_is_unseen(run, journal, tmp_path):
    assert run("journal", str(journal), "--export", str(tmp_path / "a.csv")).code == 0
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == ["k0", "k1", "old"]
    assert rows[0]["text"] == "'=cmd|'/C calc'!A0 \\x00 \\x1b[31m \\ud800 <script>\n"
    assert (rows[0]["score"], rows[0]["tokens"]) == ("0.5", "[1, 2]")


def test_parquet_has_the_columns_with_their_types(run, journal, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pip install 'decodelab[parquet]'")
    assert run("journal", str(journal), "--export", str(tmp_path / "a.parquet")).code == 0
    table = parquet.read_table(tmp_path / "a.parquet")
    assert {field.name: str(field.type).replace("element: ", "") for field in table.schema} == COLUMNS
    row = table.to_pylist()[0]
    assert row["text"] == HOSTILE.replace("\ud800", "\\ud800")
    assert (row["tokens"], row["token_logprobs"], row["seed"]) == ([1, 2], [-0.5, float("-inf")], str(2**63))


def test_compacting_is_told_before_it_is_done(run, journal):
    dry = run("journal", str(journal), "--compact", "--dry-run", "--json").json
    assert (dry["dropped"], dry["bytes_after"]) == ({"scores": 1, "answers": 1}, dry["bytes"])
    assert run("journal", str(journal), "--json").json["answers"] == 3
    assert "deleted 1 answers and 1 scores" in run("journal", str(journal), "--compact").stdout
    assert run("journal", str(journal), "--json").json["answers"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--export", "answers.xls"], "the file must end in .jsonl, .csv, .parquet, got 'answers.xls'"),
        (["--export", "/nowhere/a.csv"], "there is no directory"),
        (["--dry-run"], "--dry-run works with --compact only"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run, journal, arguments, message):
    found = run("journal", str(journal), *arguments)
    assert found.code == 2
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


def test_another_versions_journal_and_one_in_use_are_refused(run, journal):
    with Journal(journal, writing=True):
        found = run("journal", str(journal), "--compact")
        assert (found.code, "another run is writing it" in found.stderr) == (2, True)
        assert run("journal", str(journal)).code == 0
    with sqlite3.connect(journal) as connection:
        connection.execute(f"PRAGMA user_version={VERSION + 1}")
    found = run("journal", str(journal))
    assert (found.code, f"is of version {VERSION + 1}" in found.stderr) == (2, True)


def test_an_export_that_fails_leaves_no_half_file(run, journal, tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("before")

    def broken(journal):
        yield from ()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("decodelab.bench.store.export.scored_answers", broken)
    found = run("journal", str(journal), "--export", str(tmp_path / "a.csv"))
    assert (found.code, "No space left on device; free space" in found.stderr) == (2, True)
    assert [(file.name, file.read_text()) for file in tmp_path.glob("*.csv*")] == [("a.csv", "before")]
    assert not list(tmp_path.glob(".*part"))


def test_a_damaged_journal_says_what_is_lost_and_is_repaired(run, journal, tmp_path):
    file = Path(journal)
    data = file.read_bytes()
    with sqlite3.connect(file) as opened:
        (text,) = opened.execute("SELECT CAST(text AS BLOB) FROM answers WHERE length(text) > 8 LIMIT 1").fetchone()
    opened.close()
    file.write_bytes(data.replace(text, bytes(reversed(text)), 1))
    for command in (("report", str(file)), ("journal", str(file))):
        refused = run(*command)
        assert refused.code == 2
        assert "1 of" in refused.stderr
        assert "answers is damaged" in refused.stderr
        assert "--repair" in refused.stderr
    found = run("journal", str(file), "--repair")
    assert "dropped: 1 answers" in found.stdout
    assert run("journal", str(file)).code == 0
