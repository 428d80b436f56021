"""`decodelab generate`: the text on stdout, everything else on stderr, and one JSON document when asked."""

import json
import math
from pathlib import Path

import pytest

from decodelab.models.table import TableModel


def test_an_empty_prompt_is_continued_greedily(run):
    found = run("generate", "-m", "toy.yaml", "-s", "greedy")
    assert (found.code, found.stdout) == (0, "the cat sat\n")
    assert "log-probability -1.56, perplexity 1.48, ended by eos" in found.stderr


def test_several_texts_stand_under_headings(run):
    found = run("generate", "the", "a", "-m", "toy.yaml", "-s", "beam(width=3, n=2)")
    assert found.stdout == (
        "==> the, 1 of 2 <==\n cat sat\n\n==> the, 2 of 2 <==\n cat ran\n\n"
        "==> a, 1 of 2 <==\n dog ran\n\n==> a, 2 of 2 <==\n cat sat\n"
    )


def test_json_is_the_only_thing_on_stdout_and_has_every_number(run):
    found = run("generate", "-m", "toy.yaml", "-s", "greedy", "--json")
    assert (found.code, found.stderr) == (0, "")
    document = found.json
    assert document["effective_strategy"] == "greedy"
    assert document["interrupted"] is False
    candidate = document["generations"][0]["candidates"][0]
    assert candidate["text"] == "the cat sat"
    assert candidate["finish_reason"] == "eos"
    assert candidate["logprob"] == pytest.approx(math.log(0.6 * 0.7 * 0.5))
    assert document["generations"][0]["cost"]["forward_tokens"] == 4


def test_a_draft_changes_the_cost_and_not_the_text(run):
    driven = ("generate", "-m", "toy.yaml", "-s", 'greedy | speculative(draft="toy.yaml")')
    found = run(*driven)
    assert (found.code, found.stdout) == (0, "the cat sat\n")
    assert "3 of 3 proposed tokens accepted" in found.stderr
    cost = run(*driven, "--json").json["generations"][0]["cost"]
    assert (cost["draft_tokens"], cost["proposed"], cost["accepted"], cost["acceptance"]) == (4, 3, 3, 1.0)


def test_what_a_draft_cannot_drive_is_refused_in_one_line(run):
    found = run("generate", "-m", "toy.yaml", "-s", "beam(width=2) | speculative(draft=ngram)")
    assert (found.code, found.stdout) == (2, "")
    assert "greedy and sample only, got beam(width=2)" in found.stderr
    assert found.stderr.count("\n") == 1


def test_names_of_special_tokens_in_a_prompt_are_noted_and_read_literally_when_asked(run):
    asked = ("generate", "<s>Once", "-m", "pocket-nano", "-s", "greedy", "--max-new-tokens", "1", "--json")
    noted, literal = run(*asked).json, run(*asked, "--literal").json
    twice, became = noted["notes"]
    assert 'begins with BOS ("<s>") twice' in twice
    assert '"<s>" became a special token; literal=True (decodelab generate --literal)' in became
    assert noted["generations"][0]["prompt_tokens"][:2] == [1, 1]
    assert literal["notes"] == []
    assert literal["generations"][0]["prompt_tokens"].count(1) == 1


def test_a_stop_text_beside_the_name_of_a_special_token_is_refused_in_one_line(run):
    found = run("generate", "Once", "-m", "pocket-nano", "-s", "greedy", "--stop", "<|user|>:")
    assert (found.code, found.stdout) == (2, "")
    assert 'which holds "<|user|>"; special tokens are no part of the text: give that name alone' in found.stderr
    assert found.stderr.count("\n") == 1


def test_the_seed_decides_the_samples_and_the_other_prompts_do_not(run):
    def texts(*prompts: str, seed: str) -> list[list[str]]:
        found = run("generate", *prompts, "-m", "toy.yaml", "-s", "sample(n=8)", "--seed", seed, "--json")
        return [[c["text"] for c in g["candidates"]] for g in found.json["generations"]]

    assert texts("the", seed="1") == texts("the", seed="1")
    assert texts("the", seed="1") != texts("the", seed="2")
    assert texts("a", "the", seed="1")[1] == texts("the", seed="1")[0]


def test_streamed_text_is_the_same_text(run):
    whole = run("generate", "the", "-m", "toy.yaml", "-s", "sample", "--seed", "5", "--no-stream")
    streamed = run("generate", "the", "-m", "toy.yaml", "-s", "sample", "--seed", "5", "--stream")
    assert streamed.stdout == whole.stdout


def test_a_search_that_revises_is_not_streamed_and_says_so(run):
    found = run("generate", "-m", "toy.yaml", "-s", "beam(width=3)", "--stream")
    assert found.stdout == "a dog ran\n"
    assert found.stderr.startswith("note: not streaming")


def test_a_stop_string_ends_the_text_before_it(run):
    assert run("generate", "-m", "toy.yaml", "-s", "greedy", "--stop", "sat").stdout == "the cat \n"
    assert run("generate", "-m", "toy.yaml", "-s", "greedy", "--stop", "sat", "--stream").stdout == "the cat \n"


def test_limits_hold(run):
    assert run("generate", "-m", "toy.yaml", "-s", "greedy", "--max-new-tokens", "2").stdout == "the cat\n"
    stopped = run("generate", "-m", "toy.yaml", "-s", "greedy", "--stop-token-id", "2", "--json").json
    assert stopped["generations"][0]["candidates"][0]["finish_reason"] == "stop"


def test_prompts_come_from_a_file_or_from_stdin(run, folder: Path):
    (folder / "prompts.txt").write_text("the\na\n")
    (folder / "prompts.jsonl").write_text('{"prompt": "the"}\n{"prompt": "a"}\n')

    def continued(*where: str, stdin: str | None = None) -> list[tuple[str, str]]:
        found = run("generate", *where, "-m", "toy.yaml", "-s", "greedy", "--json", stdin=stdin)
        return [(g["prompt"], g["candidates"][0]["text"]) for g in found.json["generations"]]

    both = [("the", " cat sat"), ("a", " dog ran")]
    assert continued("--file", "prompts.txt") == both
    assert continued("--file", "prompts.jsonl") == both
    assert continued("--file", "-", stdin="the\na\n") == both
    assert continued("-", stdin="the cat\n") == [("the cat", " sat")]


def test_a_strategy_is_explained_before_the_text(run):
    found = run("generate", "-m", "toy.yaml", "-s", "default", "--explain")
    assert found.stdout == "the cat sat\n"
    assert found.stderr.startswith("greedy\n  (written as: default)\n")
    assert "explanation" in run("generate", "-m", "toy.yaml", "--explain", "--json").json


def test_a_term_without_effect_is_noted_once(run):
    found = run("generate", "the", "a", "-m", "toy.yaml", "-s", "top_p=1.0 | sample", "--json")
    assert found.stderr == "note: top_p=1.0: p = 1 keeps every token\n"
    assert found.json["notes"] == ["top_p=1.0: p = 1 keeps every token"]


def test_the_document_can_go_to_a_file_too(run, folder: Path):
    found = run("generate", "-m", "toy.yaml", "-s", "greedy", "--out", "out.json")
    assert found.stdout == "the cat sat\n"
    assert json.loads((folder / "out.json").read_text())["generations"][0]["candidates"][0]["text"] == "the cat sat"


def test_hostile_text_cannot_drive_the_terminal_but_is_exact_in_json(run):
    for stream in ("--stream", "--no-stream"):
        shown = run("generate", "-m", "hostile.yaml", stream).stdout
        assert shown == "<script>alert(1)</script>\\x1b[31mred\\u202eevilnul\\x00' onmouseover='x[bold]&amp;\n\"\n"
    exact = run("generate", "-m", "hostile.yaml", "--json")
    assert exact.stdout.isascii()
    text = exact.json["generations"][0]["candidates"][0]["text"]
    assert text == "<script>alert(1)</script>\x1b[31mred\u202eevilnul\0' onmouseover='x[bold]&amp;\n\""


@pytest.mark.parametrize("how", [[], ["--json"], ["--stream"]])
def test_ctrl_c_keeps_partial_results_marked_and_exits_130(run, monkeypatch: pytest.MonkeyPatch, how: list[str]):
    def distribution(prefix: tuple[str, ...]) -> dict[str, float]:
        if len(prefix) == 3:
            raise KeyboardInterrupt
        return {"la": 1.0}

    model = TableModel(["la"], distribution, bos="<s>")
    monkeypatch.setattr("decodelab.models.loading.load", lambda *_args, **_options: model)
    found = run("generate", "-s", "greedy", *how)
    assert found.code == 130
    assert "interrupted: 1 of 1 prompts were started" in found.stderr
    if "--json" in how:
        assert found.json["interrupted"] is True
        assert found.json["generations"][0]["candidates"][0]["finish_reason"] == "interrupted"
    else:
        assert found.stdout.startswith("la la")
        assert "ended by interrupted" in found.stderr


def test_the_known_story_of_a_real_model(run, stories260k_dir: Path):
    found = run(
        "generate", "--model", str(stories260k_dir), "--strategy", "greedy", "--max-new-tokens", "200", "--json"
    )
    assert (found.code, found.stderr) == (0, "")
    text = found.json["generations"][0]["candidates"][0]["text"]
    assert text.startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    )


def test_a_chat_goes_through_the_model_s_template(run):
    found = run("generate", "What is 2 + 3?", "--chat", "-m", "pocket-nano", "--max-new-tokens", "2", "--json").json
    assert "What is 2 + 3?" in found["generations"][0]["prompt"]
    assert found["generations"][0]["prompt"] != "What is 2 + 3?"


def test_candidates_that_say_one_text_in_different_tokens_are_named(run, folder):
    (folder / "spelled.yaml").write_text(
        "name: spelled\nbos: <s>\neos: </s>\nseparator: ''\n"
        "tree: {ab: [0.6, {</s>: 1}], a: [0.4, {b: [1, {</s>: 1}]}]}\n"
    )
    found = run("generate", "-m", "spelled.yaml", "-s", "beam(width=2, n=2)")
    assert "note: (empty): candidates 1 and 2 have the same text in different tokens" in found.stderr
    document = run("generate", "-m", "spelled.yaml", "-s", "beam(width=2, n=2)", "--json").json
    assert document["generations"][0]["duplicates"] == [[0, 1]]
    merged = run("generate", "-m", "spelled.yaml", "-s", "beam(width=2, n=2, dedupe=text)")
    assert "different tokens" not in merged.stderr
