"""Names that people type, options given twice, shell completion, and what is noted about prompts."""

from __future__ import annotations

import json

import pytest

TOY = "next: {a: 0.6, b: 0.4}\n"


@pytest.mark.parametrize(
    ("strategy", "meant"),
    [
        ("nucleus=0.9", "'top_p'"),
        ("num_beams=3", "'beam(width=3)'"),
        ("beam(num_beams=3)", "'width'"),
        ("lr=0.1", "'mirostat(eta=0.1)'"),
        ("mirostat(lr=0.1)", "'eta'"),
        ("oddsampling", "'rank_parity=odd'"),
        ("temp=0.7", "'temperature'"),
        ("do_sample", "'sample'"),
        ("num_return_sequences=4", "'sample(n=4)'"),
        ("sample(num_return_sequences=4)", "'n'"),
        ("top-k=5", "'top_k'"),
        ("repetition-penalty=1.1", "'repetition_penalty'"),
        ("typical=0.9", "'typical_p'"),
        ("epsilon=0.1", "'epsilon_cutoff'"),
        ("eta=0.1", "'eta_cutoff'"),
        ("mirostat_v2", "'mirostat'"),
        ("best-of=3", "'best_of'"),
        ("num_beam_groups=2", "'diverse_beam(width=4, groups=2)'"),
        ("penalty_alpha=0.6", "'contrastive_search'"),
        ("majority_vote", "'vote'"),
        ("max_tokens=20", "--max-new-tokens on the command line, max_new_tokens= in Python"),
    ],
)
def test_a_strategy_in_other_words(run, strategy, meant):
    found = run("generate", "hi", "-s", strategy)
    assert found.code == 2
    assert meant in found.stderr


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("--top-p", "it is a stage of the strategy: --strategy 'top_p=...'"),
        ("--temperature", "--strategy 'temperature=...'"),
        ("--temp", "--strategy 'temperature=...'"),
        ("--num-beams", "--strategy 'beam(width=3)'"),
        ("--max-tokens", "did you mean '--max-new-tokens'?"),
        ("--max_length", "did you mean '--max-new-tokens'?"),
        ("--max_new_tokens", "did you mean '--max-new-tokens'?"),
        ("--batch-size", "did you mean '--max-rows'?"),
        ("--modle", "did you mean '--model'?"),
    ],
)
def test_an_option_of_another_program(run, option, meant):
    found = run("generate", "hi", option, "3")
    assert found.code == 2
    assert f"No such option: {option}; " in found.stderr
    assert meant in found.stderr


def test_a_model_that_moved_on_the_hub_is_named(run, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = run("generate", "hi", "-m", "gpt2")
    assert found.code == 2
    assert "'openai-community/gpt2'" in found.stderr


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            ["generate", "hi", "-s", "greedy", "-s", "sample"],
            "got 'greedy' and 'sample'; decodelab compare runs several",
        ),
        (["generate", "hi", "-m", "a", "--model", "b"], "--model takes one value, got 'a' and 'b'"),
        (["generate", "hi", "--seed", "1", "--seed=2"], "--seed takes one value, got '1' and '2'"),
        (["tree", "hi", "-s", "beam(width=2)", "-s", "greedy"], "--strategy takes one value"),
        (["score", "a", "b", "-s", "greedy", "-s", "sample"], "--strategy takes one value"),
        (["tasks", "score", "--seed", "1", "--seed", "2", "x"], "--seed"),
    ],
)
def test_an_option_of_one_value_given_twice_is_refused(run, line, says):
    found = run(*line)
    assert (found.code, found.stdout) == (2, "")
    assert says in found.stderr


def test_options_of_several_values_may_be_repeated(run, tmp_path):
    table = tmp_path / "toy.yaml"
    table.write_text(TOY)
    found = run("compare", "-m", str(table), "-s", "greedy", "-s", "sample", "--no-html", "--stop", "x", "--stop", "y")
    assert found.code == 0


def test_shell_completion(run, monkeypatch):
    # Of the shell that the command is typed in, of which a test has none.
    monkeypatch.setattr("shellingham.detect_shell", lambda *given: ("bash", "/bin/bash"))
    found = run("--show-completion")
    assert found.code == 0
    assert "_DECODELAB_COMPLETE=complete_bash" in found.stdout


def test_the_fields_of_a_row_stay_with_its_answer(run, tmp_path):
    table, rows = tmp_path / "toy.yaml", tmp_path / "rows.jsonl"
    table.write_text(TOY)
    rows.write_text('{"prompt": "", "id": "q7", "reference": "a", "seed": "oak"}\n')
    found = run("generate", "-m", str(table), "-s", "greedy", "-f", str(rows), "--json")
    made = json.loads(found.stdout)["generations"][0]
    assert (made["id"], made["reference"], made["seed"]) == ("q7", "a", 0)
    assert made["input"] == {"seed": "oak"}


def test_a_prompt_that_is_too_long_is_left_out_and_counted(run, tmp_path):
    rows = tmp_path / "rows.jsonl"
    lines = [{"prompt": "hi", "id": 1}, {"prompt": "word " * 600, "id": 2}, {"prompt": "ho", "id": 3}]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    line = ("generate", "-m", "pocket-nano", "-s", "greedy", "--max-new-tokens", "2", "-f", str(rows), "--json")
    refused = run(*line)
    assert refused.code == 2
    assert "prompt 1 has 604 tokens" in refused.stderr
    found = run(*line, "--skip-too-long")
    document = json.loads(found.stdout)
    assert [(g["index"], g["id"]) for g in document["generations"]] == [(0, 1), (2, 3)]
    assert [left["index"] for left in document["left_out"]] == [1]
    assert "1 of 3 prompts were too long and left out" in found.stderr


def test_items_that_are_too_long_are_left_out_of_a_sweep(run, tmp_path):
    rows, plan = tmp_path / "rows.jsonl", tmp_path / "plan.yaml"
    lines = [("q1", "What is 1 + 1?"), ("q2", "word " * 600), ("q3", "What is 2 + 2?")]
    rows.write_text("".join(json.dumps({"id": i, "prompt": p, "answer": "2"}) + "\n" for i, p in lines))
    task = f"{{name: jsonl, file: {rows}, items: 3, scorer: exact_match, max_new_tokens: 2}}"
    plan.write_text(f"models: [pocket-nano]\nstrategies: [greedy]\ntasks: [{task}]\nskip_too_long: true\n")
    found = run("bench", str(plan), "--no-html", "--json")
    assert found.code == 0
    document = json.loads(found.stdout)
    assert document["left_out"] == [{"task": "jsonl", "model": "pocket-nano", "items": ["q2"]}]
    assert document["failed"] == 0
    assert "left out as too long, 1: item q2" in found.stderr


def test_a_file_name_as_a_prompt_is_noted(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("hi\n")
    found = run("generate", "-m", "pocket-nano", "-s", "greedy", "--max-new-tokens", "1", "prompts.txt")
    assert found.code == 0
    assert "'prompts.txt' is the name of a file and is taken as text; --file reads the file" in found.stderr
