"""`decodelab puzzle`: prompts whose beams say one text twice, found or given, on tables where they are known."""

import math

import pytest

SPELLED = """
name: spelled
bos: <s>
eos: </s>
separator: ""
tree:
  x: [0.9, {ab: [0.5, {</s>: 1}], a: [0.4, {b: [1, {</s>: 1}]}], c: [0.1, {</s>: 1}]}]
  c: [0.1, {</s>: 1}]
"""


@pytest.fixture
def spelled(folder):
    (folder / "spelled.yaml").write_text(SPELLED)


def test_the_model_writes_prompts_until_its_beams_collide(run, spelled):
    found = run("puzzle", "-m", "spelled.yaml", "--width", "4")
    assert found.code == 0
    assert 'After "x", a beam of width 4 keeps' in found.stdout
    assert '"ab" as' in found.stdout
    assert '-0.69 = "ab" -0.69' in found.stdout
    assert '-0.92 = "a" -0.92   "b" 0.00' in found.stdout.replace("-0.00", "0.00")
    assert 'They differ from token 1 on: the vocabulary has "ab" and "a".' in found.stdout
    assert "prompts tried" in found.stderr


def test_json_has_tokens_and_log_probabilities(run, spelled):
    found = run("puzzle", "x", "-m", "spelled.yaml", "--width", "4", "--json")
    assert (found.code, found.stderr) == (0, "")
    document = found.json
    assert (document["tried"], document["width"]) == (1, 4)
    (collision,) = document["found"][0]
    assert (collision["prompt"], collision["text"]) == ("x", "ab")
    assert [s["words"] for s in collision["spellings"]] == [["ab"], ["a", "b"]]
    assert [s["logprob"] for s in collision["spellings"]] == pytest.approx([math.log(0.5), math.log(0.4)], abs=1e-6)


def test_a_beam_too_narrow_keeps_one_and_none_is_found(run, spelled):
    found = run("puzzle", "x", "-m", "spelled.yaml", "--width", "1")
    assert (found.code, found.stdout) == (0, "")
    assert "no collision after 1 prompts" in found.stderr


def test_the_seed_decides(run, spelled):
    one, two = (run("puzzle", "-m", "spelled.yaml", "--width", "4", "--seed", "3", "--json").stdout for _ in range(2))
    assert one == two


def test_text_of_hostile_models_is_made_harmless(run):
    found = run("puzzle", "-m", "hostile.yaml", "--tries", "3", "--max-new-tokens", "5")
    assert found.code == 0
    assert "\x1b" not in found.stdout + found.stderr


@pytest.mark.parametrize("option", ["--width", "--tries", "--count", "--max-new-tokens"])
def test_numbers_below_one_are_refused(run, spelled, option):
    found = run("puzzle", "-m", "spelled.yaml", option, "0")
    assert (found.code, found.stdout) == (2, "")
    assert f"{option} must be at least 1, got 0" in found.stderr
    assert found.stderr.count("\n") == 1
