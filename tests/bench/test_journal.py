"""The journal: whole records or none, one writer, and clear words for what is no journal."""

import contextlib
import os
import random
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from decodelab.bench.records import Answer, AnswerView, ItemView, JudgeReply, Score, WorkItem, key_of
from decodelab.bench.store import views
from decodelab.bench.store.journal import VERSION, Journal
from decodelab.core.errors import JournalError
from decodelab.core.values import Limits

ANSWER = Answer(
    "k", "m", "d", "greedy", "prompt", 0, str(2**63), "[]", "a\0b\x1b[31m<i>\ud800",
    (1, 2), (-0.5, -1.5), (-0.5, -1.5), "eos", 3, 3, 2, 3, 100, 0.5,
)  # fmt: skip
VIEW = AnswerView(
    "sums", "m", "greedy", "0", "k", ANSWER.prompt, ANSWER.text, 2, ANSWER.finish_reason, 0.5, None, {"read": [1]}
)


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
        assert journal.verify() == {"answers": 1, "scores": 1}


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


def test_a_second_writer_is_refused_whatever_link_leads_to_the_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder", target_is_directory=True)
    with Journal(tmp_path / "folder" / "j", writing=True):
        (tmp_path / "other").symlink_to(tmp_path / "folder" / "j")
        for path in (tmp_path / "link" / "j", tmp_path / "other"):
            with pytest.raises(JournalError, match="another run is writing it"):
                Journal(path, writing=True)


@contextlib.contextmanager
def only_readable(folder: str):
    """A folder in which nothing may be written, by a user who may not write everywhere, as root may."""
    user = os.geteuid()
    for name in os.listdir(folder):
        os.chmod(Path(folder) / name, 0o444)
    os.chmod(folder, 0o555)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        os.chmod(folder, 0o755)


def written(path) -> None:
    """A journal of a plan with 40 answers."""
    names = [f"{n}" for n in range(40)]
    with Journal(path, writing=True) as journal:
        journal.begin('{"plan": 1}', "p", {"sums": [ItemView(n, f"prompt {n} " * 9, [1], f"r{n}") for n in names]})
        journal.ask("p", "m", [WorkItem("m", "sums", n, "greedy", keys=(f"k{n}",)) for n in names])
        answers = [
            replace(ANSWER, key=f"k{n}", prompt=f"prompt {n} " * 9, text=f"text {n} \ud800 " * 30) for n in names
        ]
        journal.add(answers, [Score(f"k{n}", f"r{n}", "sums", n, 0.5, {"read": n}) for n in names])
        journal.add_reply(JudgeReply("key", "judge", "", "question", "reply", 1, None, 0.5))


def read(path) -> str:
    """Everything that readers see of a journal."""
    with Journal(path, writing=False) as journal:
        found = [
            list(views.all_answers(journal)),
            list(views.scored_answers(journal)),
            views.plans(journal),
            views.items(journal, "p", "sums"),
            views.work_items(journal, "p"),
            views.answers(journal, "p", "sums"),
            views.progress(journal, "p"),
            journal.reply("key"),
        ]
    return repr(found)


def test_a_finished_journal_is_one_file_and_can_be_read_where_nothing_may_be_written():
    with TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        written(path)
        os.unlink(f"{path}.lock")
        assert os.listdir(folder) == ["j"]
        with only_readable(folder):
            assert "text 39" in read(path)


def test_what_a_killed_run_wrote_last_is_not_passed_over_where_nothing_may_be_written():
    with TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        script = (
            "import os, sys\nfrom pathlib import Path\nfrom decodelab.bench.store.journal import Journal\n"
            "journal = Journal(Path(sys.argv[1]), writing=True)\njournal.begin('{}', 'p', {})\nos._exit(9)\n"
        )
        subprocess.run([sys.executable, "-c", script, str(path)], check=False)
        assert os.stat(f"{path}-wal").st_size
        with only_readable(folder), contextlib.suppress(JournalError), Journal(path, writing=False) as journal:
            assert [digest for digest, _, _ in views.plans(journal)] == ["p"]


def test_damage_is_named_in_one_line_and_nothing_else_is_ever_read(tmp_path):
    whole = tmp_path / "whole"
    written(whole)
    right, data = read(whole), whole.read_bytes()
    rng = random.Random(0)
    unseen = 0
    for _ in range(250):
        spoilt = bytearray(data)
        kind = rng.randrange(4)
        place = rng.randrange(len(data))
        if kind == 0:
            spoilt[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            end = min(len(data), place + rng.randrange(1, 600))
            spoilt[place:end] = rng.randbytes(end - place)
        elif kind == 2:
            del spoilt[place:]
        else:
            page = 4096 * rng.randrange(len(data) // 4096)
            spoilt[page : page + 4096] = bytes(4096)
        (tmp_path / "j").write_bytes(spoilt)
        said = found = None
        try:
            found = read(tmp_path / "j")
        except JournalError as error:
            said = str(error)
        if said is None:
            # What is not used of a page may change.
            unseen += 1
            assert found == right
        else:
            assert said.isprintable()
            assert len(said) < 600
    assert unseen < 100


def test_what_is_damaged_is_dropped_and_all_else_stays(tmp_path):
    written(tmp_path / "j")
    data = (tmp_path / "j").read_bytes()
    spoilt = data.replace(b"text 7 ", b"text 8 ", 1).replace(b'{"read": "3"}', b'{"read": "4"}', 1)
    (tmp_path / "j").write_bytes(spoilt)
    with pytest.raises(JournalError, match=r"1 of 40 answers, 1 of 40 scores are damaged \(m, greedy, k7\); restore a"):
        Journal(tmp_path / "j", writing=True)
    with Journal(tmp_path / "j", writing=True, repairing=True) as journal:
        assert journal.repair() == {"answers": 1, "scores": 1}
        assert journal.repair() == {}
    with Journal(tmp_path / "j", writing=False) as journal:
        assert journal.keys() == {f"k{n}" for n in range(40)} - {"k7"}
        # The score of the answer that is gone went with it.
        assert journal.verify() == {"answers": 39, "scores": 38}


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
            AnswerView(
                "sums", "m", "greedy", text, "k", record.prompt, text, 2, record.finish_reason, 1.0, None, [text]
            )
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
        assert (list(views.all_answers(journal)), journal.verify()) == ([ANSWER], {"answers": 1, "scores": 1})
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
