"""`decodelab score`: log-probabilities of given text, token by token."""

import math
from pathlib import Path

import pytest


def test_each_token_with_its_probability_then_the_sums(run):
    found = run("score", "the", "cat sat", "-m", "toy.yaml")
    assert found.code == 0
    rows = [line.split() for line in found.stdout.splitlines() if line.strip()]
    assert ["cat", "2", "-0.3567", "0.7"] in rows
    assert ["sat", "4", "-0.6931", "0.5"] in rows
    assert "2 tokens: sum -1.0498, mean -0.5249, perplexity 1.6903" in found.stdout


def test_json_has_the_numbers(run):
    score = run("score", "the", "cat sat", "-m", "toy.yaml", "--json").json["scores"][0]
    assert score["token_texts"] == ["cat", "sat"]
    assert score["logprob"] == pytest.approx(math.log(0.7 * 0.5))
    assert score["perplexity"] == pytest.approx(math.exp(-math.log(0.7 * 0.5) / 2))


def test_many_pairs_come_from_jsonl_in_order(run, folder: Path):
    lines = ['{"prompt": "the", "completion": "cat"}', '{"prompt": "a", "completion": "dog ran"}'] * 40
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    scores = run("score", "--file", "pairs.jsonl", "-m", "toy.yaml", "--json").json["scores"]
    assert [round(math.exp(s["logprob"]), 4) for s in scores] == [0.7, 0.9] * 40
    table = run("score", "--file", "pairs.jsonl", "-m", "toy.yaml").stdout
    assert "dog ran" in table


def test_what_cannot_follow_is_null_in_json_and_named_in_the_table(run):
    score = run("score", "the", "cat cat", "-m", "toy.yaml", "--json").json["scores"][0]
    assert score["token_logprobs"][1] is None
    assert score["logprob"] is None
    assert "-inf" in run("score", "the", "cat cat", "-m", "toy.yaml").stdout


def test_hostile_tokens_cannot_drive_the_terminal(run):
    found = run("score", "", "<script>alert(1)</script>\x1b[31mred", "-m", "hostile.yaml")
    assert found.code == 0
    assert "\x1b[31mred" not in found.stdout
    assert r"\x1b[31mred" in found.stdout
