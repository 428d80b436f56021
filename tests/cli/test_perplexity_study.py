"""`decodelab perplexity-study`: sequence perplexity beside the mean over tokens, for greedy continuations."""

import json
import math
from pathlib import Path

import pytest

import decodelab as dl

# Greedy goes cat, then one of a thousand equally probable words, then ends.
WILD = """
name: wild
bos: <s>
eos: </s>
tree:
  the: [1, {{cat: [1, {{{words}}}]}}]
missing: eos
"""


@pytest.fixture
def wild(folder: Path) -> str:
    words = ", ".join(f"w{i}: 1/1000" for i in range(1000))
    (folder / "wild.yaml").write_text(WILD.format(words=words))
    return "wild.yaml"


def test_one_wild_token_drives_the_mean_but_not_the_perplexity_of_the_sequence(run, wild: str):
    only = run("perplexity-study", "the", "-m", wild, "--json").json["continuations"][0]
    assert only["continuation"] == " cat w0"
    assert only["token_texts"] == ["cat", "w0", "</s>"]
    assert only["finish_reason"] == "eos"
    assert only["token_perplexities"] == pytest.approx([1, 1000, 1])
    assert only["perplexity"] == pytest.approx(10)
    spread = only["token_perplexity"]
    assert (spread["mean"], spread["median"]) == (pytest.approx(1002 / 3), 1)
    assert spread["driver"] == spread["highest"] == 1


def test_the_table_flags_the_token(run, wild: str):
    found = run("perplexity-study", "the", "-m", wild)
    assert found.code == 0
    row = next(line for line in found.stdout.splitlines() if "cat" in line)
    assert row.split()[-7:] == ["10", "334", "1", "2", "'w0'", "1000", "*"]
    assert "all 3 tokens: perplexity 10, per token: mean 334, median 1" in found.stdout


def test_even_continuations_are_not_flagged_and_all_tokens_count_alike_overall(run):
    document = run("perplexity-study", "the", "a", "-m", "toy.yaml", "--json").json
    assert [c["token_perplexity"]["driver"] for c in document["continuations"]] == [None, None]
    logprobs = [p for c in document["continuations"] for p in c["token_logprobs"]]
    assert document["overall"]["perplexity"] == pytest.approx(math.exp(-sum(logprobs) / len(logprobs)))
    assert document["overall"]["tokens"] == 6


def test_continuations_end_at_the_limit(run):
    only = run("perplexity-study", "the", "-m", "toy.yaml", "--max-new-tokens", "1", "--json").json["continuations"][0]
    assert (only["tokens"], only["finish_reason"]) == (1, "length")
    assert only["token_perplexity"]["driver"] is None


def test_prompts_come_from_a_file(run, folder: Path):
    (folder / "prompts.txt").write_text("the\na dog\n")
    document = run("perplexity-study", "--file", "prompts.txt", "-m", "toy.yaml", "--json").json
    assert [c["prompt"] for c in document["continuations"]] == ["the", "a dog"]


def test_hostile_tokens_cannot_drive_the_terminal(run):
    found = run("perplexity-study", "-m", "hostile.yaml")
    assert found.code == 0
    assert not set("\x1b\x00\u202e") & set(found.stdout)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["fish"], "'fish' is not in the table's vocabulary"),
        (["the", "--max-new-tokens", "0"], "max_new_tokens must be at least 1"),
        (["the", "--file", "x.txt"], "not both"),
        ([" ".join(["the"] * 20)], "shorten it"),
    ],
)
def test_bad_input_is_refused_in_one_line(run, arguments: list[str], why: str):
    found = run("perplexity-study", *arguments, "-m", "toy.yaml")
    assert (found.code, found.stdout) == (2, "")
    assert why in found.stderr
    assert found.stderr.count("\n") == 1


def test_several_models_in_one_command_with_a_table_of_results(run):
    line = ("perplexity-study", "Once upon a time,", "The", "-m", "pocket-nano", "-m", "pocket-small")
    shown = run(*line, "--total-length", "12")
    assert shown.code == 0
    assert "median per token" in shown.stdout
    runs = json.loads(run(*line, "--total-length", "12", "--json").stdout)["runs"]
    assert [one["model"] for one in runs] == ["pocket-nano", "pocket-small"]
    nano = dl.load("pocket-nano").vocab
    for made in runs[0]["continuations"]:
        assert len(nano.encode(made["prompt"])) + made["tokens"] <= 12


def test_a_prompt_that_fills_the_total_length_is_refused(run):
    found = run("perplexity-study", "Once upon a time,", "-m", "pocket-nano", "--total-length", "3")
    assert found.code == 2
    assert "--total-length must leave room after the prompt, got 3 where prompt 0 has" in found.stderr
