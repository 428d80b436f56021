"""The table of docs/compositions.md: what its command prints, for fewer strategies and items."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "compositions_table.py"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of the example, with two strategies and two tasks."""
    names = runpy.run_path(str(EXAMPLE))
    there = names["main"].__globals__
    monkeypatch.setitem(there, "STRATEGIES", ("greedy", "mix(models=[pocket-small], weights=[0, 1]) | greedy"))
    monkeypatch.setitem(there, "TASKS", {"choice": 30, "stories": 12})
    return names


def test_it_has_a_row_a_strategy_with_differences_to_greedy(example, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["table", "--model", "pocket-nano", "--items", "3", "--json"])
    example["main"]()
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["items"]) == ("pocket-nano", 3)
    greedy, other = found["rows"].values()
    assert [*greedy] == [*other] == ["choice solved", "stories solved", "distinct-2", "log p per token"]
    assert all("difference" not in cell for cell in greedy.values())
    for name, cell in other.items():
        wanted = cell["mean"]["value"] - greedy[name]["mean"]["value"]
        assert cell["difference"]["value"] == pytest.approx(wanted)
    # All weight on the other model: its text, as probable as the model by itself finds it.
    assert greedy["log p per token"]["mean"]["value"] != other["log p per token"]["mean"]["value"]


def test_the_table_is_markdown(example, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["table", "--model", "pocket-nano", "--items", "2"])
    example["main"]()
    head, _, *table = capsys.readouterr().out.strip().splitlines()
    assert head.startswith("pocket-nano, 2 items of each task")
    assert [line.count(" | ") for line in table] == [4, 0, 4, 4]
    assert table[3].startswith(r"| `mix(models=[pocket-small], weights=[0, 1]) \| greedy` | ")


def test_too_few_items_are_refused(example, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["table", "--items", "1"])
    with pytest.raises(SystemExit) as exit_:
        example["main"]()
    assert exit_.value.code == 2
    assert "--items must be at least 2, got 1" in capsys.readouterr().err
