"""The benchmarks run, and compare what is the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def benchmark(*arguments: str, name: str = "greedy") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )


def test_it_prints_one_json_document_with_equal_tokens_of_both(stories260k_dir):
    result = benchmark(
        "--model", str(stories260k_dir), "--batch", "1", "3", "--new-tokens", "4", "--rounds", "2", "--json"
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert [r["batch"] for r in found["results"]] == [1, 3]
    for r in found["results"]:
        assert r["same_tokens"] is True
        assert r["ours"] > 0
        assert r["theirs"] > 0
        assert r["ratio_low"] <= r["ratio_high"]


def test_bad_arguments_are_refused_in_one_line():
    result = benchmark("--rounds", "1")
    assert result.returncode == 2
    assert "--rounds must be at least 2, got 1" in result.stderr


def test_beams_and_a_mixture_of_strategies_against_transformers(stories260k_dir):
    result = benchmark(
        *("--model", str(stories260k_dir), "--case", "beam", "sweep", "--prompt", "12", "--width", "3"),
        *("--prompts", "2", "--new-tokens", "4", "--rounds", "2", "--threads", "1", "--json"),
        name="engine",
    )
    assert result.returncode == 0, result.stderr
    beam, sweep = json.loads(result.stdout)["results"]
    assert beam["same"] == 1.0
    assert beam["our_bytes"] > 0
    assert beam["their_bytes"] > 0
    assert sweep["case"]["prompts"] == 2
    assert sweep["ratio"] > 0
