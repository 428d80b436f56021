"""The benchmarks run, and compare what is the same."""

import json
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = ("--new-tokens", "4", "--rounds", "2")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a benchmark in this process, which has loaded torch already; the JSON it prints."""

    def run(name: str, *arguments: str):
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments, "--threads", "1", "--json"])
        runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
        return json.loads(capsys.readouterr().out)

    return run


def test_it_prints_one_json_document_with_equal_tokens_of_both(run, stories260k_dir):
    found = run("greedy", "--model", str(stories260k_dir), "--batch", "1", "3", *TINY)
    assert [r["batch"] for r in found["results"]] == [1, 3]
    for r in found["results"]:
        assert r["same_tokens"] is True
        assert r["ours"] > 0
        assert r["theirs"] > 0
        assert r["ratio_low"] <= r["ratio_high"]


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("greedy", ("--rounds", "1"), "--rounds must be at least 2, got 1"),
        ("engine", ("--rounds", "1"), "--rounds must be at least 2, got 1"),
        ("engine", ("--growth", "--width", "4", "0"), "--width must be at least 1, got [4, 0]"),
        ("engine", ("--case", "beem"), "invalid choice: 'beem'"),
        ("speculative", ("--rounds", "1"), "--rounds must be at least 2, got 1"),
        ("speculative", ("--agreement", "0.5", "2"), "--agreement must be in [0, 1], got [0.5, 2.0]"),
        ("ties", ("--prompts", "0"), "--prompts must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(run, capsys, name: str, arguments: tuple[str, ...], says: str):
    with pytest.raises(SystemExit) as refused:
        run(name, *arguments)
    assert refused.value.code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_beams_and_a_mixture_of_strategies_against_transformers(run, stories260k_dir):
    found = run(
        *("engine", "--model", str(stories260k_dir), "--case", "beam", "sweep", "--prompt", "12", "--width", "3"),
        *("--prompts", "2", *TINY),
    )
    beam, sweep = found["results"]
    assert beam["same"] == 1.0
    assert beam["our_bytes"] > 0
    assert beam["their_bytes"] > 0
    assert sweep["case"]["prompts"] == 2
    assert len(sweep["batches"]) == 7
    assert sweep["ratio"] > 0


def test_what_is_kept_is_not_measured_again(run, stories260k_dir, tmp_path):
    kept = tmp_path / "kept.json"
    arguments = ("--model", str(stories260k_dir), "--case", "greedy", *TINY, "--out", str(kept))
    first = run("engine", *arguments)["results"]
    assert run("engine", *arguments)["results"] == first
    assert len(json.loads(kept.read_text())["results"]) == 1
    # CPU seconds are others than those of the wall.
    assert run("engine", *arguments, "--cpu")["results"] != first
    assert len(json.loads(kept.read_text())["results"]) == 2


def test_growth_is_drawn(run, stories260k_dir, tmp_path):
    axes = ("--width", "1", "3", "--prompt", "6", "12", "--prompts", "1", "2")
    png = tmp_path / "growth.png"
    found = run("engine", "--model", str(stories260k_dir), "--growth", *axes, *TINY, "--png", str(png))
    # Width, prompt and prompts cross in one case.
    assert len(found["results"]) == 4
    assert png.read_bytes().startswith(b"\x89PNG")


def test_the_memory_of_many_jobs_is_drawn(run, tmp_path):
    png = tmp_path / "memory.png"
    found = run("engine", "--memory", "--jobs", "20", "--png", str(png))["resident_mb"]
    assert [jobs for jobs, _ in found] == list(range(21))
    assert all(megabytes > 10 for _, megabytes in found)
    assert png.read_bytes().startswith(b"\x89PNG")


def test_near_ties_are_counted_over_the_same_continuations_in_every_way(run, stories260k_dir):
    found = run("ties", "--model", str(stories260k_dir), "--prompts", "2", "--new-tokens", "6")["differences"]
    # One greedy text, three samples and five beams of each prompt.
    assert {d["continuations"] for d in found} == {2 * (1 + 3 + 5)}
    for d in found:
        assert len(d["gaps"]) == d["flips"] <= d["continuations"] < d["tokens"]
        assert d["logprob"] < 1e-3


def test_a_draft_gives_the_plain_tokens_in_fewer_passes(run, tmp_path):
    arguments = ("--case", "curve", "--k", "3", "--agreement", "0", "1", "--png", str(tmp_path / "curve.png"), *TINY)
    wrong, right = run("speculative", *arguments)["results"]
    assert (wrong["acceptance"], wrong["tokens_a_pass"], wrong["same"]) == (0.0, 1.0, 1.0)
    assert (right["acceptance"], right["tokens_a_pass"], right["same"]) == (1.0, 2.0, 1.0)
    assert (tmp_path / "curve.png").stat().st_size > 10_000
