"""The journal of sweeps: every generation and every score, once, whole, and safe from a kill at any moment."""

from __future__ import annotations

import json
import math
import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from decodelab.core.errors import JournalError
from decodelab.core.values import Limits, Tokens
from decodelab.metrics.repetition import seq_rep_n

VERSION = 2
_MINE = 0x6465636F  # "deco", which the file's header bears
_SCHEMA = """
CREATE TABLE generations (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, model_digest TEXT NOT NULL, strategy TEXT NOT NULL,
    sample INTEGER NOT NULL, seed TEXT NOT NULL, limits TEXT NOT NULL, finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, prefill_tokens INTEGER NOT NULL, decode_tokens INTEGER NOT NULL,
    forward_passes INTEGER NOT NULL, peak_cache_bytes INTEGER NOT NULL, seconds REAL NOT NULL,
    length INTEGER NOT NULL, logprob REAL, repetition REAL NOT NULL,
    prompt TEXT NOT NULL, text TEXT NOT NULL, tokens BLOB NOT NULL, token_logprobs BLOB NOT NULL,
    processed_logprobs BLOB NOT NULL
);
CREATE TABLE scores (
    key TEXT NOT NULL REFERENCES generations, rule TEXT NOT NULL, task TEXT NOT NULL, example TEXT NOT NULL,
    score REAL NOT NULL, answer TEXT NOT NULL, PRIMARY KEY (key, rule)
) WITHOUT ROWID;
CREATE TABLE replies (
    key TEXT PRIMARY KEY, judge TEXT NOT NULL, before TEXT NOT NULL, question TEXT NOT NULL, reply TEXT NOT NULL,
    prompt_tokens INTEGER, completion_tokens INTEGER, seconds REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE plans (digest TEXT PRIMARY KEY, plan TEXT NOT NULL, began TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE asked (
    plan TEXT NOT NULL REFERENCES plans, task TEXT NOT NULL, model TEXT NOT NULL, strategy TEXT NOT NULL,
    example TEXT NOT NULL, sample INTEGER NOT NULL, number INTEGER NOT NULL, key TEXT NOT NULL,
    PRIMARY KEY (plan, task, model, strategy, example, sample)
) WITHOUT ROWID;
CREATE TABLE examples (
    plan TEXT NOT NULL REFERENCES plans, task TEXT NOT NULL, id TEXT NOT NULL, prompt TEXT NOT NULL,
    reference TEXT NOT NULL, rule TEXT NOT NULL, PRIMARY KEY (plan, task, id)
) WITHOUT ROWID;
"""

_UNASKED = {
    "scores": "scores WHERE NOT EXISTS (SELECT 1 FROM asked a JOIN examples e ON e.plan = a.plan AND e.task = a.task"
    " AND e.id = a.example WHERE a.key = scores.key AND e.rule = scores.rule)",
    "generations": "generations WHERE key NOT IN (SELECT key FROM asked)",
}
"""What no plan asks for, by table; scores first, as they refer to generations."""


@dataclass(frozen=True)
class Record:
    """One generated answer.

    Attributes:
        key: what it is told from all others by (`key_of`).
        model, model_digest, strategy, prompt, sample, seed, limits: what that is made of; seed as text.
        text, tokens, token_logprobs, processed_logprobs, finish_reason: what came out.
        prompt_tokens: of its prompt, which the first sample bears for all.
        prefill_tokens, decode_tokens, forward_passes, peak_cache_bytes, seconds: what it cost. Answers that were
            sampled together share their cost: the first bears it, the others none. Of its prompt, what had been
            computed already for another strategy is not in `prefill_tokens`.
    """

    key: str
    model: str
    model_digest: str
    strategy: str
    prompt: str
    sample: int
    seed: str
    limits: str
    text: str
    tokens: Tokens
    token_logprobs: tuple[float, ...]
    processed_logprobs: tuple[float, ...]
    finish_reason: str
    prompt_tokens: int
    prefill_tokens: int
    decode_tokens: int
    forward_passes: int
    peak_cache_bytes: int
    seconds: float


_COLUMNS = tuple(Record.__dataclass_fields__)
_WRITTEN = ("prompt", "text")
_PACKED = {"tokens": "i", "token_logprobs": "d", "processed_logprobs": "d"}
"""Lists and the type of their entries, little-endian: half the size of JSON, and ten times as fast."""


@dataclass(frozen=True)
class Scored:
    """A score of an answer.

    Attributes:
        key: of the answer.
        rule: what it was scored by, as a digest: an answer has one score by each rule.
        task, example: the same for readers: the task with its parameters, and the item's id.
        score: from 0 to 1.
        answer: what was read from the text, JSON-ready.
    """

    key: str
    rule: str
    task: str
    example: str
    score: float
    answer: Any


@dataclass(frozen=True)
class Written:
    """What readers of an answer want to see of it: its text, how many tokens it took and why it ended."""

    text: str
    tokens: int
    finish_reason: str


@dataclass(frozen=True)
class Kept:
    """An answer that is there: to which item, its key and text, and what it was scored; None without a score."""

    example: str
    key: str
    text: str
    score: float | None
    read: Any


@dataclass(frozen=True)
class CellCount:
    """How far a cell of a plan is: answers asked for, those that are there, and those that are scored."""

    task: str
    model: str
    strategy: str
    asked: int
    answers: int
    scored: int


@dataclass(frozen=True)
class Asked:
    """One item that a plan asks of one model under one strategy, and the keys of its answers, by sample.

    Attributes:
        task, model, strategy: the cell, as tables call them.
        example: the item's id.
        keys: a key for each answer; the journal may or may not have it yet.
    """

    task: str
    model: str
    strategy: str
    example: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """An item as readers of the answers want to see it.

    Attributes:
        prompt: what was asked.
        reference: the right answer, JSON-ready.
        rule: the digest of all that answers to it are scored by.
    """

    prompt: str
    reference: Any
    rule: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What tables need of an answer, without its text and tokens.

    Attributes:
        score: None as long as it has none.
        read: what was read from the text, as JSON; None when nothing was.
        prompt_tokens, decode_tokens, seconds, finish_reason: as in its record.
        length: tokens.
        logprob: of all of them under the model, in nats; NaN where it is not known.
        repetition: share of its 4-grams that have been there before.
        confidence: of an option that was chosen by likelihood, its probability given that it is one of the options; NaN
            of other answers.
    """

    score: float | None
    read: str | None
    prompt_tokens: int
    decode_tokens: int
    seconds: float
    finish_reason: str
    length: int
    logprob: float
    repetition: float
    confidence: float


@dataclass(frozen=True)
class KeptReply:
    """What a judge said to a question.

    Attributes:
        key: of the judge and the whole conversation up to the question (`decodelab.bench.run.judging`).
        judge: what its replies depend on, as JSON.
        before: the key of the reply before it in its conversation; empty for the first.
        question, reply: the last two turns.
        prompt_tokens, completion_tokens: as the judge counted; None where it did not.
        seconds: how long it took.
    """

    key: str
    judge: str
    before: str
    question: str
    reply: str
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float


def key_of(model_digest: str, strategy: str, prompt: Tokens, sample: int, seed: int, limits: Limits) -> str:
    """What tells one generation from all others: everything its text depends on, and nothing else.

    >>> len(key_of("m", "greedy", (1, 2), 0, 0, Limits()))
    32
    """
    parts = [model_digest, strategy, prompt, sample, seed, limits_text(limits)]
    return blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def limits_text(limits: Limits) -> str:
    """Limits as they stand in a journal."""
    return json.dumps([limits.max_new_tokens, limits.min_new_tokens, limits.stop, limits.stop_token_ids])


def _encoded(text: str) -> bytes:
    """Text as SQLite keeps it; half a surrogate pair, which is no Unicode but occurs in strings, stays what it is."""
    return text.encode("utf-8", "surrogatepass")


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")


def _cell(value: Any, column: str) -> Any:
    """A value of a record as its column holds it."""
    if column in _PACKED:
        return _packed(value, _PACKED[column])
    return _encoded(value) if column in _WRITTEN else value


def _record(row: Sequence[Any]) -> Record:
    """A record as it stands in the file."""
    values: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    for column, kind in _PACKED.items():
        values[column] = _unpacked(values[column], kind)
    return Record(**values)


def _packed(values: Sequence[float], kind: str) -> bytes:
    return struct.pack(f"<{len(values)}{kind}", *values)


def _unpacked(packed: bytes, kind: str) -> tuple[Any, ...]:
    return struct.unpack(f"<{len(packed) // struct.calcsize(kind)}{kind}", packed)


def _repetition(tokens: Tokens) -> float:
    """The share of 4-grams that have been there before; 0 where there is none."""
    share = seq_rep_n([tokens])
    return 0.0 if math.isnan(share) else share


class Journal:
    """A SQLite file that one run at a time may write; anybody may read it meanwhile.

    A generation is written with its scores in one transaction, after it is complete: a kill leaves either all of it or
    nothing. Use it as a context manager.

    Args:
        path: the file; it is made if it is to be written.
        writing: whether to write, which nobody else may do meanwhile.

    Raises:
        JournalError: if it cannot be opened, is none, is another version's, or another run is writing it.

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
            raise JournalError(f"journal {path}: there is no directory {str(path.parent)!r}; make it or choose another")
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
                self._connection.text_factory = _decoded
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
                f"journal {self.path}: is of version {version}, this decodelab writes {VERSION}; "
                "begin another, or use the decodelab that wrote it"
            )
        if writing:
            run("PRAGMA journal_mode=WAL")
            run("PRAGMA synchronous=NORMAL")
        if empty:
            with self._transaction():
                for statement in _SCHEMA.split(";"):
                    run(statement)
                run(f"PRAGMA application_id={_MINE}")
                run(f"PRAGMA user_version={VERSION}")

    def __enter__(self) -> Journal:
        """The open journal."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._connection.close()
        self._lock.release()

    def keys(self) -> set[str]:
        """The keys of all generations that are in it."""
        with self._faults():
            return {key for (key,) in self._connection.execute("SELECT key FROM generations")}

    def add(self, records: Sequence[Record], scores: Sequence[Scored]) -> None:
        """Write generations with their scores, all or nothing; what is there already stays.

        Raises:
            JournalError: if the disk is full, say.
        """
        columns = (*_COLUMNS, "length", "logprob", "repetition")
        marks = ", ".join("CAST(? AS TEXT)" if c in _WRITTEN else "?" for c in columns)
        rows = [
            (
                *(_cell(getattr(r, c), c) for c in _COLUMNS),
                len(r.tokens),
                sum(r.token_logprobs),
                _repetition(r.tokens),
            )
            for r in records
        ]
        with self._faults(), self._transaction():
            self._connection.executemany(
                f"INSERT INTO generations ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT (key) DO NOTHING", rows
            )
            self._put(scores)

    def score(self, scores: Sequence[Scored]) -> None:
        """Write scores of generations that are there; an earlier score of the same answer is replaced."""
        with self._faults(), self._transaction():
            self._put(scores)

    def _put(self, scores: Sequence[Scored]) -> None:
        rows = [(s.key, s.rule, s.task, _encoded(s.example), s.score, json.dumps(s.answer)) for s in scores]
        self._connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, CAST(? AS TEXT), ?, ?)", rows)

    def records(self) -> Iterator[Record]:
        """All generations, in the order of their keys."""
        with self._faults():
            for row in self._connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM generations ORDER BY key"):
                yield _record(row)

    def texts(self, keys: Sequence[str]) -> dict[str, Written]:
        """The texts of some generations; those that are not there are left out."""
        query = "SELECT key, text, length, finish_reason FROM generations WHERE key IN (SELECT value FROM json_each(?))"
        with self._faults():
            rows = self._connection.execute(query, (json.dumps(keys),))
            return {key: Written(text, tokens, reason) for key, text, tokens, reason in rows}

    def answers(self, digest: str, task: str, model: str, strategy: str, *, unscored: bool = False) -> list[Kept]:
        """The answers of a cell of a plan that are there, in its order; all, or those without a score."""
        query = (
            "SELECT a.example, a.key, g.text, s.score, s.answer FROM asked a JOIN generations g ON g.key = a.key"
            " JOIN examples e ON e.plan = a.plan AND e.task = a.task AND e.id = a.example"
            " LEFT JOIN scores s ON s.key = a.key AND s.rule = e.rule"
            " WHERE a.plan = ? AND a.task = ? AND a.model = ? AND a.strategy = ?"
            f" {'AND s.key IS NULL' if unscored else ''} ORDER BY a.number, a.sample"
        )
        with self._faults():
            rows = self._connection.execute(query, (digest, task, model, strategy))
            return [Kept(r[0], r[1], r[2], r[3], None if r[4] is None else json.loads(r[4])) for r in rows]

    def scores(self, digest: str, task: str) -> dict[tuple[str, str], Scored]:
        """The scores of what a plan asks of a task (as its tables call it), by key and example."""
        query = (
            "SELECT DISTINCT s.key, s.rule, s.task, a.example, s.score, s.answer FROM asked a"
            " JOIN examples e ON e.plan = a.plan AND e.task = a.task AND e.id = a.example"
            " JOIN scores s ON s.key = a.key AND s.rule = e.rule WHERE a.plan = ? AND a.task = ?"
        )
        with self._faults():
            rows = self._connection.execute(query, (digest, task))
            return {(r[0], r[3]): Scored(r[0], r[1], r[2], r[3], r[4], json.loads(r[5])) for r in rows}

    def figures(self, digest: str, task: str, model: str) -> Iterator[tuple[str, str, Figures | None]]:
        """Strategy, item and figures of all that a plan asks of a model on a task, in its order; None if missing."""
        with self._faults():
            for (
                strategy,
                example,
                length,
                *first,
                finish_reason,
                logprob,
                repetition,
                distribution,
            ) in self._connection.execute(
                "SELECT a.strategy, a.example, g.length, s.score, nullif(s.answer, 'null'), g.prompt_tokens,"
                " g.decode_tokens, g.seconds, g.finish_reason, g.logprob, g.repetition,"
                " CASE WHEN g.strategy GLOB 'likelihood(*' THEN g.processed_logprobs END FROM asked a"
                " LEFT JOIN generations g ON g.key = a.key"
                " LEFT JOIN examples e ON e.plan = a.plan AND e.task = a.task AND e.id = a.example"
                " LEFT JOIN scores s ON s.key = a.key AND s.rule = e.rule"
                " WHERE a.plan = ? AND a.task = ? AND a.model = ? ORDER BY a.number, a.sample",
                (digest, task, model),
            ):
                known = math.nan if logprob is None else logprob
                sure = math.nan if distribution is None else math.exp(math.fsum(_unpacked(distribution, "d")))
                score, read, prompt, decoded, seconds = first
                figures = Figures(score, read, prompt, decoded, seconds, finish_reason, length, known, repetition, sure)
                yield strategy, example, figures if length is not None else None

    def begin(self, plan: str, digest: str, examples: Mapping[tuple[str, str], Shown]) -> None:
        """Note a plan and its items, by task and id; what is there already is replaced."""
        from datetime import UTC, datetime

        items = [
            (digest, task, _encoded(name), _encoded(shown.prompt), json.dumps(shown.reference), shown.rule)
            for (task, name), shown in examples.items()
        ]
        with self._faults(), self._transaction():
            began = datetime.now(UTC).isoformat(timespec="microseconds")
            self._connection.execute("INSERT OR REPLACE INTO plans VALUES (?, ?, ?)", (digest, plan, began))
            self._connection.execute("DELETE FROM examples WHERE plan = ?", (digest,))
            self._connection.executemany(
                "INSERT INTO examples VALUES (?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?)", items
            )

    def ask(self, digest: str, model: str, asked: Sequence[Asked]) -> None:
        """Note everything a plan asks of a model; what was noted of them before is replaced."""
        rows = [
            (digest, a.task, a.model, a.strategy, _encoded(a.example), sample, number, key)
            for number, a in enumerate(asked)
            for sample, key in enumerate(a.keys)
        ]
        with self._faults(), self._transaction():
            self._connection.execute("DELETE FROM asked WHERE plan = ? AND model = ?", (digest, model))
            self._connection.executemany("INSERT INTO asked VALUES (?, ?, ?, ?, CAST(? AS TEXT), ?, ?, ?)", rows)

    def forget(self, digest: str) -> None:
        """Strike out a plan; the answers to it stay."""
        with self._faults(), self._transaction():
            for table, column in (("asked", "plan"), ("examples", "plan"), ("plans", "digest")):
                self._connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (digest,))

    def plans(self) -> list[tuple[str, str]]:
        """The plans that were begun, each as digest and JSON, the latest last."""
        with self._faults():
            return self._connection.execute("SELECT digest, plan FROM plans ORDER BY began, digest").fetchall()

    def asked(self, digest: str) -> list[Asked]:
        """Everything a plan asks of the models it has come to, in its order."""
        found: dict[tuple[str, str, str, str], list[str]] = {}
        with self._faults():
            for task, model, strategy, example, key in self._connection.execute(
                "SELECT task, model, strategy, example, key FROM asked WHERE plan = ? ORDER BY model, number, sample",
                (digest,),
            ):
                found.setdefault((task, model, strategy, example), []).append(key)
        return [Asked(*cell, tuple(keys)) for cell, keys in found.items()]

    def examples(self, digest: str) -> dict[tuple[str, str], Shown]:
        """The items of a plan, by task and id."""
        with self._faults():
            rows = self._connection.execute(
                "SELECT task, id, prompt, reference, rule FROM examples WHERE plan = ?", (digest,)
            )
            return {(r[0], r[1]): Shown(r[2], json.loads(r[3]), r[4]) for r in rows}

    def keep(self, reply: KeptReply) -> None:
        """Write what a judge said; what is there already stays."""
        with self._faults(), self._transaction():
            self._connection.execute(
                "INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING", astuple(reply)
            )

    def reply(self, key: str) -> KeptReply | None:
        """What a judge said, by its key."""
        with self._faults():
            row = self._connection.execute("SELECT * FROM replies WHERE key = ?", (key,)).fetchone()
            return KeptReply(*row) if row is not None else None

    def replies(self) -> Iterator[KeptReply]:
        """Everything that judges said, in the order of the keys."""
        with self._faults():
            for row in self._connection.execute("SELECT * FROM replies ORDER BY key"):
                yield KeptReply(*row)

    def judges(self) -> list[str]:
        """Whose replies there are."""
        with self._faults():
            return [judge for (judge,) in self._connection.execute("SELECT DISTINCT judge FROM replies ORDER BY judge")]

    def began(self) -> dict[str, str]:
        """When each plan was begun last, by digest: ISO 8601, in UTC."""
        with self._faults():
            return dict(self._connection.execute("SELECT digest, began FROM plans"))

    def cells(self, digest: str) -> list[CellCount]:
        """How far each cell of a plan is, in its order."""
        query = (
            "SELECT a.task, a.model, a.strategy, count(*), count(g.key), count(s.key) FROM asked a"
            " LEFT JOIN generations g ON g.key = a.key"
            " LEFT JOIN examples e ON e.plan = a.plan AND e.task = a.task AND e.id = a.example"
            " LEFT JOIN scores s ON s.key = a.key AND s.rule = e.rule"
            " WHERE a.plan = ? GROUP BY a.model, a.task, a.strategy ORDER BY a.model, min(a.number)"
        )
        with self._faults():
            return [CellCount(*row) for row in self._connection.execute(query, (digest,))]

    def exported(self) -> Iterator[tuple[Record, Scored | None]]:
        """All generations in the order in which they were made, each with its score; again for each further score."""
        columns = ", ".join(f"g.{column}" for column in _COLUMNS)
        query = (
            f"SELECT {columns}, s.rule, s.task, s.example, s.score, s.answer FROM generations g"
            " LEFT JOIN scores s ON s.key = g.key ORDER BY g.rowid"
        )
        with self._faults():
            for row in self._connection.execute(query):
                record = _record(row[: len(_COLUMNS)])
                rule, task, example, score, answer = row[len(_COLUMNS) :]
                none = rule is None
                yield record, None if none else Scored(record.key, rule, task, example, score, json.loads(answer))

    def unasked(self) -> Mapping[str, int]:
        """How many generations and scores no plan asks for any more."""
        with self._faults():
            run = self._connection.execute
            return {table: run(f"SELECT count(*) FROM {where}").fetchone()[0] for table, where in _UNASKED.items()}

    def compact(self) -> Mapping[str, int]:
        """Drop what no plan asks for any more, and give the space that is free back to the disk.

        Returns:
            How many generations and scores were dropped.

        Raises:
            JournalError: if there is no space to write the smaller file, say; then nothing is lost.
        """
        with self._faults():
            run = self._connection.execute
            with self._transaction():
                dropped = {table: run(f"DELETE FROM {where}").rowcount for table, where in _UNASKED.items()}
            run("VACUUM")
            run("PRAGMA wal_checkpoint(TRUNCATE)")
            return dropped

    def check(self) -> Mapping[str, int]:
        """How many generations and scores there are.

        Raises:
            JournalError: if the file is damaged.
        """
        with self._faults():
            found = self._connection.execute("PRAGMA integrity_check").fetchone()[0]
            if found != "ok":
                raise JournalError(f"journal {self.path}: is damaged ({found}); take a copy from before")
            count = "SELECT count(*) FROM "
            return {t: self._connection.execute(count + t).fetchone()[0] for t in ("generations", "scores")}

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
    """The journal; an empty one, soon gone, where nothing is to be written and there is none."""
    if writing or place.is_file():
        with Journal(place, writing=writing) as journal:
            yield journal
    else:
        with TemporaryDirectory() as folder, Journal(Path(folder) / "empty", writing=True) as journal:
            yield journal
