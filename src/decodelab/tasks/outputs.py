"""Stored outputs of models, as JSONL."""

from __future__ import annotations

from pathlib import Path

from decodelab.core.errors import RequestError
from decodelab.io.tabular import read_rows

EXAMPLE = '{"id": "979", "output": "..."}'


def read_outputs(file: Path) -> dict[str, list[str]]:
    """Stored outputs by id, in their order; `task_id` and `completion` (HumanEval), `index` (the course) do as well.

    Raises:
        RequestError: for a file that cannot be read or a line that is no output, with its number.
    """
    found: dict[str, list[str]] = {}
    for where, row in read_rows(file, EXAMPLE):
        name = next((row[field] for field in ("id", "task_id", "index") if field in row), None)
        output = row.get("output", row.get("completion"))
        if isinstance(name, bool) or not isinstance(name, str | int) or not isinstance(output, str):
            raise RequestError(f"{where}: needs an id and an output as text; write {EXAMPLE}")
        found.setdefault(str(name), []).append(output)
    return found
