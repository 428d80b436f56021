"""The digest of a model: everything its texts depend on changes it, nothing else does."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig

from decodelab.backends.chat import ChatSettings
from decodelab.backends.local_chat import LocalChat
from decodelab.core.quiet import quiet
from decodelab.models import TransformersModel, load
from decodelab.models.ingredients import files_of

TEMPLATE = "{% for m in messages %}{{ m.content }} {% endfor %}w1"


@pytest.fixture(scope="module")
def saved(build_network, word_tokenizer, tmp_path_factory) -> Path:
    """A chat model's directory."""
    directory = tmp_path_factory.mktemp("ingredients") / "model"
    tokenizer = copy.deepcopy(word_tokenizer)
    tokenizer.chat_template = TEMPLATE
    with quiet():
        build_network("llama").save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return directory


def identities(directory: Path) -> tuple[str, str]:
    """What a model and a judge of that directory are told by."""
    return load(directory).digest, LocalChat(str(directory), ChatSettings(max_tokens=4)).identity


@pytest.fixture(scope="module")
def original(saved) -> tuple[str, str]:
    """Those of the model as it was saved."""
    return identities(saved)


@pytest.fixture
def changed(saved, tmp_path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def scale_weights(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    weights["model.norm.weight"] *= 1.5
    save_file(weights, directory / "model.safetensors", {"format": "pt"})


def add_token(directory: Path) -> None:
    data = json.loads((directory / "tokenizer.json").read_text())
    data["model"]["vocab"]["w3"], data["model"]["vocab"]["w4"] = 4, 3
    (directory / "tokenizer.json").write_text(json.dumps(data))


CHANGES = {
    "weights": scale_weights,
    "config": lambda d: edit(d / "config.json", rms_norm_eps=0.1),
    "config: the longest text": lambda d: edit(d / "config.json", max_position_embeddings=99),
    "generation config: its end": lambda d: edit(d / "generation_config.json", eos_token_id=7),
    "generation config: several ends": lambda d: edit(d / "generation_config.json", eos_token_id=[63, 7]),
    "generation config: its strategy": lambda d: edit(d / "generation_config.json", do_sample=True, temperature=0.5),
    "generation config: a forced end": lambda d: edit(
        d / "generation_config.json", forced_eos_token_id=5, max_length=20
    ),
    "no generation config": lambda d: (d / "generation_config.json").unlink(),
    "tokenizer": add_token,
    "tokenizer config": lambda d: edit(d / "tokenizer_config.json", eos_token="w7"),
    "special tokens": lambda d: (d / "special_tokens_map.json").write_text("{}"),
    "chat template": lambda d: (d / "chat_template.jinja").write_text(TEMPLATE + " w2"),
    "another chat template": lambda d: [
        (d / "additional_chat_templates").mkdir(),
        (d / "additional_chat_templates" / "tools.jinja").write_text(TEMPLATE),
    ],
}


@pytest.mark.filterwarnings("ignore::decodelab.core.notices.ModelNotice")
@pytest.mark.parametrize("what", CHANGES)
def test_whatever_a_text_depends_on_changes_the_digest_and_a_judges_identity(original, changed, what):
    CHANGES[what](changed)
    assert not set(identities(changed)) & set(original)


def test_so_does_the_number_format(saved):
    assert load(saved, dtype="bfloat16").digest != load(saved, dtype="float32").digest
    assert load(saved, dtype="float32").digest == load(saved, device="cpu").digest


def test_what_describes_a_model_does_not(original, changed):
    for name in ("README.md", "training.json", "scores.json", ".gitattributes", "LICENSE"):
        (changed / name).write_text("words")
    assert identities(changed) == original


def test_the_place_does_not_and_the_files_are_listed(original, changed):
    assert [name for name, _ in files_of(changed)] == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert load(changed).digest == original[0]


def test_a_model_in_memory_is_told_by_the_same_things(build_network, word_tokenizer):
    network = build_network("llama")
    digests = [TransformersModel(network, word_tokenizer).digest]
    for settings in ({"eos_token_id": 7}, {"eos_token_id": 7, "do_sample": True}):
        network.generation_config = GenerationConfig(**settings)
        digests.append(TransformersModel(network, word_tokenizer).digest)
    tokenizer = copy.deepcopy(word_tokenizer)
    tokenizer.chat_template = TEMPLATE
    digests.append(TransformersModel(network, tokenizer).digest)
    tokenizer.add_tokens(["w61x"])
    digests.append(TransformersModel(network, tokenizer).digest)
    with torch.no_grad():
        network.model.norm.weight.mul_(1.5)
    digests.append(TransformersModel(network, tokenizer).digest)
    assert len(set(digests)) == len(digests)
