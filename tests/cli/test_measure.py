"""`decodelab measure`: numbers about texts, in any script, alone or side by side."""

import json
from pathlib import Path

import pytest


def write(file: Path, rows: list[dict]) -> str:
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return str(file)


@pytest.fixture
def texts(folder: Path) -> str:
    said = ["the cat sat", "the cat sat on", "a dog ran", "and so and so and so"]
    rows = [
        {"text": t, "prompt": f"p{i // 2}", "strategy": "greedy" if i % 2 else "beam(width=3)", "reference": "the cat"}
        for i, t in enumerate(said)
    ]
    return write(folder / "texts.jsonl", rows)


def test_every_quantity_has_a_meaning(run, texts: str):
    found = run("measure", texts)
    assert found.code == 0
    rows = {line.split()[0]: line.split()[1] for line in found.stdout.splitlines() if len(line.split()) > 2}
    assert rows["texts"] == "4"
    # the cat sat on a dog ran and so
    assert rows["distinct_1"] == f"{9 / 16:.3f}"
    assert rows["loops"] == "0.250"
    assert "texts that end in a loop" in " ".join(found.stdout.split())


def test_json_by_group(run, texts: str):
    document = run("measure", texts, "--by", "strategy", "--json").json
    assert set(document["groups"]) == {"greedy", "beam(width=3)"}
    beam = document["groups"]["beam(width=3)"]
    assert beam["texts"]["value"] == 2
    assert beam["words"]["value"] == 3
    assert beam["rouge_1"]["low"] <= beam["rouge_1"]["value"] <= beam["rouge_1"]["high"]
    assert "greedy" in run("measure", texts, "--by", "strategy").stdout


def test_samples_of_a_prompt_are_a_cluster(run, texts: str):
    document = run("measure", texts, "--json").json["groups"][""]
    assert document["words"]["clusters"] == 2
    assert document["unique_per_prompt"]["value"] == 2


def test_what_generate_prints_can_be_measured(run):
    printed = run("generate", "the", "a", "-m", "toy.yaml", "-s", "sample(n=3)", "--json").stdout
    document = run("measure", "-", "--by", "strategy", "--json", stdin=printed).json
    assert document["groups"]["sample(n=3)"]["texts"]["value"] == 6
    assert document["groups"]["sample(n=3)"]["words"]["clusters"] == 2


@pytest.mark.parametrize("text", ["", "   ", "👨‍👩‍👧 😀", "你好世界", "שלום עולם", "\x1b[31mred\x00", "a" * 100_000])
def test_no_text_is_too_strange(run, folder: Path, text: str):
    write(folder / "t.jsonl", [{"text": text}, {"text": text, "reference": "x"}][:1])
    found = run("measure", "t.jsonl", "--json")
    assert found.code == 0
    assert found.json["groups"][""]["texts"]["value"] == 1
    assert "\x1b[31m" not in run("measure", "t.jsonl").stdout


def test_acceptance_by_the_grammar_of_pocket_stories(run, folder: Path):
    from decodelab.pocket.stories import generate

    story = generate(0, "test")
    write(folder / "s.jsonl", [{"text": story.prompt + story.reference}, {"text": "Once upon a time, no."}])
    document = run("measure", "s.jsonl", "--grammar", "stories", "--json").json
    assert document["groups"][""]["accepted"]["value"] == 0.5


def test_self_bleu_of_many_texts_says_that_it_looked_at_some(run, folder: Path):
    write(folder / "m.jsonl", [{"text": f"text number {i}"} for i in range(12)])
    found = run("measure", "m.jsonl", "--self-bleu-texts", "5")
    assert "self-BLEU compares 5 texts" in found.stderr


REFUSED = {
    "no text": ('{"txt": "a"}', [], "line 1: needs the field 'text' (--field) as text"),
    "not text": ('{"text": 7}', [], "line 1: needs the field 'text'"),
    "not JSON": ("a plain text", [], "line 1: not JSON"),
    "nothing": ("", [], "has no texts"),
    "half a character": ('{"text": "\\ud800"}', [], "half a character"),
    "reference for one": ('{"text": "a", "reference": "b"}\n{"text": "c"}', [], "references are there for 1 of 2"),
    "reference not text": ('{"text": "a", "reference": 3}', [], "references must be a list of texts"),
    "prompt not text": ('{"text": "a", "prompt": 3}', [], "prompt must be text"),
    "no group": ('{"text": "a"}', ["--by", "model"], "needs the field 'model' (--by)"),
    "grammar": ('{"text": "a"}', ["--grammar", "poems"], "--grammar must be stories"),
    "human alone": ('{"text": "a"}', ["--human", "bad.jsonl"], "--human needs --embedder"),
    "label alone": ('{"text": "a"}', ["--label", "x"], "add --judge"),
    "no judge": ('{"text": "a"}', ["--judge", "./none"], "there is no directory './none'"),
    "level": ('{"text": "a"}', ["--level", "2"], "level must be between 0 and 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_one_line(run, folder: Path, case: str):
    text, options, why = REFUSED[case]
    (folder / "bad.jsonl").write_text(text)
    found = run("measure", "bad.jsonl", *options)
    assert (found.code, found.stdout) == (2, "")
    assert why in found.stderr
    assert found.stderr.count("\n") == 1
