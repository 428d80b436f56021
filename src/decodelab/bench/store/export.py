"""Answers of a journal as a file: JSONL, CSV or Parquet, written row by row whatever the size."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from decodelab.bench.store.journal import Journal
from decodelab.bench.store.views import scored_answers
from decodelab.core.errors import RequestError
from decodelab.io.atomic import check_writable, writing
from decodelab.io.json import json_line
from decodelab.io.tabular import spreadsheet_text

SUFFIXES = (".jsonl", ".csv", ".parquet")

COLUMNS: Mapping[str, str] = {
    "key": "string", "model": "string", "model_digest": "string", "strategy": "string", "prompt": "string",
    "sample": "int64", "seed": "string", "limits": "string", "text": "string", "tokens": "list<int32>",
    "token_logprobs": "list<double>", "processed_logprobs": "list<double>", "finish_reason": "string",
    "prompt_tokens": "int64", "prefill_tokens": "int64", "decode_tokens": "int64", "forward_passes": "int64",
    "peak_cache_bytes": "int64", "seconds": "double", "task": "string", "item": "string", "score": "double",
    "answer": "string", "lacks": "string",
}  # fmt: skip
"""Columns and their types as Parquet has them; `answer`, what was read from the text, is JSON; `lacks` says why
nothing was."""


def check_export(file: Path) -> None:
    """Make sure, before any work is done, that answers can be written there.

    Raises:
        RequestError: for another kind of file, or Parquet without pyarrow.
        OutputError: if it cannot be written.
    """
    if file.suffix not in SUFFIXES:
        raise RequestError(f"--export: the file must end in {', '.join(SUFFIXES)}, got {file.name!r}; rename it")
    if file.suffix == ".parquet":
        _arrow()
    check_writable(file)


def export(journal: Journal, file: Path, report: Callable[[int], None] = lambda done: None) -> int:
    """Write all answers, each with its score; one that was scored as part of several tasks, a row for each.

    Args:
        journal: of whose answers.
        file: where; its name says how, see `check_export`.
        report: called now and then with how many rows are written.

    Returns:
        How many rows there are.
    """
    rows = _rows(journal, report)
    with writing(file) as part:
        write = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}[file.suffix]
        return write(rows, part)


def _rows(journal: Journal, report: Callable[[int], None]) -> Iterator[dict[str, Any]]:
    for done, (answer, scored) in enumerate(scored_answers(journal)):
        if done % 100 == 0:
            report(done)
        score = {"task": None, "item": None, "score": None, "lacks": None, "answer": None}
        if scored is not None:
            score = {name: getattr(scored, name) for name in score} | {"answer": json.dumps(scored.answer)}
        row = asdict(answer) | score
        yield {name: row[name] for name in COLUMNS}


def _write_jsonl(rows: Iterable[dict[str, Any]], part: Path) -> int:
    count = 0
    with part.open("w", encoding="utf-8") as out:
        for count, row in enumerate(rows, 1):  # noqa: B007  (counts)
            out.write(json_line(row) + "\n")
    return count


def _write_csv(rows: Iterable[dict[str, Any]], part: Path) -> int:
    count = 0
    with part.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for count, row in enumerate(rows, 1):  # noqa: B007
            writer.writerow({name: _cell(value) for name, value in row.items()})
    return count


def _cell(value: Any) -> Any:
    """A value as a spreadsheet reads it; lists as JSON."""
    if isinstance(value, str):
        return spreadsheet_text(value, keep="\n\t")
    if isinstance(value, list | tuple):
        return json_line(value)
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _write_parquet(rows: Iterator[dict[str, Any]], part: Path, at_once: int = 1000) -> int:
    arrow = _arrow()
    import pyarrow.parquet

    kinds = {
        "string": arrow.string(), "int64": arrow.int64(), "double": arrow.float64(),
        "list<int32>": arrow.list_(arrow.int32()), "list<double>": arrow.list_(arrow.float64()),
    }  # fmt: skip
    schema = arrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    count = 0
    with pyarrow.parquet.ParquetWriter(part, schema, compression="zstd") as writer:
        while batch := list(islice(rows, at_once)):
            columns = {name: [_unicode(row[name]) for row in batch] for name in COLUMNS}
            writer.write_table(arrow.table(columns, schema=schema))
            count += len(batch)
    return count


def _unicode(value: Any) -> Any:
    """Parquet's texts are Unicode: half a surrogate pair becomes an escape."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _arrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise RequestError(
            "--export: Parquet needs pyarrow, which is not installed; pip install 'decodelab[parquet]', or name a .csv"
        ) from None
    return pyarrow
