"""Stored outputs of models, as JSONL."""

from __future__ import annotations

from pathlib import Path

from decodelab.core.errors import RequestError
from decodelab.io.tabular import read_rows
from decodelab.tasks.response import Response

EXAMPLE = '{"id": "979", "output": "..."}'


def read_outputs(file: Path) -> dict[str, list[Response]]:
    """Stored outputs by id, in their order; `task_id` and `completion` (HumanEval), `index` (the course) do as well.

    A row may say how its text ended (`finish_reason`; "length": the limit on new tokens cut it), and what the model was
    given (`prompt`, with the chat template).

    Raises:
        RequestError: for a file that cannot be read or a line that is no output, with its number.
    """
    found: dict[str, list[Response]] = {}
    for where, row in read_rows(file, EXAMPLE):
        name = next((row[field] for field in ("id", "task_id", "index") if field in row), None)
        output = row.get("output", row.get("completion"))
        if isinstance(name, bool) or not isinstance(name, str | int) or not isinstance(output, str):
            raise RequestError(f"{where}: needs an id and an output as text; write {EXAMPLE}")
        ended, prompt = row.get("finish_reason"), row.get("prompt")
        cut = isinstance(ended, str) and ended.lower() == "length"
        response = Response(output, cut, prompt if isinstance(prompt, str) else "")
        found.setdefault(str(name), []).append(response)
    return found
