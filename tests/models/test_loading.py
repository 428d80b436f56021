"""Models by name: what is found, what is refused and with which words, and what stays as it was."""

import json
import logging
import shutil
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from decodelab.core.errors import DecodelabError, ModelError, ModelFormatError, ModelNotFound, RequestError
from decodelab.core.quiet import quiet
from decodelab.models import LlamaModel, TableModel, list_models, load, load_transformers, model_info


@pytest.fixture(scope="module")
def saved(build_network, word_tokenizer, tmp_path_factory) -> Path:
    """A model directory as save_pretrained writes it."""
    directory = tmp_path_factory.mktemp("saved") / "tiny"
    with quiet():
        build_network("llama").save_pretrained(directory)
        word_tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def broken(saved, tmp_path) -> Path:
    """A copy of it, to be broken."""
    return Path(shutil.copytree(saved, tmp_path / "broken"))


def loaded(name: Path | str, **options) -> LlamaModel:
    """A model that is read without transformers."""
    model = load(name, **options)
    assert isinstance(model, LlamaModel)
    return model


def refusal(name, **options) -> str:
    with pytest.raises(DecodelabError) as caught:
        load(name, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return f"{type(caught.value).__name__}: {message}"


def edit(file: Path, **changes) -> None:
    data = json.loads(file.read_text())
    data.update(changes)
    file.write_text(json.dumps({name: value for name, value in data.items() if value is not ...}))


class TestWhatIsFound:
    def test_a_directory(self, saved):
        model = loaded(saved)
        assert model.name == str(saved)
        assert model.vocab.encode("w3 w4") == (3, 4)

    def test_sixteen_bit_weights_are_computed_in_float32_on_a_cpu_unless_asked_otherwise(self, broken):
        weights = load_file(broken / "model.safetensors")
        save_file({k: v.to(torch.bfloat16) for k, v in weights.items()}, broken / "model.safetensors", {"format": "pt"})
        assert loaded(broken, device="cpu").dtype == torch.float32
        assert loaded(broken, device="cpu", dtype="bfloat16").dtype == torch.bfloat16

    def test_weights_in_several_files(self, saved, tmp_path, word_tokenizer):
        whole = load(saved)
        with quiet():
            load_transformers(saved).model.save_pretrained(tmp_path, max_shard_size="20KB")
            word_tokenizer.save_pretrained(tmp_path)
        assert len(list(tmp_path.glob("*.safetensors"))) > 1
        logits, _ = load(tmp_path).prefill([(1, 2, 3)])
        torch.testing.assert_close(logits, whole.prefill([(1, 2, 3)])[0])
        assert model_info(str(tmp_path)).parameters == model_info(str(saved)).parameters

    def test_a_table(self, tmp_path):
        (tmp_path / "coin.yaml").write_text("bos: <s>\notherwise: {heads: 1/2, tails: 1/2}\n")
        model = load(tmp_path / "coin.yaml")
        assert isinstance(model, TableModel)
        assert model.vocab.encode("heads") == (3, 0)

    def test_a_hub_model_in_the_local_cache_without_network(self, saved, tmp_path, monkeypatch):
        revision = "0123456789abcdef0123456789abcdef01234567"
        home = tmp_path / "hub" / "models--owner--tiny"
        shutil.copytree(saved, home / "snapshots" / revision)
        (home / "refs").mkdir()
        (home / "refs" / "main").write_text(revision)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        model = load("owner/tiny")
        assert model.name == "owner/tiny"
        assert model.digest == load(saved).digest


class TestShippedModels:
    def test_are_described_without_loading_torch_or_transformers(self):
        code = (
            "import sys; from decodelab.models import list_models; models = list_models();"
            "print([m.name for m in models], [n for n in ('torch', 'transformers') if n in sys.modules])"
        )
        out = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
        assert out.stdout.strip() == f"{[m.name for m in list_models()]} []"

    def test_are_loaded_by_name_and_are_what_the_list_says(self):
        for info in list_models():
            model = load(info.name)
            assert (model.name, model.context_length, model.vocab.size) == (
                info.name,
                info.context_length,
                info.vocab_size,
            )
            assert sum(weight.numel() for weight in loaded(info.name).weights) == info.parameters

    def test_a_misspelt_name_gets_a_suggestion(self):
        assert "did you mean 'pocket-small'?" in refusal("pocket-smal")


def test_model_info_of_a_directory(saved):
    info = model_info(str(saved))
    assert info.kind == "llama"
    assert info.parameters == sum(weight.numel() for weight in loaded(saved).weights)
    assert (info.vocab_size, info.context_length, info.dtype) == (64, 128, "F32")
    assert info.nbytes == (saved / "model.safetensors").stat().st_size


def test_the_description_is_the_first_sentence_of_the_card(broken):
    card = "---\nlicense: mit\n---\n\n# Tiny\n\n| a | b |\n|---|---|\n\nA **tiny** model\nof words. It knows nothing.\n"
    (broken / "README.md").write_text(card)
    assert model_info(str(broken)).description == "A tiny model of words."


class TestWhatIsNotThere:
    def test_no_such_name(self):
        assert refusal("no-such-model").startswith("ModelNotFound: model: there is no shipped model and no directory")

    def test_no_such_directory(self, tmp_path):
        assert "ModelNotFound" in refusal(tmp_path / "nowhere")
        assert "ModelNotFound" in refusal("./nowhere/at/all")

    def test_no_such_table(self, tmp_path):
        assert "ModelNotFound: model: there is no file" in refusal(tmp_path / "nowhere.yaml")

    def test_an_empty_name(self):
        assert "ModelNotFound" in refusal("")

    def test_a_hub_model_that_is_not_in_the_cache_while_offline(self, tmp_path, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        message = refusal("owner/model")
        assert "ModelNotFound" in message
        assert "HF_HUB_OFFLINE is set" in message
        assert "pocket-small" in message

    def test_a_server_shows_no_logits(self):
        assert "shows texts and no logits; this needs a local model" in refusal("openai:http://127.0.0.1:8000/v1#name")


class TestBrokenDirectories:
    def test_no_config(self, broken):
        (broken / "config.json").unlink()
        assert "has no config.json" in refusal(broken)

    def test_an_empty_directory(self, tmp_path):
        assert "ModelFormatError: model:" in refusal(tmp_path)

    @pytest.mark.parametrize("text", ["", "{", "[]", "\x00", '{"architectures": []}'])
    def test_a_config_that_is_not_a_config(self, broken, text):
        (broken / "config.json").write_text(text)
        assert "ModelFormatError" in refusal(broken)

    def test_a_config_with_nonsense_in_it(self, broken):
        edit(broken / "config.json", num_attention_heads=0)
        assert "ModelFormatError" in refusal(broken)

    def test_no_weights(self, broken):
        (broken / "model.safetensors").unlink()
        assert "has no model.safetensors" in refusal(broken)

    @pytest.mark.parametrize("kept", [0, 5, 100, 3000, -1])
    def test_weights_cut_off(self, broken, kept):
        file = broken / "model.safetensors"
        file.write_bytes(file.read_bytes()[:kept])
        message = refusal(broken)
        assert "ModelFormatError" in message
        assert "get a complete copy" in message

    def test_weights_with_bytes_to_spare(self, broken):
        with (broken / "model.safetensors").open("ab") as stream:
            stream.write(b"more")
        assert "incomplete" in refusal(broken)

    def test_a_file_of_noise_as_weights(self, broken):
        (broken / "model.safetensors").write_bytes(bytes(range(256)) * 20)
        assert "ModelFormatError" in refusal(broken)

    def test_a_pointer_of_git_lfs_as_weights(self, broken):
        (broken / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        assert "git lfs pull" in refusal(broken)

    def test_a_missing_file_of_several(self, saved, tmp_path, word_tokenizer):
        with quiet():
            load_transformers(saved).model.save_pretrained(tmp_path, max_shard_size="20KB")
            word_tokenizer.save_pretrained(tmp_path)
        first = sorted(tmp_path.glob("model-*.safetensors"))[0]
        first.unlink()
        message = refusal(tmp_path)
        assert "lacks 1 of" in message
        assert first.name in message

    def test_an_index_that_leads_out_of_the_directory(self, saved, broken, tmp_path):
        (broken / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
        (broken / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": {"lm_head.weight": "../elsewhere.safetensors"}})
        )
        assert "ModelFormatError" in refusal(broken)

    def test_weights_that_lack_a_tensor_are_not_made_up(self, broken):
        weights = load_file(broken / "model.safetensors")
        del weights["model.layers.1.mlp.up_proj.weight"]
        save_file(weights, broken / "model.safetensors", {"format": "pt"})
        message = refusal(broken)
        assert "lack 1 tensors" in message
        assert "model.layers.1.mlp.up_proj.weight" in message

    def test_weights_of_another_shape(self, broken):
        edit(broken / "config.json", intermediate_size=40)
        message = refusal(broken)
        assert "'model.layers.0.mlp.down_proj.weight'" in message
        assert "has shape [32, 48] where config.json asks for [32, 40] (9 such tensors)" in message

    def test_no_tokenizer(self, broken):
        (broken / "tokenizer.json").unlink()
        assert "has no tokenizer" in refusal(broken)

    def test_a_tokenizer_that_is_none(self, broken):
        (broken / "tokenizer.json").write_text("{}")
        assert "the tokenizer of" in refusal(broken)

    def test_a_file_instead_of_a_directory(self, saved):
        assert "is a file; give the directory" in refusal(saved / "model.safetensors")


def rewrite(directory: Path, **tensors: torch.Tensor | None) -> None:
    """Change the weights of a directory; None leaves a tensor out."""
    weights = load_file(directory / "model.safetensors") | tensors
    save_file({k: v for k, v in weights.items() if v is not None}, directory / "model.safetensors", {"format": "pt"})


class TestWeightsAndConfigThatDoNotBelongTogether:
    def test_fewer_layers_than_the_weights_hold(self, broken):
        edit(broken / "config.json", num_hidden_layers=2)
        message = refusal(broken)
        assert "hold 9 tensors that config.json (model_type llama) has no place for" in message
        assert "the first is 'model.layers.2.input_layernorm.weight'" in message
        assert "--ignore-unexpected" in message

    def test_an_architecture_read_as_another_one(self, build_network, word_tokenizer, tmp_path):
        with quiet():
            build_network("qwen3", head_dim=8).save_pretrained(tmp_path)
            word_tokenizer.save_pretrained(tmp_path)
        edit(tmp_path / "config.json", model_type="llama", architectures=["LlamaForCausalLM"])
        assert "the first is 'model.layers.0.self_attn.k_norm.weight'" in refusal(tmp_path)

    @pytest.mark.parametrize(
        "name",
        [
            "model.layers.0.self_attn.q_proj.lora_A.weight",
            "model.layers.0.self_attn.q_proj.bias",
            "value_head.weight",
            "model.embed_tokens.modules_to_save.default.weight",
        ],
    )
    def test_a_tensor_without_a_place_is_named_and_left_out_only_when_asked(self, saved, broken, name):
        rewrite(broken, **{name: torch.ones(2, 32)})
        assert repr(name) in refusal(broken)
        logits, _ = load(broken, ignore_unexpected=True).prefill([(1, 2, 3)])
        torch.testing.assert_close(logits, load(saved).prefill([(1, 2, 3)])[0])

    def test_buffers_that_old_checkpoints_hold_have_no_place_and_need_none(self, broken):
        rewrite(broken, **{f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in range(3)})
        assert load(broken).vocab.size == 64

    def test_masks_in_the_weights_of_gpt2_need_no_place(self, build_network, word_tokenizer, tmp_path):
        with quiet():
            build_network("gpt2", n_embd=32, n_layer=2, n_head=4, n_positions=64).save_pretrained(tmp_path)
            word_tokenizer.save_pretrained(tmp_path)
        rewrite(tmp_path, **{"transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64, dtype=torch.bool)})
        rewrite(tmp_path, **{"transformer.h.1.attn.masked_bias": torch.tensor(-1e4)})
        assert load(tmp_path).vocab.size == 64

    def test_a_tied_head_may_be_in_the_weights_or_not(self, build_network, word_tokenizer, tmp_path):
        with quiet():
            build_network("llama", tie_word_embeddings=True).save_pretrained(tmp_path)
            word_tokenizer.save_pretrained(tmp_path)
        assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
        logits, _ = load(tmp_path).prefill([(1, 2, 3)])
        rewrite(tmp_path, **{"lm_head.weight": load_file(tmp_path / "model.safetensors")["model.embed_tokens.weight"]})
        torch.testing.assert_close(load(tmp_path).prefill([(1, 2, 3)])[0], logits)

    def test_an_adapter_beside_the_weights(self, saved, broken):
        (broken / "adapter_config.json").write_text('{"peft_type": "LORA"}')
        message = refusal(broken)
        assert "has adapter_config.json beside its weights, which would be left out" in message
        assert "BASE+ADAPTER" in message
        logits, _ = load(broken, ignore_unexpected=True).prefill([(1, 2, 3)])
        torch.testing.assert_close(logits, load(saved).prefill([(1, 2, 3)])[0])

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("num_hidden_layers", 10**9),
            ("num_hidden_layers", 28),
            ("hidden_size", 10**12),
            ("intermediate_size", 10**9),
            ("vocab_size", 10**15),
            ("num_attention_heads", 10**9),
            ("head_dim", 10**9),
            ("num_key_value_heads", 10**8),
        ],
    )
    def test_a_config_that_asks_for_more_than_the_weights_can_have(self, broken, field, value):
        edit(broken / "config.json", **{field: value})
        message = refusal(broken)
        assert "ModelFormatError" in message
        assert "they do not belong together" in message

    @pytest.mark.parametrize(
        "config",
        [
            {"n_layer": 10**10},
            {"n_positions": 10**9},
            {"n_embd": 10**6},
            {"n_inner": 10**9},
            {"n_head": 10**7},
        ],
    )
    def test_likewise_under_the_names_of_other_architectures(self, build_network, word_tokenizer, tmp_path, config):
        with quiet():
            build_network("gpt2", n_embd=32, n_layer=2, n_head=4, n_positions=64).save_pretrained(tmp_path)
            word_tokenizer.save_pretrained(tmp_path)
        edit(tmp_path / "config.json", **config)
        assert "ModelFormatError" in refusal(tmp_path)


class TestOddNamesAndFiles:
    @pytest.mark.parametrize(
        "name",
        [
            "a" * 300, "a/" + "b" * 300, "./" + "x" * 5000, "~nouser", "~nouser/model", "a\0b", "\0", "\ud800",
            "owner/\ud800", "a\nb", "x" * 100_000, "+", "pocket-nano+", "+adapter",
        ],
    )  # fmt: skip
    def test_a_name_that_no_model_can_have(self, name):
        assert "ModelNotFound: model:" in refusal(name)

    def test_an_adapter_name_that_no_directory_can_have(self):
        assert "ModelNotFound: model:" in refusal("pocket-nano+" + "a" * 300)
        assert "there is no adapter directory 'nowhere'" in refusal("pocket-nano+nowhere")

    @pytest.mark.parametrize(
        "name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
    )
    @pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 5000 + "}", "\udcff"])
    def test_json_nested_too_deeply_or_no_json(self, broken, name, text):
        (broken / name).write_bytes(text.encode(errors="surrogateescape"))
        assert "ModelFormatError" in refusal(broken)

    @pytest.mark.parametrize(
        "header",
        [
            b"[" * 100_000,
            b'{"a": {"dtype": "F32", "shape": "64", "data_offsets": [0, 0]}}',
            b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}',
            b'{"a": {"dtype": 3, "shape": [1], "data_offsets": [0, 0]}}',
            b'{"a": {"shape": [1], "data_offsets": [0, 0]}}',
            b'{"a": 3}',
            b"\xff",
        ],
    )
    def test_headers_of_weights_that_are_none(self, broken, header):
        (broken / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
        assert "ModelFormatError" in refusal(broken)
        with pytest.raises(ModelFormatError):
            model_info(str(broken))

    def test_a_tokenizer_class_for_another_kind_of_tokenizer(self, broken):
        edit(broken / "tokenizer_config.json", tokenizer_class="BertTokenizer")
        assert "ModelFormatError: model: the tokenizer of" in refusal(broken)

    @pytest.mark.parametrize("kind", ["NoSuchTokenizer", "os.system", 3, ["a"], {"a": 1}])
    def test_a_tokenizer_class_that_is_none(self, broken, kind):
        edit(broken / "tokenizer_config.json", tokenizer_class=kind)
        with suppress(ModelFormatError):
            assert load(broken).vocab.encode("w3 w4") == (3, 4)

    def test_messages_quote_two_hundred_characters_at_most(self, broken):
        edit(broken / "config.json", model_type="x" * 100_000)
        assert "x" * 190 in refusal(broken)
        edit(broken / "config.json", model_type="\x1b[31m\u202e\n")
        assert "\\x1b[31m\\u202e\\n" in refusal(broken)


class TestUnsafeAndUnsupported:
    @pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt"])
    def test_a_pickle_is_never_read(self, broken, name):
        (broken / "model.safetensors").rename(broken / name)
        message = refusal(broken)
        assert "a pickle that can run code" in message
        assert "convert it to safetensors" in message

    def test_code_that_comes_with_a_model_is_never_run(self, broken):
        (broken / "modeling_evil.py").write_text("raise SystemExit('the code ran')")
        auto_map = {"AutoConfig": "modeling_evil.Config", "AutoModelForCausalLM": "modeling_evil.Model"}
        edit(broken / "config.json", model_type="evil", auto_map=auto_map)
        assert "runs code of its own, which decodelab never does" in refusal(broken)

    def test_a_known_architecture_that_also_brings_code_is_loaded_without_it(self, broken):
        (broken / "modeling_evil.py").write_text("raise SystemExit('the code ran')")
        edit(broken / "config.json", auto_map={"AutoModelForCausalLM": "modeling_evil.Model"})
        assert load(broken).vocab.size == 64

    def test_an_architecture_nobody_knows(self, broken):
        edit(broken / "config.json", model_type="llamma")
        assert "of type 'llamma', which is not in transformers" in refusal(broken)

    def test_an_encoder_decoder_that_is_not_a_language_model(self, broken):
        edit(broken / "config.json", model_type="whisper", is_encoder_decoder=True)
        assert "of type 'whisper', which is not a language model" in refusal(broken)

    @pytest.mark.parametrize(
        "kind", ["bert", "roberta", "electra", "xlm-roberta", "distilbert", "modernbert", "albert"]
    )
    def test_an_encoder_writes_no_text(self, broken, kind):
        edit(broken / "config.json", model_type=kind, architectures=["SomethingForMaskedLM"])
        message = refusal(broken)
        assert f"of type {kind!r}, an encoder: it reads texts and does not write them" in message
        assert "decodelab measure" in message

    def test_an_encoder_that_was_trained_to_decode_does(self, build_network, word_tokenizer, tmp_path):
        with quiet():
            build_network("bert", is_decoder=True, pad_token_id=0).save_pretrained(tmp_path)
            word_tokenizer.save_pretrained(tmp_path)
        assert load(tmp_path).vocab.size == 64

    @pytest.mark.parametrize(
        "head", ["LlamaForSequenceClassification", "LlamaForTokenClassification", "T5EncoderModel"]
    )
    def test_a_network_with_another_head(self, broken, head):
        edit(broken / "config.json", architectures=[head])
        assert f"was saved as {head!r}, whose head does not predict the next token" in refusal(broken)

    def test_no_language_model_at_all(self, broken):
        edit(broken / "config.json", model_type="vit")
        assert "of type 'vit', which is not a language model" in refusal(broken)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("dtype", "float23", "must be one of auto, float32, bfloat16, float16, got 'float23'; did you mean 'float32'?"),
        ("dtype", "", "must be one of auto"),
        ("device", "gpu", "on this machine, got 'gpu'; use auto"),
        ("device", "cuda:99", "got 'cuda:99'"),
        ("device", "", "use auto"),
    ],
)
def test_a_wrong_device_or_number_format_is_refused(saved, option, value, words):
    assert words in refusal(saved, **{option: value})


def test_the_error_types_tell_not_found_from_broken_from_unsupported(broken):
    assert issubclass(ModelNotFound, ModelError)
    assert issubclass(ModelFormatError, ModelError)
    edit(broken / "config.json", model_type="t5")
    with pytest.raises(ModelError) as caught:
        load(broken)
    assert type(caught.value) is ModelError


def test_loading_is_silent_and_leaves_logging_and_warnings_alone(saved, capfd, caplog):
    def settings():
        return (
            transformers_logging.get_verbosity(),
            transformers_logging.is_progress_bar_enabled(),
            list(warnings.filters),
            logging.getLogger().handlers[:],
        )

    before = settings()
    load(saved)
    assert settings() == before
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_a_token_of_the_hub_that_cannot_be_sent_is_refused_and_not_shown(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_s\xe9cret")
    with pytest.raises(RequestError, match="HF_TOKEN is no key: character 5 of 9") as error:
        load("nobody/no-such-model")
    assert "cret" not in str(error.value)
