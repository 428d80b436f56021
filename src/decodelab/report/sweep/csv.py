"""The results of a sweep as CSV: a row for each cell, every figure in full."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict
from io import StringIO
from typing import Any

from decodelab.bench.stats.comparison import Results
from decodelab.io.tabular import spreadsheet_text


def to_csv(results: Results) -> str:
    """A row for each task, model and strategy; an estimate is the columns `score`, `score_low` and so on.

    A name that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    rows = [_flat(asdict(row)) for row in results.cells]
    # The longest first: a row without an estimate lacks the columns of its ends.
    names = list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
    out = StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _written(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _flat(row: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            # An estimate's value is named like the estimate.
            found |= {k.removesuffix("_value"): v for k, v in _flat(value, f"{name}_").items()}
        else:
            found[(before + name).replace(" ", "_")] = value
    return found


def _written(value: Any) -> Any:
    if isinstance(value, str):
        return spreadsheet_text(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else value
