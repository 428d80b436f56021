"""The benchmark of scoring runs, and all its sides find the same log-likelihoods."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "scoring.py"


def benchmark(data: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) | {"DECODELAB_DATA": data}
    return subprocess.run([sys.executable, str(BENCHMARK), *arguments], capture_output=True, text=True, env=environment)


def test_it_prints_one_json_document_with_equal_log_likelihoods(data_dir):
    result = benchmark(
        str(data_dir), "--model", "stories260K", "--questions", "2", "--rounds", "1", "--harness-batch", "2",
        "--task", "options", "letters", "--threads", "1", "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (model,) = json.loads(result.stdout)["models"]
    assert [(r["task"], r["requests"]) for r in model["results"]] == [("options", 8), ("letters", 8)]
    for r in model["results"]:
        # Of sums of up to a hundred nats in float32.
        assert r["largest_difference"] < 1e-3
        assert r["over_plain"] == pytest.approx(r["plain"] / r["ours"])


def test_without_data_it_says_so_in_one_line(tmp_path):
    result = benchmark(str(tmp_path))
    assert result.returncode == 2
    assert "set DECODELAB_DATA to the folder of real data" in result.stderr
