"""Adapters of peft as models: `BASE+ADAPTER` is the base with the adapter merged, or is refused by name."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import decodelab as dl
from decodelab.core.errors import DecodelabError
from decodelab.core.quiet import quiet
from decodelab.models import load
from decodelab.models.adapters import split_adapters

peft = pytest.importorskip("peft")
TOKENS = [(3, 4, 5, 6), (7, 8, 9, 10)]


@pytest.fixture(scope="module")
def base(build_network, word_tokenizer, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("base") / "c++"
    with quiet():
        build_network("llama").save_pretrained(directory)
        word_tokenizer.save_pretrained(directory)
    return directory


def write_adapter(base: Path, directory: Path, seed: int = 0, **settings) -> torch.Tensor:
    """Save an adapter with weights that matter; returns the logits of base and adapter, as peft computes them."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    with quiet():
        network = AutoModelForCausalLM.from_pretrained(base)
        adapted = peft.get_peft_model(
            network, peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "down_proj"], **settings)
        )
        for name, parameter in adapted.named_parameters():
            if "lora" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        adapted.eval().save_pretrained(directory)
        with torch.no_grad():
            return adapted(input_ids=torch.tensor(TOKENS)).logits[:, -1]


@pytest.fixture
def adapter(base, tmp_path) -> Path:
    write_adapter(base, tmp_path / "adapter")
    return tmp_path / "adapter"


def refusal(name) -> str:
    with pytest.raises(DecodelabError) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    return f"{type(caught.value).__name__}: {caught.value}"


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"use_dora": True}, {"lora_alpha": 32}])
def test_it_computes_what_peft_computes(base, tmp_path, settings):
    expected = write_adapter(base, tmp_path / "a+b", **settings)
    model = load(f"{base}+{tmp_path / 'a+b'}")
    torch.testing.assert_close(model.prefill(TOKENS)[0], expected, atol=1e-4, rtol=1e-4)
    assert (expected - load(base).prefill(TOKENS)[0]).abs().max() > 0.1
    assert model.name == f"{base}+{tmp_path / 'a+b'}"


def test_several_are_merged_in_order(base, tmp_path):
    for seed in (1, 2):
        write_adapter(base, tmp_path / str(seed), seed)
    both = load(f"{base}+{tmp_path / '1'}+{tmp_path / '2'}")
    one = load(f"{base}+{tmp_path / '1'}")
    assert not torch.allclose(both.prefill(TOKENS)[0], one.prefill(TOKENS)[0], atol=0.1)
    assert len({both.digest, one.digest, load(base).digest}) == 3


def test_every_way_to_decode_is_there(base, adapter):
    found = dl.generate(f"{base}+{adapter}", ["w1 w2", "w3 w4 w5"], "beam(width=3)", max_new_tokens=4)
    assert [len(g.best.tokens) > 0 for g in found] == [True, True]


def test_the_digest_tells_adapters_apart(base, adapter):
    before = load(f"{base}+{adapter}").digest
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file({k: v * 1.01 for k, v in weights.items()}, adapter / "adapter_model.safetensors")
    after = load(f"{base}+{adapter}").digest
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 1}))
    assert len({before, after, load(f"{base}+{adapter}").digest}) == 3


def test_an_adapter_that_has_tensors_without_a_place_is_refused_by_name(base, adapter):
    weights = load_file(adapter / "adapter_model.safetensors")
    extra = {
        name.replace("layers.0", "layers.9"): tensor.clone() for name, tensor in weights.items() if "layers.0" in name
    }
    save_file(weights | extra, adapter / "adapter_model.safetensors")
    message = refusal(f"{base}+{adapter}")
    assert "layers.9" in message
    assert "has no place in this model (4 such)" in message
    assert repr(str(base)) in message


def test_an_adapter_that_lacks_tensors_is_refused_by_name(base, adapter):
    weights = load_file(adapter / "adapter_model.safetensors")
    name = next(iter(weights))
    save_file({k: v for k, v in weights.items() if k != name}, adapter / "adapter_model.safetensors")
    assert f"{name!r} is not in the adapter" in refusal(f"{base}+{adapter}")


def test_an_adapter_of_another_model_is_refused(base, adapter):
    assert "does not fit this model" in refusal(f"pocket-nano+{adapter}")


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_incomplete_or_damaged_adapter_is_refused(base, adapter, name):
    (adapter / name).write_bytes(b"[" * 100_000)
    assert "ModelFormatError" in refusal(f"{base}+{adapter}")
    (adapter / name).unlink()
    assert f"has no {name}" in refusal(f"{base}+{adapter}")


def test_a_pickle_is_never_read(base, adapter):
    shutil.move(adapter / "adapter_model.safetensors", adapter / "adapter_model.bin")
    assert "has no adapter_model.safetensors" in refusal(f"{base}+{adapter}")


@pytest.mark.parametrize("kind", ["NO_SUCH_KIND", "PROMPT_TUNING"])
def test_an_adapter_of_a_kind_that_cannot_be_merged_is_refused(base, adapter, kind):
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"peft_type": kind}))
    assert "the adapter" in refusal(f"{base}+{adapter}")


def test_a_plus_in_a_path_is_no_adapter(base, adapter, tmp_path):
    assert split_adapters(str(base), lambda name: Path(name).exists()) == (str(base), ())
    assert split_adapters(f"{base}+{adapter}", lambda name: Path(name).exists()) == (str(base), (adapter,))
    assert split_adapters("no+model", lambda name: False) == ("no+model", ())
