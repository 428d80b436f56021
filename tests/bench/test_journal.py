"""The journal: whole records or none, one writer, and clear words for what is no journal."""

import sqlite3
from dataclasses import replace

import pytest

from decodelab.bench.records import Answer, AnswerView, ItemView, Score, WorkItem, key_of
from decodelab.bench.store import views
from decodelab.bench.store.journal import VERSION, Journal
from decodelab.core.errors import JournalError
from decodelab.core.values import Limits

ANSWER = Answer(
    "k", "m", "d", "greedy", "prompt", 0, str(2**63), "[]", "a\0b\x1b[31m<i>\ud800",
    (1, 2), (-0.5, -1.5), (-0.5, -1.5), "eos", 3, 3, 2, 3, 100, 0.5,
)  # fmt: skip
VIEW = AnswerView("sums", "m", "greedy", "0", "k", ANSWER.text, 2, ANSWER.finish_reason, 0.5, {"read": [1]})


def test_what_is_written_is_read_back_as_it_was(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        journal.begin("{}", "p", {"sums": [ItemView("0", "prompt", [1], "r")]})
        journal.ask("p", "m", [WorkItem("m", "sums", "0", "greedy", keys=("k",))])
        journal.add([ANSWER], [Score("k", "r", "sums", "0", 0.5, {"read": [1]})])
    with Journal(tmp_path / "j", writing=False) as journal:
        assert list(views.all_answers(journal)) == [ANSWER]
        assert views.work_items(journal, "p") == [WorkItem("m", "sums", "0", "greedy", keys=("k",))]
        assert views.answers(journal, "p", "sums") == [VIEW]
        assert views.answers(journal, "p", "other") == views.answers(journal, "q", "sums") == []
        assert [score for _, score in views.scored_answers(journal)] == [
            Score("k", "r", "sums", "0", 0.5, {"read": [1]})
        ]
        assert journal.check() == {"answers": 1, "scores": 1}


def test_a_generation_that_is_there_stays_and_a_score_is_replaced(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        journal.begin("{}", "p", {"sums": [ItemView("0", "prompt", [1], "r")]})
        journal.ask("p", "m", [WorkItem("m", "sums", "0", "greedy", keys=("k",))])
        journal.add([ANSWER], [Score("k", "r", "sums", "0", 0.5, None)])
        journal.add([replace(ANSWER, text="other")], [])
        journal.score([Score("k", "r", "sums", "0", 1.0, None)])
        assert next(views.all_answers(journal)).text == ANSWER.text
        assert [answer.score for answer in views.answers(journal, "p", "sums")] == [1.0]


def test_a_fault_leaves_nothing_half_written(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        broken = replace(ANSWER, key="l", seconds=None)  # pyright: ignore[reportArgumentType]
        with pytest.raises(JournalError):
            journal.add([ANSWER, broken], [])
        assert journal.keys() == set()
        journal.add([ANSWER], [])
        assert journal.keys() == {"k"}


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        journal.add([ANSWER], [])
        pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
        journal._connection.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(JournalError, match="full; free some space and run again"):
            journal.add([replace(ANSWER, key=str(i), text="x" * 5000) for i in range(50)], [])
        assert journal.keys() == {"k"}


def test_only_one_run_writes_and_others_may_read(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        journal.add([ANSWER], [])
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
    with pytest.raises(
        JournalError, match=f"is of version {VERSION + 1}, this decodelab reads and writes version {VERSION}"
    ):
        Journal(tmp_path / "j", writing=True)


@pytest.mark.parametrize(
    "text", ["", "a\0b\0", "\ud800 and \udfff", "\x1b[2J\x07\u202e", "\r\n\u2028", "'; DROP TABLE--", "x" * 10**6]
)
def test_hostile_text_comes_back_as_it_was(tmp_path, text):
    record = replace(ANSWER, text=text, prompt=text)
    with Journal(tmp_path / "j", writing=True) as journal:
        journal.begin("{}", "p", {"sums": [ItemView(text, text, {"said": text}, "r")]})
        journal.ask("p", "m", [WorkItem("m", "sums", text, "greedy", keys=("k",))])
        journal.add([record], [Score("k", "r", "sums", text, 1.0, [text])])
    with Journal(tmp_path / "j", writing=False) as journal:
        assert list(views.all_answers(journal)) == [record]
        assert views.items(journal, "p", "sums") == {text: ItemView(text, text, {"said": text}, "r")}
        assert views.answers(journal, "p", "sums", "m", "greedy") == [
            AnswerView("sums", "m", "greedy", text, "k", text, 2, record.finish_reason, 1.0, [text])
        ]
        assert [(r.text, s and s.answer) for r, s in views.scored_answers(journal)] == [(text, [text])]


def test_a_journal_tells_how_far_each_cell_is(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        journal.begin("{}", "p", {"sums": [ItemView(name, "?", 1, "r") for name in "01"]})
        journal.ask(
            "p", "m", [WorkItem("m", "sums", name, "greedy", keys=(key,)) for name, key in (("0", "k"), ("1", "l"))]
        )
        assert views.progress(journal, "p") == [views.CellProgress("sums", "m", "greedy", 2, 0, 0)]
        journal.add([ANSWER, replace(ANSWER, key="l")], [Score("k", "r", "sums", "0", 0.5, None)])
        assert views.progress(journal, "p") == [views.CellProgress("sums", "m", "greedy", 2, 2, 1)]
        assert [one.key for one in views.answers(journal, "p", "sums", "m", "greedy", unscored=True)] == ["l"]
        assert [digest for digest, _, _ in views.plans(journal)] == ["p"]


def test_compacting_drops_what_no_plan_asks_for_and_nothing_else(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        journal.begin("{}", "p", {"sums": [ItemView("0", "?", 1, "r")]})
        journal.ask("p", "m", [WorkItem("m", "sums", "0", "greedy", keys=("k",))])
        others = [replace(ANSWER, key=f"old {i}", text="x" * 10_000) for i in range(100)]
        scores = [Score("k", "r", "sums", "0", 0.5, None), Score("k", "old rule", "sums", "0", 0.1, None)]
        journal.add([ANSWER, *others], [*scores, Score("old 1", "r", "sums", "0", 1, None)])
        assert journal.unplanned() == {"scores": 2, "answers": 100}
        before = (tmp_path / "j").stat().st_size
        assert journal.compact() == {"scores": 2, "answers": 100}
        assert journal.unplanned() == {"scores": 0, "answers": 0}
        assert (list(views.all_answers(journal)), journal.check()) == ([ANSWER], {"answers": 1, "scores": 1})
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
