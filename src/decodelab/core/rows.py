"""Reads text files, JSONL and CSV, each row with where it stands."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from decodelab.core.errors import RequestError


def read_text(file: Path | str) -> str:
    """The UTF-8 text of a file, or of stdin for `-`.

    Raises:
        RequestError: if it cannot be read.
    """
    name = called(Path(file))
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else Path(file).expanduser().read_bytes()
    except OSError as error:
        raise RequestError(f"cannot read {name}: {error.strerror}; check the path") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"{name} is not UTF-8 text (byte {error.start + 1}); convert it first") from None


def parse_yaml(text: str, where: str) -> Any:
    """The data of a YAML text, built of nothing but plain values.

    Args:
        text: what was written.
        where: it was written, as errors say it.

    Raises:
        RequestError: if it cannot be read.

    >>> parse_yaml("{name: mmlu, shots: 5}", "--task")
    {'name': 'mmlu', 'shots': 5}
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except Exception as error:  # PyYAML raises whatever Python does for scalars such as 2001-99-99 or !!timestamp x
        raise RequestError(f"{where} is not YAML: {' '.join(str(error).split())[:200]}; mend it") from None


def read_objects(file: Path, text: str, example: str) -> list[tuple[str, dict[str, Any]]]:
    """The objects of JSONL text, one a line, each with where it stands; blank lines are passed over.

    Raises:
        RequestError: for a line that is not an object, with its number and the example.
    """
    rows: list[tuple[str, dict[str, Any]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{called(file)}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise RequestError(f"{where}: not JSON ({reason}); write {example}") from None
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
        RequestError: if it cannot be read, has no row, or a row that is none, with its number and the example.
    """
    text = read_text(file)
    if file.suffix.lower() != ".csv":
        rows = read_objects(file, text, example)
    else:
        # Lines end as CSV has it: other separators that Python knows, such as U+2028, are text.
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            if columns and not set(columns) & set(reader.fieldnames or columns):
                reader = csv.DictReader(io.StringIO(text, newline=""), fieldnames=columns, strict=True)
            rows = [(f"{called(file)}, line {reader.line_num}", row) for row in reader]
        except csv.Error as error:
            raise RequestError(f"{called(file)}, line {reader.line_num}: {error}; mend it or write JSONL") from None
    if not rows:
        raise RequestError(f"{called(file)} has no items; write {example}")
    return rows


def called(file: Path) -> str:
    """What errors call a file."""
    return "stdin" if str(file) == "-" else repr(str(file))
