"""A GGUF file holds the model: the weights, how texts are split, and what ends them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

import decodelab as dl
from decodelab.core.errors import ModelError
from decodelab.models.gguf_export import export_gguf
from decodelab.models.loading import model_info
from decodelab.pocket.language import task

gguf: Any = pytest.importorskip("gguf", reason="needs the gguf package: pip install 'decodelab[gguf]'")
TASKS = ("choice", "sums", "paths", "stories", "code", "instructions", "summaries")


def prompts(count: int) -> list[str]:
    """Prompts of the pocket language."""
    return [task(TASKS[seed % len(TASKS)]).generate(seed, "test").prompt for seed in range(count)]


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pocket-nano as GGUF."""
    file = tmp_path_factory.mktemp("gguf") / "nano.gguf"
    assert export_gguf("pocket-nano", file) == file.stat().st_size
    return file


def field(file: Path, name: str) -> Any:
    """A value of a file."""
    return gguf.GGUFReader(file).fields[name].contents()


def test_transformers_reads_the_same_weights_from_it(nano: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    read = AutoModelForCausalLM.from_pretrained(nano.parent, gguf_file=nano.name, dtype=torch.float32)
    own = AutoModelForCausalLM.from_pretrained(model_info("pocket-nano").path, dtype=torch.float32)
    theirs = read.state_dict()
    for name, values in own.state_dict().items():
        assert torch.equal(values, theirs[name]), name
    for name in ("max_position_embeddings", "num_key_value_heads", "rms_norm_eps", "vocab_size"):
        assert getattr(read.config, name) == pytest.approx(getattr(own.config, name), rel=1e-6)


def test_texts_are_split_as_llama_cpp_splits_them(nano: Path) -> None:
    """Read as llama.cpp reads the file: pieces of its users first, then digits, then GPT-2's pattern, then merges."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

    from decodelab.models.gguf_export import _SPLITS  # pyright: ignore[reportPrivateUsage]

    assert field(nano, "tokenizer.ggml.pre") == "smollm"
    pieces, types = field(nano, "tokenizer.ggml.tokens"), field(nano, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in field(nano, "tokenizer.ggml.merges")]
    users = [i for i, kind in enumerate(types) if kind == 4]
    assert sorted(pieces[i] for i in users) == sorted(f"{space}{x})" for x in "ABCD" for space in ("", " ("))
    spelt = {i: pieces[i].replace(" ", "\u0120") for i in users}
    vocab = {spelt.get(i, piece): i for i, piece in enumerate(pieces)}
    theirs = Tokenizer(models.BPE(vocab, merges))
    digits, pattern = _SPLITS["smollm"].split("|", 1)
    theirs.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(digits), "isolated"),
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    theirs.add_special_tokens([piece for piece, kind in zip(pieces, types, strict=True) if kind == 3])
    size = theirs.get_vocab_size()
    theirs.add_tokens([AddedToken(pieces[i], normalized=False) for i in users])
    ids = {size + at: i for at, i in enumerate(i for i in users if spelt[i] != pieces[i])}
    vocabulary = dl.load("pocket-nano").vocab
    for prompt in prompts(40):
        read = [1, *(ids.get(token, token) for token in theirs.encode(prompt).ids)]
        assert read == list(vocabulary.encode(prompt)), prompt


def test_what_begins_and_ends_a_text_and_how_chats_are_written(nano: Path) -> None:
    assert [field(nano, f"tokenizer.ggml.{role}_token_id") for role in ("bos", "eos", "padding")] == [1, 2, 0]
    assert field(nano, "tokenizer.ggml.add_bos_token") is True
    assert "generation %}" not in field(nano, "tokenizer.chat_template")


def test_half_precision_halves_the_matrices(nano: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.gguf"
    assert export_gguf("pocket-nano", half, "f16") < 0.6 * nano.stat().st_size
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(half).tensors}
    assert kinds["token_embd.weight"] == "F16"
    assert kinds["output_norm.weight"] == "F32"


def test_other_models_are_refused_and_nothing_is_written(tmp_path: Path, stories260k_dir: Path) -> None:
    file = tmp_path / "x.gguf"
    with pytest.raises(ModelError, match=r"only tokenizers|cannot split texts"):
        export_gguf(str(stories260k_dir), file)
    with pytest.raises(ModelError, match="has an adapter"):
        export_gguf("pocket-nano+./adapter", file)
    own = tmp_path / "gpt2"
    own.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        (own / name).write_bytes((Path(model_info("pocket-nano").path) / name).read_bytes())
    split = json.loads((own / "tokenizer.json").read_text())
    split["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+|\W+"
    (own / "tokenizer.json").write_text(json.dumps(split))
    with pytest.raises(ModelError, match=r"llama\.cpp cannot split texts"):
        export_gguf(str(own), file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpt2"]


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None, reason="needs llama-cpp-python (make peers), which is compiled"
)
@pytest.mark.parametrize("name", ["pocket-nano", "pocket-small"])
def test_llama_cpp_writes_the_same_greedy_texts(name: str, tmp_path: Path) -> None:
    import llama_cpp  # pyright: ignore[reportMissingImports]

    export_gguf(name, tmp_path / "model.gguf")
    theirs: Any = llama_cpp.Llama(str(tmp_path / "model.gguf"), n_ctx=512, verbose=False)
    asked = prompts(40)
    for prompt, made in zip(asked, dl.generate(name, asked, "greedy", max_new_tokens=40), strict=True):
        answer = theirs.create_completion(prompt, max_tokens=40, temperature=0.0, top_k=1, repeat_penalty=1.0)
        assert answer["choices"][0]["text"] == made.best.text, prompt
