"""`decodelab score`: log-probabilities of given text, token by token."""

import math
from pathlib import Path

import pytest


def test_each_token_with_its_probability_then_the_sums(run):
    found = run("score", "the", "cat sat", "-m", "toy.yaml")
    assert found.code == 0
    rows = [line.split() for line in found.stdout.splitlines() if line.strip()]
    assert ["cat", "2", "-0.3567", "0.7", "1"] in rows
    assert ["sat", "4", "-0.6931", "0.5", "1"] in rows
    assert "2 tokens: sum -1.0498, mean -0.5249, perplexity 1.6903" in found.stdout
    assert "perplexity per token: mean 1.714, median 1.714, standard deviation 0.2857" in found.stdout
    # -1.0498 nats are 1.5146 bits, over the seven letters of `cat sat`.
    assert "0.2164 bits per byte, 0.2164 bits per character" in found.stdout


def test_what_the_tokenizer_reads_in_another_way_is_noted_and_so_is_the_name_of_a_file(run):
    said = run("score", "<s>Once", " upon", "--json")
    assert said.stderr.count("note: ") == 2
    assert 'note: prompt 0: begins with BOS ("<s>") twice' in said.stderr
    assert said.json["scores"][0]["token_texts"] == [" upon"]
    assert "note: the prompt 'toy.yaml' is the name of a file" in run("score", "toy.yaml", "cat").stderr


def test_the_most_probable_tokens_stand_beside_each(run):
    rows = run("score", "the", "dog", "-m", "toy.yaml", "--top", "2").stdout
    assert "cat 0.7  dog 0.3" in rows
    score = run("score", "the", "dog", "-m", "toy.yaml", "--top", "2", "--json").json["scores"][0]
    assert [a["text"] for a in score["alternatives"][0]] == ["cat", "dog"]
    assert (score["ranks"], score["is_greedy"]) == ([2], False)


def test_the_token_that_drives_the_mean_is_named(run, folder: Path):
    (folder / "rare.yaml").write_text("bos: <s>\nmissing: eos\ntree: {a: [1, {b: [1, {c: 1/100, d: 99/100}]}]}\n")
    found = run("score", "", "a b c", "-m", "rare.yaml")
    assert "token 3, 'c', dominates the mean with 100" in found.stdout
    assert "driven" not in run("score", "", "a b d", "-m", "rare.yaml").stdout


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


def test_pairs_end_with_one_perplexity_over_all_tokens(run, folder: Path):
    (folder / "pairs.jsonl").write_text(
        '{"prompt": "the", "completion": "cat sat"}\n{"prompt": "a", "completion": "dog"}\n'
    )
    found = run("score", "--file", "pairs.jsonl", "-m", "toy.yaml")
    mean = math.log(0.7 * 0.5 * 0.9) / 3
    assert f"2 texts, 3 tokens: sum {3 * mean:.4f}, mean {mean:.4f}, perplexity {math.exp(-mean):.4f}" in found.stdout


def test_a_text_file_is_scored_from_its_start(run, folder: Path):
    (folder / "text.txt").write_text("the cat sat")
    found = run("score", "--text", "text.txt", "-m", "toy.yaml", "--json").json["scores"]
    assert [s["logprob"] for s in found] == [pytest.approx(math.log(0.6 * 0.7 * 0.5))]
    (folder / "texts.jsonl").write_text('{"text": "the cat"}\n{"text": "a dog ran", "id": 7}\n')
    found = run("score", "--text", "texts.jsonl", "-m", "toy.yaml", "--json").json["scores"]
    assert [math.exp(s["logprob"]) for s in found] == pytest.approx([0.42, 0.36])


COIN = "bos: <s>\neos: end\ncontext_length: 4\notherwise: {H: 0.25, T: 0.75}\n"


def test_a_text_beyond_the_context_takes_a_stride(run, folder: Path):
    (folder / "coin.yaml").write_text(COIN)
    (folder / "long.txt").write_text("H T T T " * 10)
    found = run("score", "--text", "long.txt", "-m", "coin.yaml")
    assert (found.code, found.stdout) == (2, "")
    assert "coin.yaml: prompt and completion have 41 tokens, the context length is 4" in found.stderr
    assert "give a stride, such as 2" in found.stderr
    document = run("score", "--text", "long.txt", "-m", "coin.yaml", "--stride", "2", "--json").json
    assert document["stride"] == 2
    assert document["scores"][0]["logprob"] == pytest.approx(10 * math.log(0.25 * 0.75**3))


def test_training_and_validation_loss_of_a_text(run, folder: Path):
    (folder / "coin.yaml").write_text(COIN)
    # BOS and 80 letters; then 20 letters after another BOS.
    (folder / "long.txt").write_text("T " * 40 + "H " * 10)
    given = ("score", "--text", "long.txt", "-m", "coin.yaml", "--split", "0.8", "--context-length", "4")
    document = run(*given, "--json").json
    assert document["train"]["loss"] == pytest.approx(-math.log(0.75))
    assert document["train"] | {"loss": 0, "perplexity": 0} == {
        "characters": 80, "tokens": 41, "scored": 40, "loss": 0, "perplexity": 0,
    }  # fmt: skip
    assert document["validation"]["perplexity"] == pytest.approx(4)
    assert document["validation"]["scored"] == 8
    rows = [line.split() for line in run(*given).stdout.splitlines()]
    assert ["validation", "20", "11", "8", "1.3863", "4.0000"] in rows


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--text", "empty.txt"], "has no text to score"),
        (["--text", "empty.jsonl"], "has no text to score"),
        (["--text", "none.txt"], "No such file"),
        (["--text", "latin.txt"], "is not UTF-8 text"),
        (["--text", "no-field.jsonl"], "line 1: needs the field 'text' as text"),
        (["--text", "short.txt", "--stride", "0"], "stride must be in [1, 12]"),
        (["--text", "short.txt", "--stride", "13"], "stride must be in [1, 12]"),
        (["--text", "short.txt", "--top", "99"], "alternatives must be in [0, 8], got 99"),
        (["--text", "short.txt", "--max-rows", "0"], "max_rows must be at least 1"),
        (["--text", "short.txt", "--split", "1"], "ratio must be in (0, 1), got 1.0"),
        (["--text", "short.txt", "--split", "nan"], "ratio must be in (0, 1), got nan"),
        (["--text", "short.txt", "--split", "0.5", "--context-length", "13"], "context_length must be in [1, 12]"),
        (["--text", "short.txt", "--split", "0.5"], "the train part of the text has 2 tokens, but a chunk needs 13"),
        (["--text", "short.txt", "--context-length", "4"], "--split takes --text"),
        (["the", "cat", "--split", "0.5"], "--split takes --text"),
        (["the", "cat", "--text", "short.txt"], "not more than one"),
        (["--file", "hole.jsonl"], "pair 1: completion '' has no tokens to score"),
    ],
)
def test_bad_input_is_refused_in_one_line(run, folder: Path, arguments: list[str], why: str):
    (folder / "empty.txt").write_text("")
    (folder / "empty.jsonl").write_text("\n")
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "short.txt").write_text("the cat")
    (folder / "no-field.jsonl").write_text('{"words": "the"}')
    (folder / "hole.jsonl").write_text('{"prompt": "the", "completion": "cat"}\n{"prompt": "the", "completion": ""}\n')
    found = run("score", *arguments, "-m", "toy.yaml")
    assert (found.code, found.stdout) == (2, "")
    assert why in found.stderr
    assert found.stderr.count("\n") == 1


def test_ctrl_c_keeps_what_was_scored(run, folder: Path, monkeypatch: pytest.MonkeyPatch):
    from decodelab.engine import scoring

    whole = scoring.score_each

    def interrupted(*given, **more):
        yield from list(whole(*given, **more))[:2]
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring, "score_each", interrupted)
    (folder / "pairs.jsonl").write_text('{"prompt": "the", "completion": "cat"}\n' * 3)
    found = run("score", "--file", "pairs.jsonl", "-m", "toy.yaml", "--json")
    assert (found.code, found.json["interrupted"], len(found.json["scores"])) == (130, True, 2)
    assert "2 of 3 texts were scored" in found.stderr
