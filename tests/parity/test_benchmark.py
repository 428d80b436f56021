"""The benchmark runs, and compares what is the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "greedy.py"


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARK), *arguments], capture_output=True, text=True, env=dict(os.environ)
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
