"""Bad input gives one line on stderr, exit code 2, nothing on stdout and nothing half-written."""

import json
import struct
from pathlib import Path

import pytest

REFUSED = {
    "unknown stage": (["-s", "topp=0.9"], "did you mean 'top_p'?"),
    "unknown parameter": (["-s", "beam(widht=3)"], "did you mean 'width'?"),
    "malformed strategy": (["-s", "top_p=0.9 |"], "expected the name of a stage"),
    "p above 1": (["-s", "top_p=1.3"], "p must be in (0, 1], got 1.3"),
    "p of 0": (["-s", "typical_p=0"], "p must be in (0, 1], got 0"),
    "k of 0": (["-s", "top_k=0"], "k must be an integer, at least 1, got 0"),
    "negative k": (["-s", "top_k=-3"], "k must be an integer, at least 1, got -3"),
    "NaN": (["-s", "temperature=nan"], "temperature must be a finite number, at least 0, got nan"),
    "negative temperature": (["-s", "temperature=-1"], "got -1"),
    "negative length": (["--max-new-tokens", "-5"], "max_new_tokens must be at least 1, got -5"),
    "minimum above maximum": (["--min-new-tokens", "9", "--max-new-tokens", "3"], "min_new_tokens must be"),
    "empty stop": (["--stop", ""], "stop strings must not be empty"),
    "stop token outside": (["--stop-token-id", "99"], "stop_token_ids must be in"),
    "no rows": (["--max-rows", "0"], "max_rows must be"),
    "word unknown": (["fish"], "'fish' is not in the table's vocabulary"),
    "prompt too long": ([" ".join(["the"] * 20)], "shorten it"),
    "no chat template": (["the", "--chat"], "no chat template"),
    "system without chat": (["--system", "Be brief."], "add --chat"),
    "prompts twice": (["the", "--file", "prompts.txt"], "not both"),
    "no such file": (["--file", "none.txt"], "No such file"),
    "file is a directory": (["--file", "."], "Is a directory"),
    "malformed line": (["--file", "bad.jsonl"], "line 2: not JSON"),
    "no directory": (["--out", "none/out.json"], "there is no directory"),
    "output is a directory": (["--out", "."], "it is a directory"),
    "unknown option": (["--temperature", "3"], "No such option: --temperature"),
    "not a number": (["--seed", "x"], "Invalid value for '--seed'"),
    "option without value": (["--seed"], "requires an argument"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("as_json", [False, True])
def test_generate_refuses_in_one_line(run, folder: Path, case: str, as_json: bool):
    (folder / "bad.jsonl").write_text('{"prompt": "the"}\n{"prompt"}\n')
    before = sorted(folder.iterdir())
    arguments, why = REFUSED[case]
    found = run("generate", "-m", "toy.yaml", *(["--json"] if as_json else []), *arguments)
    assert (found.code, found.stdout) == (2, "")
    assert found.stderr.startswith("decodelab: ")
    assert why in found.stderr
    assert found.stderr.count("\n") == 1
    assert sorted(folder.iterdir()) == before


def test_an_empty_prompt_needs_a_bos(run, folder: Path):
    (folder / "nobos.yaml").write_text("tree: {a: 1}\nmissing: eos\n")
    found = run("generate", "-m", "nobos.yaml")
    assert found.code == 2
    assert "has no BOS token to start from" in found.stderr


def _config(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))


def _pickled(folder: Path) -> None:
    _config(folder)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def _half_written(folder: Path) -> None:
    _config(folder)
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))


MODELS = {
    "an unknown name": ("pocket-smal", None, "did you mean 'pocket-small'?"),
    "a directory that is not there": ("./none", None, "no directory './none'"),
    "an empty directory": ("empty", Path.mkdir, "has no config.json"),
    "a directory without weights": ("bare", _config, "has no model.safetensors"),
    "a pickle": ("pickled", _pickled, "a pickle that can run code"),
    "half-written weights": ("half", _half_written, "incomplete"),
    "a table that is no distribution": ("bad.yaml", lambda p: p.write_text("tree: {a: 0.5}"), "must sum to 1"),
    "a file of another kind": ("notes.txt", lambda p: p.write_text("x"), "is a file"),
}


@pytest.mark.parametrize("command", [("generate",), ("score", "a", "b"), ("compare", "--no-html")])
@pytest.mark.parametrize("case", MODELS)
def test_a_model_that_cannot_be_used_is_refused_in_one_line(run, folder: Path, command: tuple[str, ...], case: str):
    name, make, why = MODELS[case]
    if make is not None:
        make(folder / name)
    found = run(*command, "-m", name)
    assert (found.code, found.stdout) == (2, "")
    assert why in found.stderr
    assert found.stderr.count("\n") == 1


def test_escapes_in_arguments_do_not_reach_the_terminal(run):
    found = run("generate", "-m", "\x1b[31mred\nmodel")
    assert found.code == 2
    assert "\x1b" not in found.stderr
    assert found.stderr.count("\n") == 1


def test_commands_that_do_not_exist_are_refused_with_a_suggestion(run):
    found = run("genrate")
    assert (found.code, found.stdout) == (2, "")
    assert "'genrate'" in found.stderr
    assert "generate" in found.stderr
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["score", "the"], "needs a prompt and a completion"),
        (["score", "the", ""], "no tokens to score"),
        (["score", "the", "cat", "--file", "x.jsonl"], "not more than one"),
        (["compare", "--samples", "0"], "--samples must be at least 1"),
        (["compare", "--html", "none/x.html"], "there is no directory"),
        (["compare", "-s", "greedy", "-s", "topk=3"], "did you mean 'top_k'?"),
    ],
)
def test_other_commands_refuse_in_the_same_way(run, arguments: list[str], why: str):
    found = run(*arguments, "-m", "toy.yaml")
    assert (found.code, found.stdout) == (2, "")
    assert why in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_report_that_exists_survives_a_refusal(run, folder: Path):
    (folder / "report.html").write_text("mine")
    assert run("compare", "fish", "-m", "toy.yaml", "--html", "report.html").code == 2
    assert (folder / "report.html").read_text() == "mine"


def test_training_refuses_before_it_begins(run, folder: Path):
    found = run("train", "pocket", "--size", "huge", "--out", "made")
    assert found.code == 2
    assert "choose one of nano, small" in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (folder / "made").exists()
