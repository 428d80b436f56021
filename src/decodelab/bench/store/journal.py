"""The journal of sweeps: a file with every answer and score, each written once and whole, safe from a kill."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from decodelab.bench.records import Answer, ItemView, JudgeReply, Score, WorkItem
from decodelab.bench.store.checksums import checksum, damage, drop_damaged, install
from decodelab.bench.store.rows import ROW, confidences_row, decoded, encoded, row_of
from decodelab.core.errors import JournalError
from decodelab.io.text import printable

VERSION = 5
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

    Every row has a checksum, and opening a journal reads them all: what is damaged is named, and nothing is read of it.

    Args:
        path: the file; created if it is opened for writing.
        writing: whether to write, which one process at a time may do.
        repairing: open it damaged or not, so that `repair` can drop what is damaged.

    Raises:
        JournalError: if it cannot be opened, is not a journal, is of another version, is damaged, or another run is
            writing it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "j.sqlite", writing=True) as journal:
    ...     len(journal.keys())
    0
    """

    def __init__(self, path: Path, *, writing: bool, repairing: bool = False) -> None:
        import filelock

        self.path, self._written = path, writing
        # Of the file itself, whatever links lead to it.
        self._lock = filelock.FileLock(f"{path.resolve()}.lock")
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
                self._connection = _connected(path)
                self._open(writing)
                if not repairing:
                    self.verify()
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
        """Close it; after writing it is one file again, which can be read where nothing may be written."""
        if self._written:
            with suppress(sqlite3.Error):
                # Not while others read it: the last writer after them will.
                self._connection.execute("PRAGMA journal_mode=DELETE")
        self._connection.close()
        self._lock.release()

    def select(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, as they are read.

        Raises:
            JournalError: if the file cannot be read.
        """
        with self._faults():
            yield from self._connection.execute(query, values)

    def keys(self, *, confident: bool = False) -> set[str]:
        """The keys of all answers that are in it; `confident`: of those whose confidences were asked for."""
        own = " WHERE strategy GLOB 'likelihood(*' OR key IN (SELECT key FROM confidences)" if confident else ""
        return {key for (key,) in self.select(f"SELECT key FROM answers{own}")}

    def add(self, answers: Sequence[Answer], scores: Sequence[Score], *, confident: bool = False) -> None:
        """Write answers with their scores, all or nothing; what is there already stays.

        With `confident`, their confidences too, or that nobody knows them.

        Raises:
            JournalError: if the disk is full, say.
        """
        rows = [row_of(answer) for answer in answers]
        with self._writing():
            self._insert("answers", rows, ROW)
            if confident:
                self._insert("confidences", [confidences_row(answer) for answer in answers])
            self._put(scores)

    def score(self, scores: Sequence[Score]) -> None:
        """Write scores of answers that are there; an earlier score of the same answer is replaced."""
        with self._writing():
            self._put(scores)

    def _put(self, scores: Sequence[Score]) -> None:
        rows = [(s.key, s.rule, s.task, s.item, s.score, json.dumps(s.answer), s.lacks) for s in scores]
        self._insert("scores", rows, replace=True)

    def _insert(
        self, table: str, rows: Sequence[Sequence[Any]], columns: Sequence[str] = (), *, replace: bool = False
    ) -> None:
        """Add rows with their checksums; what has the key of one that is there is left out, or replaces it.

        Cells are in the order of `columns`, or of the table's own.
        """
        *names, _ = self._connection.execute(f"PRAGMA table_info({table})")
        order = [columns.index(name[1]) if columns else place for place, name in enumerate(names)]
        # Half a surrogate pair occurs in strings, but is no Unicode: texts are given as bytes.
        places = ", ".join("CAST(? AS TEXT)" if name[2] == "TEXT" else "?" for name in names)
        cells = ([encoded(row[i]) if isinstance(row[i], str) else row[i] for i in order] for row in rows)
        statement = f"INSERT OR REPLACE INTO {table}" if replace else f"INSERT INTO {table}"
        ending = "" if replace else " ON CONFLICT DO NOTHING"
        self._connection.executemany(
            f"{statement} VALUES ({places}, ?){ending}", ([*row, checksum(row)] for row in cells)
        )

    def begin(self, plan: str, digest: str, items: Mapping[str, Sequence[ItemView]]) -> None:
        """Note a plan and its items, by task; what is there already is replaced."""
        rows = [
            (digest, task, one.item, place, one.prompt, json.dumps(one.reference), one.rule)
            for task, listed in items.items()
            for place, one in enumerate(listed)
        ]
        with self._writing():
            began = datetime.now(UTC).isoformat(timespec="microseconds")
            self._insert("plans", [(digest, plan, began)], replace=True)
            self._connection.execute("DELETE FROM items WHERE plan = ?", (digest,))
            self._insert("items", rows)

    def ask(self, digest: str, model: str, work: Sequence[WorkItem]) -> None:
        """Note everything a plan asks of a model; what was noted of it before is replaced."""
        rows = [
            (digest, one.task, model, one.strategy, one.item, str(one.seed), sample, number, key)
            for number, one in enumerate(work)
            for sample, key in enumerate(one.keys, one.first)
        ]
        with self._writing():
            self._connection.execute("DELETE FROM work WHERE plan = ? AND model = ?", (digest, model))
            self._insert("work", rows)

    def forget(self, digest: str) -> None:
        """Remove a plan; the answers to it stay."""
        with self._writing():
            for table, column in (("work", "plan"), ("items", "plan"), ("plans", "digest")):
                self._connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (digest,))

    def add_reply(self, reply: JudgeReply) -> None:
        """Write what a judge replied; what is there already stays."""
        with self._writing():
            self._insert("judge_replies", [astuple(reply)])

    def reply(self, key: str) -> JudgeReply | None:
        """What a judge replied, by its key."""
        return next(
            (JudgeReply(*row[:-1]) for row in self.select("SELECT * FROM judge_replies WHERE key = ?", key)), None
        )

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
                run("DELETE FROM confidences WHERE key IN (SELECT key FROM unplanned_answers)")
                dropped = {table: run(f"DELETE FROM {where}").rowcount for table, where in _UNPLANNED.items()}
            run("VACUUM")
            run("PRAGMA wal_checkpoint(TRUNCATE)")
            return dropped

    def verify(self) -> Mapping[str, int]:
        """Read all of it, and count its answers and scores.

        Raises:
            JournalError: if it is damaged, with what is lost.
        """
        with self._faults():
            ((found,), *_) = self._connection.execute("PRAGMA integrity_check(1)")
            if found != "ok":
                raise JournalError(f"journal {self.path}: is damaged ({printable(found)}); restore a copy")
            lost = damage(self._connection)
        if lost:
            raise JournalError(
                f"journal {self.path}: {lost}; restore a copy, or drop them by decodelab journal JOURNAL --repair, "
                "and the next run makes them again"
            )
        return {table: lost.rows[table][0] for table in ("answers", "scores")}

    def repair(self) -> Mapping[str, int]:
        """Drop the rows that are damaged, and make the indexes again; `verify` tells whether all is well then.

        Returns:
            How many rows were dropped, by table, where any were.

        Raises:
            JournalError: if more than rows is damaged, and they cannot be read.
        """
        with self._writing():
            dropped = drop_damaged(self._connection)
            self._connection.execute("REINDEX")
        return dropped

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
        except (MemoryError, OverflowError, UnicodeDecodeError, sqlite3.DataError):
            raise JournalError(f"journal {self.path}: is damaged; restore a copy") from None
        except sqlite3.DatabaseError as error:
            what = printable(str(error))
            fix = "free some space and run again" if "full" in what else "is it a journal, and may it be written?"
            raise JournalError(f"journal {self.path}: {what}; {fix}") from None


def _connected(path: Path) -> sqlite3.Connection:
    """A connection; in a folder where nothing may be written, one that takes the file as it is."""
    for address in (path.resolve().as_uri(), f"{path.resolve().as_uri()}?immutable=1"):
        connection = sqlite3.connect(address, uri=True, isolation_level=None)
        connection.text_factory = decoded
        install(connection)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return connection
        except sqlite3.OperationalError:
            connection.close()
            log = Path(f"{path.resolve()}-wal")
            # What a killed run has written last stands in the log, which must not be passed over.
            if "immutable" in address or not path.is_file() or (log.is_file() and log.stat().st_size):
                raise
    raise AssertionError  # the loop has returned or raised


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
