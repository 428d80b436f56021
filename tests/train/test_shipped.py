"""The models that ship with the package: complete, small, loadable, and at what they were trained for."""

import re
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from decodelab import load
from decodelab.core.protocols import RewardReading
from decodelab.models.loading import load_reward
from decodelab.pocket import sums
from decodelab.train.evaluate import evaluate, main
from decodelab.train.recipe import RECIPES
from decodelab.train.tokenizer import load_tokenizer

SHIPPED = Path(str(files("decodelab") / "models" / "shipped"))
NAMES = ("pocket-nano", "pocket-small")


@pytest.fixture(scope="module", params=NAMES)
def shipped(request):
    return SHIPPED / request.param


def test_both_fit_in_14_megabytes():
    sizes = [file.stat().st_size for name in NAMES for file in (SHIPPED / name).rglob("*") if file.is_file()]
    assert 1_000_000 < sum(sizes) <= 14 * 2**20


def test_the_directory_holds_what_it_should_and_nothing_else(shipped):
    assert {file.name for file in shipped.iterdir()} == {
        "README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "scores.json", "tokenizer.json", "tokenizer_config.json", "training.json",
    }  # fmt: skip


def test_transformers_loads_it_as_the_recipe_says(shipped):
    model = AutoModelForCausalLM.from_pretrained(shipped)
    recipe = RECIPES[shipped.name.removeprefix("pocket-")]
    assert model.config.model_type == "llama"
    assert model.dtype == torch.bfloat16
    assert model.config.hidden_size == recipe.hidden
    assert model.config.max_position_embeddings >= 512
    assert model.config.tie_word_embeddings
    assert (model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id) == (0, 1, 2)
    assert model.generation_config.temperature == 0.7
    tokenizer = load_tokenizer(shipped)
    assert tokenizer.chat_template
    assert tokenizer.encode("7") == [1, tokenizer.convert_tokens_to_ids("7")]


def test_the_card_gives_recipe_command_loss_and_scores(shipped):
    card = (shipped / "README.md").read_text()
    assert f"decodelab train pocket --size {shipped.name.removeprefix('pocket-')} --out DIR" in card
    assert "| step | loss |" in card
    assert "| stories | 0." in card
    assert "license: apache-2.0" in card


def test_small_does_sums_and_nano_is_clearly_weaker():
    scores = {}
    for name in NAMES:
        (scores[name],) = evaluate(load(name), items=40, tasks=["sums"])
    assert scores["pocket-small"].score >= 0.8
    assert scores["pocket-nano"].score <= scores["pocket-small"].score - 0.1


def test_evaluating_a_missing_model_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("evaluate: ")
    assert str(tmp_path / "nowhere") in said
    assert len(said.splitlines()) == 1


VERIFIER = Path(str(files("decodelab") / "models" / "shipped_verifiers" / "pocket-verifier"))


def test_the_verifier_fits_in_3_megabytes_with_a_card_that_says_how_it_was_made():
    assert {file.name for file in VERIFIER.iterdir()} == {
        "README.md", "chat_template.jinja", "config.json", "model.safetensors", "scores.json", "tokenizer.json",
        "tokenizer_config.json", "training.json",
    }  # fmt: skip
    assert sum(file.stat().st_size for file in VERIFIER.iterdir()) <= 3 * 2**20
    card = (VERIFIER / "README.md").read_text()
    assert "decodelab train verifier" in card
    assert "| best by verifier | 0." in card


def test_the_verifier_tells_right_sums_from_wrong_ones_and_needs_no_transformers(monkeypatch):
    monkeypatch.setattr("decodelab.models.transformers_files.read_classifier", None)
    verifier = load_reward("pocket-verifier")
    higher = 0
    for seed in range(40):
        item = sums.generate(seed, "test")
        wrong = re.sub(r"=(\d+)", lambda found: f"={int(found[1]) + 1}", item.reference, count=1)
        right, other = verifier.rate(item.prompt, [item.reference, wrong], RewardReading()).values
        higher += right > other
    assert higher >= 36
