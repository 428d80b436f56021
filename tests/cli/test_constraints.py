"""Constraints on the command line: quoted patterns, schemas in files, notes about missing candidates, refusals."""

import json
from pathlib import Path

import pytest


def test_a_pattern_in_quotes_holds_the_text_to_it(run):
    found = run("generate", "-m", "toy.yaml", "-s", "regex='a .*' | greedy")
    assert (found.code, found.stdout) == (0, "a dog ran\n")


def test_fewer_texts_than_asked_for_come_with_a_note(run):
    found = run("generate", "-m", "toy.yaml", "-s", "regex='the .*' | beam(width=9, n=9)", "--json")
    assert found.code == 0
    assert len(found.json["generations"][0]["candidates"]) == 3
    assert any("found 3 of 9 candidates" in note for note in [*found.json.get("notes", []), found.stderr])


def test_a_schema_may_be_a_file(run, tmp_path: Path):
    path = tmp_path / "number.json"
    path.write_text(json.dumps({"type": "integer", "minimum": 10, "maximum": 99}))
    found = run(
        "generate", "Tim is", "-m", "pocket-nano", "-s", f'json_schema="{path}" | greedy', "--max-new-tokens", "6"
    )
    assert found.code == 0
    assert 10 <= int(found.stdout) <= 99


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("regex='a(' | greedy", "regex: pattern does not parse at character 2: unclosed group"),
        ("grammar='start: x' | greedy", "grammar: text does not parse at line 1, column 8: unknown name"),
        ("regex='a.*' | regex='the.*' | greedy", "left no token to choose from for prompt 0 at new token 1"),
        ("check=perl | greedy", "check: checker must be one of python, linted_python, got perl"),
        ("force_words(phrases=[zebra])", "force_words: zebra cannot be written"),
        ("ban=[cat] | force_words(phrases=[cat])", "force_words: found no text with 'cat' in it"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_two(run, strategy, message):
    found = run("generate", "-m", "toy.yaml", "-s", strategy)
    assert (found.code, found.stdout) == (2, "")
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
