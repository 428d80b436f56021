"""A checksum for each row of the journal, so that a changed byte is found, and what it spoils can be named."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from decodelab.io.text import printable

TABLES = ("answers", "confidences", "scores", "judge_replies", "plans", "items", "work")
"""All tables of the schema; the last column of each is its rows' checksum."""
_NAMED = 3
"""At most so many damaged answers are described."""


@dataclass(frozen=True)
class Damage:
    """What is damaged in a journal.

    Attributes:
        rows: by table, how many rows it has, and in how many the checksum is wrong.
        answers: model, strategy and key of some of the damaged answers.
    """

    rows: Mapping[str, tuple[int, int]]
    answers: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether anything is."""
        return any(bad for _, bad in self.rows.values())

    def __str__(self) -> str:
        """How many of what."""
        said = [
            f"{bad:,} of {count:,} {'pieces of work' if table == 'work' else table.replace('_', ' ')}"
            for table, (count, bad) in self.rows.items()
            if bad
        ]
        which = f" ({'; '.join(self.answers)})" if self.answers else ""
        return f"{', '.join(said)} {'is' if len(said) == 1 and said[0].startswith('1 ') else 'are'} damaged{which}"


def checksum(cells: Sequence[Any]) -> int:
    """The checksum of a row: 64 bits of BLAKE2b of its cells as SQLite gives them back, texts as bytes."""
    digest = blake2b(digest_size=8)
    for cell in cells:
        if isinstance(cell, str):
            cell = cell.encode("utf-8", "surrogatepass")
        if isinstance(cell, bytes):
            digest.update(b"b%d:" % len(cell) + cell)
        elif cell is None or cell != cell:
            # SQLite keeps NaN as NULL.
            digest.update(b"n")
        else:
            # A whole number in a column of reals comes back as a real one.
            digest.update(b"f" + struct.pack("<d", cell))
    return int.from_bytes(digest.digest(), "big", signed=True)


def install(connection: sqlite3.Connection) -> None:
    """Make the checksum of a row a function of SQL."""
    connection.create_function("row_checksum", -1, lambda *cells: checksum(cells), deterministic=True)


def damage(connection: sqlite3.Connection) -> Damage:
    """Read every row and compare its checksum.

    Raises:
        sqlite3.DatabaseError, MemoryError, OverflowError: for a file whose pages are damaged.
    """
    rows, named = {}, []
    for table in TABLES:
        wrong = _wrong(connection, table)
        ((count, bad),) = connection.execute(f"SELECT count(*), coalesce(sum({wrong}), 0) FROM {table} NOT INDEXED")
        rows[table] = (count, bad)
        if table == "answers" and bad:
            shown = "CAST(model AS BLOB), CAST(strategy AS BLOB), CAST(key AS BLOB)"
            query = f"SELECT {shown} FROM answers NOT INDEXED WHERE {wrong} LIMIT {_NAMED}"
            named = [", ".join(map(_readable, cells)) for cells in connection.execute(query)]
    return Damage(rows, tuple(named))


def drop_damaged(connection: sqlite3.Connection) -> dict[str, int]:
    """Delete the rows whose checksum is wrong, and scores whose answer is gone; within a transaction.

    Returns:
        How many rows had a wrong checksum, by table, where any had.
    """
    dropped = {
        table: connection.execute(f"DELETE FROM {table} NOT INDEXED WHERE {_wrong(connection, table)}").rowcount
        for table in TABLES
    }
    connection.execute("DELETE FROM scores WHERE key NOT IN (SELECT key FROM answers)")
    return {table: count for table, count in dropped.items() if count}


def _wrong(connection: sqlite3.Connection, table: str) -> str:
    """The condition that a row is damaged."""
    *columns, last = (column[1] for column in connection.execute(f"PRAGMA table_info({table})"))
    # A text may be no Unicode, be it by damage.
    cells = ", ".join(f"iif(typeof({c}) = 'text', CAST({c} AS BLOB), {c})" for c in columns)
    return f"{last} IS NOT row_checksum({cells})"


def _readable(cell: Any) -> str:
    text = cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)
    return printable(text[:60])
