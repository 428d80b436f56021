"""The samplers benchmark runs, and measures all contestants on the same logits."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "samplers.py"


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARK), *arguments], capture_output=True, text=True, env=dict(os.environ)
    )


def test_it_prints_one_json_document_with_a_time_for_each(tmp_path):
    plot = tmp_path / "times.png"
    result = benchmark(
        "--vocab", "5000", "--batch", "1", "2", "--kind", "peaked", "--chain", "temperature+top_p", "mirostat",
        "--rounds", "2", "--json", "--png", str(plot),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["first_call_seconds"] > 0
    assert [(c["batch"], c["chain"]) for c in found["cases"]] == [
        (b, chain) for b in (1, 2) for chain in ("temperature+top_p", "mirostat")
    ]
    for case in found["cases"]:
        assert case["kept"] == 1.0
        times = {t["name"]: t["microseconds"] for t in case["timings"]}
        assert {"decodelab", "transformers", "torch sample", "torch softmax"} <= set(times)
        assert min(times.values()) > 0
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_bad_arguments_are_refused_in_one_line():
    result = benchmark("--rounds", "1")
    assert result.returncode == 2
    assert "--rounds must be at least 2, got 1" in result.stderr
