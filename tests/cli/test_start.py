"""What a command imports before it knows that there is work to do: a mistake is told without loading torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MISTAKES = [
    ["genrate"],
    ["generate", "hi", "--no-such-option"],
    ["generate", "hi", "-s", "top_q=0.9"],
    ["generate", "hi", "-s", "top_p=1.9"],
    ["generate", "hi", "-m", "pocket-nanoo"],
    ["generate", "hi", "-s", "beam(widht=3)"],
    ["generate", "-f", "missing.txt"],
    ["compare", "hi", "-s", "top_p=1.9"],
    ["compare", "hi", "-m", "pocket-nanoo"],
    ["trace", "hi", "-s", "top_p=1.9"],
    ["tree", "hi", "-s", "beam(widht=3)"],
    ["score", "hi", "there", "-s", "top_p=1.9"],
    ["cost", "-s", "top_p=1.9"],
    ["gap", "hi", "-m", "pocket-nanoo"],
    ["perplexity-study", "hi", "-m", "pocket-nanoo"],
    ["calibrate", "missing.csv"],
    ["tune", "-t", "pocket-sums", "--space", "top_q=0..1"],
    ["bench", "missing.yaml"],
    ["report", "missing.sqlite"],
    ["measure", "missing.jsonl"],
    ["tasks", "score", "--task", "pocket-sums", "missing.jsonl"],
]

RUN = """
import json, sys
from decodelab.cli import main as cli
def exits(code): raise SystemExit(code)
found = []
for line in json.loads(sys.argv[1]):
    sys.argv[1:] = line
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    found.append([code, [name for name in ("torch._C", "transformers", "pandas", "matplotlib", "scipy.stats")
                         if name in sys.modules]])
print(json.dumps(found))
"""


def imported(lines: list[list[str]], where: Path) -> list[tuple[int, list[str]]]:
    """The exit code of each command line, run in turn in one fresh process, and what had been imported after it."""
    ran = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(lines)], capture_output=True, text=True, cwd=where, check=True
    )
    return [(code, names) for code, names in json.loads(ran.stdout.splitlines()[-1])]


def test_a_mistake_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    for line, (code, names) in zip(MISTAKES, imported(MISTAKES, tmp_path), strict=True):
        assert (line, code, names) == (line, 2, [])


def test_what_is_only_listed_needs_no_torch(tmp_path: Path) -> None:
    lines = [["--version"], ["--help"], ["strategies"], ["strategies", "top_p"], ["models"], ["tasks", "list"]]
    for line, (code, names) in zip(lines, imported(lines, tmp_path), strict=True):
        assert (line, code, names) == (line, 0, [])


def test_a_table_needs_torch_alone(tmp_path: Path) -> None:
    table = tmp_path / "two.yaml"
    table.write_text("bos: <s>\ntree: {a: [0.6, {</s>: 1}], b: [0.4, {</s>: 1}]}\n")
    model = ["-m", str(table)]
    lines = [
        ["generate", *model, "-s", "greedy"],
        ["trace", *model, "-s", "top_p=0.9"],
        ["tree", *model, "-s", "beam(width=2)"],
        ["compare", *model, "-s", "greedy", "-s", "sample"],
        ["cost", *model, "-s", "greedy"],
    ]
    for line, (code, names) in zip(lines, imported(lines, tmp_path), strict=True):
        assert (line, code, names) == (line, 0, ["torch._C"])


def test_a_shipped_model_needs_no_transformers(tmp_path: Path) -> None:
    """Importing transformers takes longer than everything else that these commands do."""
    model = ["-m", "pocket-nano"]
    short = ["--max-new-tokens", "2"]
    lines = [
        ["generate", "hi", *model, *short],
        ["generate", "hi", *model, *short, "--chat"],
        ["generate", "hi", *model, *short, "-s", "dola | greedy"],
        ["generate", "hi", *model, *short, "-s", "contrastive_search"],
        ["compare", "hi", *model, *short, "-s", "greedy", "-s", "beam(width=2)"],
        ["trace", "hi", *model, *short, "-s", "top_p=0.9"],
        ["tree", "hi", *model, *short, "-s", "beam(width=2)"],
        ["score", "hi", "there", *model],
        ["cost", *model, "-s", "greedy"],
    ]
    for line, (code, names) in zip(lines, imported(lines, tmp_path), strict=True):
        assert (line, code, names) == (line, 0, ["torch._C"])
