"""Llama networks with a head for labels that are read and computed here, without transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from decodelab.core.values import Tokens
from decodelab.models.checked_files import CheckedFiles
from decodelab.models.direct import Projection
from decodelab.models.json_tokenizer import json_tokenizer
from decodelab.models.llama_config import llama_config
from decodelab.models.llama_model import STORED, LlamaModel
from decodelab.models.llama_weights import llama_tensors, llama_weights
from decodelab.models.rater import CausalRater, Head

HEAD = "score.weight"
_LABELS = ("id2label", "label2id", "num_labels", "problem_type")
_CLASS = ["LlamaForSequenceClassification"]


def llama_rater(files: CheckedFiles, dtype: torch.dtype, name: str) -> tuple[Head, Any] | None:
    """The network of a directory, on the CPU, and its tokenizer; None when its files say anything not known exactly.

    Args:
        files: the directory.
        dtype: the number format to compute in.
        name: what to call it.
    """
    if files.config.get("architectures") != _CLASS or (files.directory / "generation_config.json").is_file():
        return None
    said: Mapping[str, Any] = {key: value for key, value in files.config.items() if key not in _LABELS}
    config = llama_config({**said, "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}, None)
    shapes = {tensor: tuple(entry["shape"]) for tensor, entry in files.tensors.items()}
    head = shapes.pop(HEAD, ())
    if config is None or config.shapes() != shapes or len(head) != 2 or head[1] != config.width:
        return None
    if not STORED.issuperset(tensor["dtype"] for tensor in files.tensors.values()):
        return None
    tokenizer = json_tokenizer(files.directory)
    if tokenizer is None:
        return None
    try:
        tensors = llama_tensors(files.directory, dtype)
    except (SafetensorError, OSError, RuntimeError):  # transformers tells what is wrong with them
        return None
    weights = replace(llama_weights(tensors, config, dtype), head=Projection(tensors[HEAD]))
    model = LlamaModel(weights, tokenizer, config.declared, name=name, directory=None)

    def begin(tokens: Tokens) -> tuple[Tensor, Any]:
        logits, cache = model.prefill([tokens])
        return logits[0], cache

    def go_on(cache: Any, tokens: Tensor) -> Tensor:
        return model.decode(cache.select(torch.zeros(len(tokens), dtype=torch.int64)), tokens)[0]

    return Head(CausalRater(begin, go_on), head[0], config.vocab), tokenizer
