"""A small plan over the smallest model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decodelab.bench.plan import Plan


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
def plan_file(tmp_path: Path) -> Callable[[str], Path]:
    """A plan as a file."""

    def write(text: str) -> Path:
        file = tmp_path / "plan.yaml"
        file.write_text(text)
        return file

    return write
