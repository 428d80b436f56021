"""The journal of sweeps: a file with every answer and score, each written once and whole, safe from a kill."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from decodelab.bench.records import Answer, ItemView, JudgeReply, Score, WorkItem
from decodelab.bench.store.rows import INSERT, decoded, encoded, row_of
from decodelab.core.errors import JournalError

VERSION = 3
_MINE = 0x6465636F  # "deco", in the file's header
_UNPLANNED = {
    "scores": "scores WHERE (key, rule) IN (SELECT key, rule FROM unplanned_scores)",
    "answers": "answers WHERE key IN (SELECT key FROM unplanned_answers)",
}
"""What no plan asks for, by table; scores first, as they refer to answers."""


class Journal:
    """A SQLite file that one run at a time may write while others read it.

    An answer is written with its scores in one transaction, after it is complete: a kill leaves either all of it or
    nothing. Use it as a context manager. `decodelab.bench.store.views` reads it.

    Args:
        path: the file; created if it is opened for writing.
        writing: whether to write, which one process at a time may do.

    Raises:
        JournalError: if it cannot be opened, is not a journal, is of another version, or another run is writing it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "j.sqlite", writing=True) as journal:
    ...     len(journal.keys())
    0
    """

    def __init__(self, path: Path, *, writing: bool) -> None:
        import filelock

        self.path = path
        self._lock = filelock.FileLock(f"{path}.lock")
        if not path.parent.is_dir():
            raise JournalError(
                f"journal {path}: there is no directory {str(path.parent)!r}; create it or choose another"
            )
        if not writing and not path.is_file():
            raise JournalError(f"journal {path}: there is no such file; run decodelab bench first")
        if writing:
            try:
                self._lock.acquire(timeout=0)
            except filelock.Timeout:
                raise JournalError(f"journal {path}: another run is writing it; wait for it, or name another") from None
            except OSError as error:
                raise JournalError(f"journal {path}: {error.strerror}; choose another place") from None
        try:
            with self._faults():
                self._connection = sqlite3.connect(path, isolation_level=None)
                self._connection.text_factory = decoded
                self._open(writing)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, writing: bool) -> None:
        run = self._connection.execute
        mine, version = run("PRAGMA application_id").fetchone()[0], run("PRAGMA user_version").fetchone()[0]
        empty = not run("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not (mine == _MINE or (empty and writing)):
            raise JournalError(f"journal {self.path}: is another program's database; name another file")
        if not empty and version != VERSION:
            raise JournalError(
                f"journal {self.path}: is of version {version}, this decodelab reads and writes version {VERSION}; "
                "start a new one, or use the decodelab that wrote it"
            )
        if writing:
            run("PRAGMA journal_mode=WAL")
            run("PRAGMA synchronous=NORMAL")
        if empty:
            schema = (files("decodelab.bench.store") / "schema.sql").read_text(encoding="utf-8")
            with self._transaction():
                for statement in _statements(schema):
                    run(statement)
                run(f"PRAGMA application_id={_MINE}")
                run(f"PRAGMA user_version={VERSION}")

    def __enter__(self) -> Journal:
        """The open journal."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close it."""
        self._connection.close()
        self._lock.release()

    def select(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, as they are read.

        Raises:
            JournalError: if the file cannot be read.
        """
        with self._faults():
            yield from self._connection.execute(query, values)

    def keys(self) -> set[str]:
        """The keys of all answers that are in it."""
        return {key for (key,) in self.select("SELECT key FROM answers")}

    def add(self, answers: Sequence[Answer], scores: Sequence[Score]) -> None:
        """Write answers with their scores, all or nothing; what is there already stays.

        Raises:
            JournalError: if the disk is full, say.
        """
        rows = [row_of(answer) for answer in answers]
        with self._writing():
            self._connection.executemany(INSERT, rows)
            self._put(scores)

    def score(self, scores: Sequence[Score]) -> None:
        """Write scores of answers that are there; an earlier score of the same answer is replaced."""
        with self._writing():
            self._put(scores)

    def _put(self, scores: Sequence[Score]) -> None:
        rows = [(s.key, s.rule, s.task, encoded(s.item), s.score, json.dumps(s.answer)) for s in scores]
        self._connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, CAST(? AS TEXT), ?, ?)", rows)

    def begin(self, plan: str, digest: str, items: Mapping[str, Sequence[ItemView]]) -> None:
        """Note a plan and its items, by task; what is there already is replaced."""
        rows = [
            (digest, task, encoded(one.item), place, encoded(one.prompt), json.dumps(one.reference), one.rule)
            for task, listed in items.items()
            for place, one in enumerate(listed)
        ]
        with self._writing():
            began = datetime.now(UTC).isoformat(timespec="microseconds")
            self._connection.execute("INSERT OR REPLACE INTO plans VALUES (?, ?, ?)", (digest, plan, began))
            self._connection.execute("DELETE FROM items WHERE plan = ?", (digest,))
            self._connection.executemany(
                "INSERT INTO items VALUES (?, ?, CAST(? AS TEXT), ?, CAST(? AS TEXT), ?, ?)", rows
            )

    def ask(self, digest: str, model: str, work: Sequence[WorkItem]) -> None:
        """Note everything a plan asks of a model; what was noted of it before is replaced."""
        rows = [
            (digest, one.task, model, one.strategy, encoded(one.item), str(one.seed), sample, number, key)
            for number, one in enumerate(work)
            for sample, key in enumerate(one.keys, one.first)
        ]
        with self._writing():
            self._connection.execute("DELETE FROM work WHERE plan = ? AND model = ?", (digest, model))
            self._connection.executemany("INSERT INTO work VALUES (?, ?, ?, ?, CAST(? AS TEXT), ?, ?, ?, ?)", rows)

    def forget(self, digest: str) -> None:
        """Remove a plan; the answers to it stay."""
        with self._writing():
            for table, column in (("work", "plan"), ("items", "plan"), ("plans", "digest")):
                self._connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (digest,))

    def add_reply(self, reply: JudgeReply) -> None:
        """Write what a judge replied; what is there already stays."""
        with self._writing():
            self._connection.execute(
                "INSERT INTO judge_replies VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING", astuple(reply)
            )

    def reply(self, key: str) -> JudgeReply | None:
        """What a judge replied, by its key."""
        return next((JudgeReply(*row) for row in self.select("SELECT * FROM judge_replies WHERE key = ?", key)), None)

    def judges(self) -> list[str]:
        """Whose replies there are."""
        return [judge for (judge,) in self.select("SELECT DISTINCT judge FROM judge_replies ORDER BY judge")]

    def unplanned(self) -> Mapping[str, int]:
        """How many answers and scores no plan asks for any more."""
        return {table: self._count(where) for table, where in _UNPLANNED.items()}

    def compact(self) -> Mapping[str, int]:
        """Drop what no plan asks for any more, and give the space that is free back to the disk.

        Returns:
            How many answers and scores were dropped.

        Raises:
            JournalError: if there is no space to write the smaller file, say; then nothing is lost.
        """
        with self._faults():
            run = self._connection.execute
            with self._transaction():
                dropped = {table: run(f"DELETE FROM {where}").rowcount for table, where in _UNPLANNED.items()}
            run("VACUUM")
            run("PRAGMA wal_checkpoint(TRUNCATE)")
            return dropped

    def check(self) -> Mapping[str, int]:
        """How many answers and scores there are.

        Raises:
            JournalError: if the file is damaged.
        """
        ((found,), *_) = self.select("PRAGMA integrity_check")
        if found != "ok":
            raise JournalError(f"journal {self.path}: is damaged ({found}); restore a copy")
        return {table: self._count(table) for table in ("answers", "scores")}

    def _count(self, what: str) -> int:
        ((count,),) = self.select(f"SELECT count(*) FROM {what}")
        return count

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._faults(), self._transaction():
            yield

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """What SQLite finds wrong, in one line."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            what = str(error)
            fix = "free some space and run again" if "full" in what else "is it a journal, and may it be written?"
            raise JournalError(f"journal {self.path}: {what}; {fix}") from None


@contextmanager
def opened(place: Path, *, writing: bool) -> Iterator[Journal]:
    """The journal; a temporary empty one where nothing is to be written and there is none."""
    if writing or place.is_file():
        with Journal(place, writing=writing) as journal:
            yield journal
    else:
        with temporary() as journal:
            yield journal


@contextmanager
def temporary() -> Iterator[Journal]:
    """An empty journal that is deleted when the block ends."""
    with TemporaryDirectory() as folder, Journal(Path(folder) / "journal.sqlite", writing=True) as journal:
        yield journal


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, so that all of them can be one transaction, which `executescript` would end."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
