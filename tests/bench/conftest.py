"""A small plan over the smallest model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decodelab.bench.comparison import compare
from decodelab.bench.journal import Journal
from decodelab.bench.plan import Plan

Table = Callable[[Plan, Journal], object]


@pytest.fixture
def small() -> Callable[..., Plan]:
    """A plan of two strategies on three sums, with whatever is to be different."""

    def make(**changes: Any) -> Plan:
        given: dict[str, Any] = {
            "models": ["pocket-nano"],
            "strategies": {"greedy": "greedy", "hot": "temperature=1.5"},
            "tasks": [{"name": "pocket-sums", "items": 3, "max_new_tokens": 40}],
        }
        return Plan.model_validate(given | changes)

    return make


@pytest.fixture
def table() -> Table:
    """Everything the tables of a sweep show but how long it took."""

    def table(plan: Plan, journal: Journal) -> object:
        results = compare(plan, journal)
        rows = [replace(row, seconds=0.0) for row in results.rows]
        # What is computed from log-probabilities depends on the company in their last bits.
        return repr(rows), results.winners, results.agreement, [round(c.ece.value, 6) for c in results.calibration]

    return table


@pytest.fixture
def plan_file(tmp_path: Path) -> Callable[[str], Path]:
    """A plan as a file."""

    def write(text: str) -> Path:
        file = tmp_path / "plan.yaml"
        file.write_text(text)
        return file

    return write
