"""Llama networks as GGUF files, which llama.cpp and what is built on it read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import regex

from decodelab.core.errors import ModelError, quoted
from decodelab.io.atomic import check_writable, writing
from decodelab.models.checkpoint import as_path, read_config
from decodelab.models.json_tokenizer import JsonTokenizer, json_tokenizer
from decodelab.models.llama_config import LlamaConfig, llama_config
from decodelab.models.llama_weights import llama_tensors
from decodelab.models.loading import model_info

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

NumberFormat = Literal["f32", "f16"]
"""How the matrices are written; vectors are always f32."""

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_POCKET = r" ?\([A-Z]\)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
_SPLITS: dict[str, str] = {"gpt-2": _GPT2, "smollm": rf"\p{{N}}|{_GPT2}", "llama-bpe": _LLAMA_3}
"""How llama.cpp splits a text before it merges, by the names that a file may give; it knows no others."""
_UNNAMED = "[unused {}]"
_GENERATION = re.compile(r"(\{%-?\s*)(end)?generation(\s*-?%\})")
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
"""Types of tokens."""


def export_gguf(model: str, file: Path, dtype: NumberFormat = "f32") -> int:
    """Write a model of the Llama architecture as a GGUF file, whole or not at all.

    The weights, the tokenizer (byte-level BPE), and the chat template are written. With "f32" all weights are written
    exactly; "f16" halves the size. llama.cpp knows a fixed list of ways to split texts before it merges; a tokenizer
    that splits in another way is refused, but for that of the pocket models, which differs where two or more spaces or
    line ends stand before a digit, and at one capital letter before or in brackets that touch other marks.

    Args:
        model: a shipped model, or the directory of one.
        file: where to write it.
        dtype: "f32" or "f16".

    Returns:
        The size of the file in bytes.

    Raises:
        ModelError: for another architecture or tokenizer, weights out of the range of f16, and without the gguf
            package.
        OutputError: if the file cannot be written.

    Source: the GGUF specification, and `convert_hf_to_gguf.py` of llama.cpp for the order of rotary dimensions.
    """
    gguf = _package()
    check_writable(file)
    if "+" in model and not as_path(model).exists():
        raise ModelError(f"export: {quoted(model)} has an adapter, which is not exported; merge it into its base first")
    directory = Path(model_info(model).path)
    written = directory / "generation_config.json"
    generation = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else None
    config = llama_config(read_config(directory), generation)
    tokenizer = json_tokenizer(directory)
    if config is None or tokenizer is None:
        what = "a Llama network with plain rotary positions" if config is None else "a byte-level BPE in tokenizer.json"
        raise ModelError(
            f"export: {quoted(model)} is not {what}, which is all that is exported; convert it by llama.cpp"
        )
    with writing(file) as part:
        writer = gguf.GGUFWriter(part, "llama")
        _write_sizes(writer, Path(model).name, config)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if dtype == "f16" else gguf.LlamaFileType.ALL_F32)
        _write_tokenizer(writer, model, config, tokenizer)
        for name, values in _arrays(directory, config, dtype):
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return part.stat().st_size


def _package() -> Any:
    try:
        return import_module("gguf")
    except ImportError:
        raise ModelError(
            "export: GGUF needs the gguf package, which is not installed; pip install 'decodelab[gguf]'"
        ) from None


def _write_sizes(writer: Any, name: str, config: LlamaConfig) -> None:
    writer.add_name(name)
    writer.add_vocab_size(config.vocab)
    writer.add_context_length(config.declared.context_length)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.inner)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kinds)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.theta)
    writer.add_layer_norm_rms_eps(config.epsilon)


def _write_tokenizer(writer: Any, model: str, config: LlamaConfig, tokenizer: JsonTokenizer) -> None:
    written = json.loads(tokenizer.backend_tokenizer.to_str())
    split = _split(written)
    if split is None:
        raise ModelError(
            f"export: llama.cpp cannot split texts as the tokenizer of {quoted(model)} does; give it token ids, or "
            "another tokenizer"
        )
    pieces, types = _tokens(written, config.vocab, _SPLITS[split])
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in written["model"]["merges"]]
    framed = tokenizer("a")["input_ids"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(pieces)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    ends = config.declared.generation.get("eos_token_id")
    ids = {"bos": tokenizer.bos_token_id, "eos": ends[0] if isinstance(ends, list) else ends}
    pad = tokenizer.special_tokens_map.get("pad_token")
    ids["pad"] = None if pad is None else tokenizer.backend_tokenizer.token_to_id(pad)
    for role, token in ids.items():
        if token is not None:
            getattr(writer, f"add_{role}_token_id")(token)
    writer.add_add_bos_token(framed[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(False)
    if tokenizer.chat_template:
        writer.add_chat_template(plain_template(tokenizer.chat_template))


def plain_template(template: str) -> str:
    """A chat template without the mark of transformers around what the assistant writes, unknown elsewhere.

    >>> plain_template("{%- generation -%}{{ text }}{% endgeneration %}")
    '{%- if true -%}{{ text }}{% endif %}'
    """
    return _GENERATION.sub(lambda found: f"{found[1]}{'endif' if found[2] else 'if true'}{found[3]}", template)


def _split(written: Mapping[str, Any]) -> str | None:
    """What llama.cpp calls the way in which a tokenizer splits texts; None if it has none."""
    model, steps = written["model"], written["pre_tokenizer"] or {}
    steps = steps.get("pretokenizers", [steps])
    plain = model["type"] == "BPE" and not (written["normalizer"] or model.get("byte_fallback") or model.get("dropout"))
    marks = ("lstrip", "rstrip", "single_word")
    if not plain or any(token[mark] for token in written["added_tokens"] for mark in marks):
        return None
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space", True):
        return None
    before = [(step["type"], step.get("pattern", {}).get("Regex"), step.get("behavior")) for step in steps[:-1]]
    if steps[-1].get("use_regex", True):
        digits = len(steps) == 2 and steps[0] == {"type": "Digits", "individual_digits": True}
        return "gpt-2" if not before else "smollm" if digits else None
    known = {_POCKET: "smollm", _LLAMA_3: "llama-bpe", _GPT2: "gpt-2"}
    return known.get(before[0][1]) if len(before) == 1 and before[0][::2] == ("Split", "Isolated") else None


def _tokens(written: Mapping[str, Any], size: int, split: str) -> tuple[list[str], list[int]]:
    """The pieces by id, and their types.

    A piece that is split apart before merging is never merged, so llama.cpp is told to look for it in the text itself.
    """
    names = {token: piece for piece, token in written["model"]["vocab"].items()}
    added = {token["id"]: token for token in written["added_tokens"]}
    splits, letters = regex.compile(split), _byte_letters()
    pieces, types = [], list[int]()
    for token in range(size):
        if token in added:
            pieces.append(added[token]["content"])
            types.append(_CONTROL if added[token]["special"] else _USER_DEFINED)
            continue
        piece = names.get(token)
        if piece is None:
            pieces.append(_UNNAMED.format(token))
            types.append(_UNUSED)
            continue
        text = bytes(letters[c] for c in piece).decode(errors="replace")
        apart = "\ufffd" not in text and splits.fullmatch(text) is None
        pieces.append(text if apart else piece)
        types.append(_USER_DEFINED if apart else _NORMAL)
    return pieces, types


def _byte_letters() -> dict[str, int]:
    """The bytes by the characters that byte-level BPE writes for them."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in set(printed)]
    return {chr(byte): byte for byte in printed} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
_WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_IN_BLOCK = re.compile(r"model\.layers\.(\d+)\.(.+)")


def _arrays(directory: Path, config: LlamaConfig, dtype: NumberFormat) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """The tensors by the names of GGUF; tied embeddings are written once."""
    import torch

    tensors = llama_tensors(directory, torch.float32)
    for name in config.shapes():
        stem, _, kind = name.rpartition(".")
        values = tensors[name]
        if found := _IN_BLOCK.fullmatch(stem):
            if found[2] in ("self_attn.q_proj", "self_attn.k_proj"):
                values = _interleaved(values, config.heads if "q_proj" in stem else config.kinds)
            stem = f"blk.{found[1]}.{_NAMES[found[2]]}"
        else:
            stem = _WHOLE[stem]
        array: np.ndarray[Any, Any] = values.numpy()
        if dtype == "f16" and array.ndim == 2:
            if float(values.abs().max()) > torch.finfo(torch.float16).max:
                raise ModelError(f"export: the weights {stem} do not fit f16; write f32")
            array = values.to(torch.float16).numpy()
        yield f"{stem}.{kind}", array


def _interleaved(values: Tensor, heads: int) -> Tensor:
    """Rows of queries or keys with the two halves of each head by turns, as llama.cpp rotates them."""
    apart = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return apart.transpose(1, 2).reshape(values.shape).contiguous()
