"""Reads JSONL and CSV, each row with where it stands."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from decodelab.core.errors import RequestError
from decodelab.io.json import parse_json
from decodelab.io.text import file_name, is_unicode, printable, read_text

_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
"""What formulas begin with, in full width too."""


def read_objects(file: Path, text: str, example: str, *, finite: bool = True) -> list[tuple[str, dict[str, Any]]]:
    """The objects of JSONL text, one a line, each with where it stands; blank lines are passed over.

    Args:
        file: where the text is from.
        text: what was written.
        example: a line as it should be, for errors.
        finite: whether NaN and infinities are refused here; otherwise the caller does.

    Raises:
        RequestError: for a line that is not an object or has a key twice, with its number and the example.
    """
    rows: list[tuple[str, dict[str, Any]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file_name(file)}, line {number}"
        try:
            row = parse_json(line, finite=finite)
        except ValueError as error:
            raise RequestError(f"{where}: not JSON ({error}); write {example}") from None
        if not isinstance(row, dict):
            raise RequestError(f"{where}: needs an object; write {example}")
        rows.append((where, row))
    return rows


def read_rows(file: Path, example: str, columns: Sequence[str] = ()) -> list[tuple[str, dict[str, Any]]]:
    """The rows of a CSV file with a header (its name ends in `.csv`), or the objects of JSONL, as `read_objects`.

    Args:
        file: the file.
        example: a line as it should be, for errors.
        columns: of a CSV file without a header, which is one whose first line has none of them.

    Raises:
        RequestError: if it cannot be read, has no row, a row that is none or that has more or fewer fields than the
            header, or a header that names a column twice, with its number.
    """
    text = read_text(file)
    rows = _csv_rows(file, text, columns) if file.suffix.lower() == ".csv" else read_objects(file, text, example)
    if not rows:
        raise RequestError(f"{file_name(file)} has no items; write {example}")
    return rows


def _csv_rows(file: Path, text: str, columns: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """The rows of CSV by the names of its header, each with where it stands; lines without a field are passed over."""
    # Lines end as CSV has it: other separators that Python knows, such as U+2028, are text.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[str, dict[str, Any]]] = []
    header: list[str] = []
    try:
        for fields in reader:
            where = f"{file_name(file)}, line {reader.line_num}"
            if not fields:
                continue
            if not header:
                header = [name.strip() for name in fields]
                twice = next((name for name in header if header.count(name) > 1), None)
                if not columns or set(columns) & set(header):
                    if twice is not None:
                        raise RequestError(f"{where}: column {twice[:60]!r} appears twice in the header; rename one")
                    continue
                header = list(columns)
            if len(fields) != len(header):
                raise RequestError(
                    f"{where}: has {len(fields)} fields, the header has {len(header)} ({', '.join(header)[:80]}); "
                    "put text that has commas in quotes"
                )
            rows.append((where, dict(zip(header, fields, strict=True))))
    except csv.Error as error:
        raise RequestError(f"{file_name(file)}, line {reader.line_num}: {error}; fix it or write JSONL") from None
    return rows


def read_jsonl(file: Path, text: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of JSONL text, one a line, each with these text fields; blank lines and other fields are passed over.

    Raises:
        RequestError: for a line that is not such an object, with its number.
    """
    example = json.dumps(dict.fromkeys(fields, "..."))
    rows: list[dict[str, Any]] = []
    for where, row in read_objects(file, text, example):
        for field in fields:
            if not isinstance(row.get(field), str) or not is_unicode(row[field]):
                raise RequestError(f"{where}: needs the field {field!r} as text; write {example}")
        rows.append(row)
    return rows


def spreadsheet_text(text: str, keep: str = "") -> str:
    r"""Text that a spreadsheet takes for text: no formula, nothing unseen in it but the characters of `keep`.

    >>> spreadsheet_text("=1+1"), spreadsheet_text("a\0b")
    ("'=1+1", 'a\\x00b')
    """
    # After the apostrophe nothing is a formula; in front of it stand only characters that are seen.
    return ("'" if text.lstrip().startswith(_FORMULA) else "") + printable(text, keep)
