"""The journal: whole records or none, one writer, and clear words for what is no journal."""

import sqlite3
from dataclasses import replace

import pytest

from decodelab.bench.store.journal import VERSION, Asked, CellCount, Journal, Kept, Record, Scored, Shown, key_of
from decodelab.core.errors import JournalError
from decodelab.core.values import Limits

RECORD = Record(
    "k", "m", "d", "greedy", "prompt", 0, str(2**63), "[]", "a\0b\x1b[31m<i>\ud800",
    (1, 2), (-0.5, -1.5), (-0.5, -1.5), "eos", 3, 3, 2, 3, 100, 0.5,
)  # fmt: skip


def test_what_is_written_is_read_back_as_it_was(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        journal.begin("{}", "p", {("sums", "0"): Shown("prompt", [1], "r")})
        journal.ask("p", "m", [Asked("sums", "m", "greedy", "0", ("k",))])
        journal.add([RECORD], [Scored("k", "r", "sums", "0", 0.5, {"read": [1]})])
    with Journal(tmp_path / "j", writing=False) as journal:
        assert list(journal.records()) == [RECORD]
        assert journal.scores("p", "sums") == {("k", "0"): Scored("k", "r", "sums", "0", 0.5, {"read": [1]})}
        assert journal.scores("p", "other") == journal.scores("q", "sums") == {}
        assert journal.check() == {"generations": 1, "scores": 1}


def test_a_generation_that_is_there_stays_and_a_score_is_replaced(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        journal.begin("{}", "p", {("sums", "0"): Shown("prompt", [1], "r")})
        journal.ask("p", "m", [Asked("sums", "m", "greedy", "0", ("k",))])
        journal.add([RECORD], [Scored("k", "r", "sums", "0", 0.5, None)])
        journal.add([replace(RECORD, text="other")], [])
        journal.score([Scored("k", "r", "sums", "0", 1.0, None)])
        assert next(journal.records()).text == RECORD.text
        assert journal.scores("p", "sums")["k", "0"].score == 1.0


def test_a_fault_leaves_nothing_half_written(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        broken = replace(RECORD, key="l", seconds=None)  # pyright: ignore[reportArgumentType]
        with pytest.raises(JournalError):
            journal.add([RECORD, broken], [])
        assert journal.keys() == set()
        journal.add([RECORD], [])
        assert journal.keys() == {"k"}


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        journal.add([RECORD], [])
        pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
        journal._connection.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(JournalError, match="full; free some space and run again"):
            journal.add([replace(RECORD, key=str(i), text="x" * 5000) for i in range(50)], [])
        assert journal.keys() == {"k"}


def test_only_one_run_writes_and_others_may_read(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        journal.add([RECORD], [])
        with pytest.raises(JournalError, match="another run is writing it"):
            Journal(tmp_path / "j", writing=True)
        with Journal(tmp_path / "j", writing=False) as reader:
            assert reader.keys() == {"k"}
    Journal(tmp_path / "j", writing=True).__exit__(None, None, None)


def test_what_is_no_journal_is_refused_and_not_touched(tmp_path):
    text = tmp_path / "text"
    text.write_text("something else that is no database at all, and long enough to be looked at" * 20)
    other = tmp_path / "other"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    for file, message in ((text, "not a database"), (other, "another program's database")):
        before = file.read_bytes()
        for writing in (True, False):
            with pytest.raises(JournalError, match=message):
                Journal(file, writing=writing)
        assert file.read_bytes() == before
    with pytest.raises(JournalError, match="there is no such file"):
        Journal(tmp_path / "none", writing=False)
    with pytest.raises(JournalError, match="there is no directory"):
        Journal(tmp_path / "none" / "j", writing=True)


def test_another_versions_journal_is_refused(tmp_path):
    Journal(tmp_path / "j", writing=True).__exit__(None, None, None)
    with sqlite3.connect(tmp_path / "j") as connection:
        connection.execute(f"PRAGMA user_version={VERSION + 1}")
    with pytest.raises(JournalError, match=f"is of version {VERSION + 1}, this decodelab writes {VERSION}"):
        Journal(tmp_path / "j", writing=True)


@pytest.mark.parametrize(
    "text", ["", "a\0b\0", "\ud800 and \udfff", "\x1b[2J\x07\u202e", "\r\n\u2028", "'; DROP TABLE--", "x" * 10**6]
)
def test_hostile_text_comes_back_as_it_was(tmp_path, text):
    record = replace(RECORD, text=text, prompt=text)
    with Journal(tmp_path / "j", writing=True) as journal:
        journal.begin("{}", "p", {("sums", text): Shown(text, {"said": text}, "r")})
        journal.ask("p", "m", [Asked("sums", "m", "greedy", text, ("k",))])
        journal.add([record], [Scored("k", "r", "sums", text, 1.0, [text])])
    with Journal(tmp_path / "j", writing=False) as journal:
        assert list(journal.records()) == [record]
        assert journal.examples("p") == {("sums", text): Shown(text, {"said": text}, "r")}
        assert journal.answers("p", "sums", "m", "greedy") == [Kept(text, "k", text, 1.0, [text])]
        assert [(r.text, s and s.answer) for r, s in journal.exported()] == [(text, [text])]


def test_a_journal_tells_how_far_each_cell_is(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        journal.begin("{}", "p", {("sums", name): Shown("?", 1, "r") for name in "01"})
        journal.ask("p", "m", [Asked("sums", "m", "greedy", name, (key,)) for name, key in (("0", "k"), ("1", "l"))])
        assert journal.cells("p") == [CellCount("sums", "m", "greedy", 2, 0, 0)]
        journal.add([RECORD, replace(RECORD, key="l")], [Scored("k", "r", "sums", "0", 0.5, None)])
        assert journal.cells("p") == [CellCount("sums", "m", "greedy", 2, 2, 1)]
        assert [kept.key for kept in journal.answers("p", "sums", "m", "greedy", unscored=True)] == ["l"]
        assert set(journal.began()) == {"p"}


def test_compacting_drops_what_no_plan_asks_for_and_nothing_else(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        journal.begin("{}", "p", {("sums", "0"): Shown("?", 1, "r")})
        journal.ask("p", "m", [Asked("sums", "m", "greedy", "0", ("k",))])
        others = [replace(RECORD, key=f"old {i}", text="x" * 10_000) for i in range(100)]
        scores = [Scored("k", "r", "sums", "0", 0.5, None), Scored("k", "old rule", "sums", "0", 0.1, None)]
        journal.add([RECORD, *others], [*scores, Scored("old 1", "r", "sums", "0", 1, None)])
        assert journal.unasked() == {"scores": 2, "generations": 100}
        before = (tmp_path / "j").stat().st_size
        assert journal.compact() == {"scores": 2, "generations": 100}
        assert journal.unasked() == {"scores": 0, "generations": 0}
        assert (list(journal.records()), journal.check()) == ([RECORD], {"generations": 1, "scores": 1})
    assert (tmp_path / "j").stat().st_size < before + 10**6 // 10


def test_a_key_depends_on_everything_a_text_depends_on():
    first = key_of("d", "greedy", (1, 2), 0, 0, Limits())
    others = [
        key_of("e", "greedy", (1, 2), 0, 0, Limits()),
        key_of("d", "sample", (1, 2), 0, 0, Limits()),
        key_of("d", "greedy", (1, 3), 0, 0, Limits()),
        key_of("d", "greedy", (1, 2), 1, 0, Limits()),
        key_of("d", "greedy", (1, 2), 0, 1, Limits()),
        key_of("d", "greedy", (1, 2), 0, 0, Limits(max_new_tokens=5)),
        key_of("d", "greedy", (1, 2), 0, 0, Limits(stop=("x",))),
    ]
    assert len({first, *others}) == 8
