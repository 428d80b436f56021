"""A package that adds one of each kind by entry points alone: everything finds it, and it passes the checks."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import decodelab as dl
from decodelab.backends.catalogue import BACKENDS
from decodelab.checkers.catalogue import CHECKERS
from decodelab.cli.commands import COMMANDS
from decodelab.core.errors import StrategyError
from decodelab.metrics.catalogue import METRICS
from decodelab.scorers.catalogue import SCORERS
from decodelab.select.readers import READERS
from decodelab.tasks.task import task_named
from decodelab.testing import (
    check_backend,
    check_checker,
    check_command,
    check_metric,
    check_processor,
    check_reader,
    check_scorer,
    check_search,
    check_selection,
    check_stop,
    check_task,
    check_utility,
)

COINS = dl.TableModel(["a", "b"], {...: {"a": 0.5, "b": 0.4, "</s>": 0.1}}, bos="<s>", separator="")


@pytest.mark.usefixtures("installed")
def test_each_kind_passes_its_conformance_check():
    sampler, coin, stop, search, selection = (
        dl.Strategy.of(text).stages
        for text in ("above_uniform", "drop_best=0.5", "most_lines=2", "second_first", "sample(n=3) | shortest")
    )
    check_processor(sampler[0])  # pyright: ignore[reportArgumentType]
    check_processor(coin[0])  # pyright: ignore[reportArgumentType]
    check_stop(stop[0])  # pyright: ignore[reportArgumentType]
    check_search(search[0])  # pyright: ignore[reportArgumentType]
    check_selection(selection[1])  # pyright: ignore[reportArgumentType]
    check_scorer("brevity")
    written = "sample(n=3) | best_of(by=near(length=40))"
    assert str(dl.Strategy.of(written)) == written
    check_selection(dl.Strategy.of(written).stages[1])  # pyright: ignore[reportArgumentType]
    with pytest.raises(StrategyError, match=r"near needs length \(characters wanted, at least 0\)"):
        dl.Strategy.of("best_of(by=near)")
    check_checker("no_digits", valid=["words only"])
    check_reader(READERS.load("last_word"))
    check_utility("common_words")
    check_selection(dl.MBR(utility="common_words"))
    check_metric(METRICS.load("capitals"))
    check_metric(METRICS.load("mean_gap"))
    check_task(task_named("parity"))
    check_backend(BACKENDS.make("echo"), "echo:yes", bad="echo:")
    check_command(COMMANDS.load("hello"))
    assert {"brevity"} <= SCORERS.entries().keys()
    assert {"no_digits"} <= CHECKERS.entries().keys()


@pytest.mark.usefixtures("installed")
def test_a_random_processor_of_another_package_is_known_to_depend_on_the_seed():
    strategy = dl.Strategy.of("drop_best=0.5 | greedy")
    assert not strategy.deterministic
    assert dl.Strategy.of("above_uniform | second_first").deterministic
    texts = {dl.generate(COINS, "", strategy, max_new_tokens=6, seed=seed)[0].best.text for seed in range(8)}
    assert len(texts) > 1


@pytest.fixture
def decodelab(site: Path, tmp_path: Path):
    """Run the command line in a process in which the plugin is installed."""

    def run(*arguments: str) -> str:
        path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
        found = subprocess.run(
            [sys.executable, "-m", "decodelab", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert found.returncode == 0, found.stderr
        return found.stdout

    return run


def test_every_command_finds_what_the_plugin_adds(decodelab, tmp_path):
    assert "hello" in decodelab("--help")
    assert decodelab("hello", "Ada") == "Hello, Ada!\n"
    strategies = decodelab("strategies")
    assert all(name in strategies for name in ("above_uniform", "drop_best", "most_lines", "second_first", "shortest"))
    assert "parity" in decodelab("tasks", "list")
    generated = decodelab(
        "generate",
        "Once",
        "-m",
        "pocket-nano",
        "-s",
        "above_uniform | sample(n=3) | shortest",
        "--max-new-tokens",
        "8",
        "--json",
    )
    texts = [c["text"] for c in json.loads(generated)["generations"][0]["candidates"]]
    assert len(texts) == 3
    assert texts == sorted(texts, key=len)
    (tmp_path / "texts.jsonl").write_text('{"text": "One"}\n{"text": "two"}\n')
    assert re.search(r"capitals +0\.500 .*begins with a capital", decodelab("measure", "texts.jsonl"))
    rows = "".join(f'{{"confidence": {p}, "correct": {c}}}\n' for p, c in [(0.9, 1), (0.6, 0), (0.7, 1), (0.2, 0)] * 3)
    (tmp_path / "answers.jsonl").write_text(rows)
    assert "mean of |confidence - outcome|" in decodelab("calibrate", "answers.jsonl", "--resamples", "100")


def test_a_sweep_asks_again_for_each_seed_only_what_depends_on_it(decodelab, tmp_path):
    (tmp_path / "plan.yaml").write_text(
        "models: [pocket-nano]\n"
        "strategies: {greedy: greedy, second: second_first, coin: drop_best=0.9 | greedy, exact: exact(budget=20)}\n"
        "tasks: [{name: parity, items: 2, max_new_tokens: 3}]\n"
        "seeds: [0, 1, 2]\n"
    )
    decodelab("bench", "plan.yaml", "--journal", "sweep.sqlite")
    decodelab("journal", "sweep.sqlite", "--export", "answers.jsonl")
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    asked = {
        name: sum(a["strategy"].startswith(name) for a in answers) for name in ("greedy", "second", "drop", "exact")
    }
    assert asked == {"greedy": 2, "second": 2, "drop": 6, "exact": 2}
    assert "parity" in decodelab("report", "sweep.sqlite")


def test_the_page_on_extending_shows_each_file_and_each_entry_point():
    page = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
    for file in sorted((Path(__file__).parent / "example_plugin").glob("[!_]*.py")):
        source = file.read_text(encoding="utf-8")
        assert f"```python\n{source}```\n" in page, file.name
        assert source.count("\n") <= 60, file.name
    written = (Path(__file__).parent / "pyproject.toml").read_text(encoding="utf-8")
    for line in re.findall(r'^\w+ = "example_plugin\..*"$', written, re.MULTILINE):
        assert line in page
