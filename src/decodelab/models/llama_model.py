"""`LlamaModel`: Llama networks that are read and computed here, without transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import linear

from decodelab.models.arithmetic import Arithmetic
from decodelab.models.cache import KeyValueCache
from decodelab.models.checked_files import CheckedFiles
from decodelab.models.decoder import Decoder
from decodelab.models.direct import Direct, Projection, Weights
from decodelab.models.growing_layer import GrowingLayer
from decodelab.models.json_tokenizer import json_tokenizer
from decodelab.models.llama_config import llama_config
from decodelab.models.llama_weights import llama_tensors, llama_weights
from decodelab.models.pretrained import Declared

STORED = frozenset({"F32", "BF16", "F16"})
"""Number formats of stored weights, as safetensors names them."""


class LlamaModel(Decoder):
    """A Llama network on a CPU, from the files of its directory.

    Same logits to the last bit, texts and digest as the `TransformersModel` of the same directory. Importing
    transformers takes several times longer than loading and asking a small model.

    Args:
        weights: those of the network.
        tokenizer: a `JsonTokenizer`.
        declared: what its configurations say.
        name: what to call it.
        directory: where it was loaded from; its files give digest and settings.

    Attributes:
        name: the name it was loaded under.
        vocab: its tokenizer, over as many ids as the logits have.
        context_length: the longest sequence it can hold.
    """

    def __init__(
        self, weights: Weights, tokenizer: Any, declared: Declared, *, name: str, directory: Path | None
    ) -> None:
        super().__init__(tokenizer, declared, name=name, directory=directory)
        self._direct = Direct(weights)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.embeddings.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of its weights."""
        return self.embeddings.dtype

    @property
    def weights(self) -> Sequence[Tensor]:
        """Its weights, each once."""
        return list(self._direct.weights.tensors())

    @property
    def embeddings(self) -> Tensor:
        """The vectors that stand for its tokens, [vocab, width]."""
        return self._direct.embeddings

    @property
    def depth(self) -> int:
        """How many blocks it has."""
        return len(self._direct.weights.blocks)

    @property
    def tied(self) -> bool:
        """Whether embedding and head share their weights."""
        return self._direct.head.weight is self.embeddings

    def arithmetic(self) -> Arithmetic:
        """What it multiplies."""
        blocks = self._direct.weights.blocks
        parts = (part for block in blocks for part in block if isinstance(part, Projection))
        return Arithmetic(
            body=sum(part.weight.numel() for part in parts),
            head=self._direct.head.weight.numel(),
            attention=sum(block.query.weight.shape[0] for block in blocks),
        )

    @torch.inference_mode()
    def early_exit_logits(self, hidden: Tensor) -> Tensor:
        """The head's logits [..., vocab] of hidden states [..., width], without the final norm."""
        return linear(hidden, *self._direct.head)

    def _empty(self, pads: Sequence[int]) -> KeyValueCache:
        return KeyValueCache([GrowingLayer() for _ in range(self.depth)], pads, self.device, self._unshared)

    def _forward(
        self, ids: Tensor, cache: KeyValueCache, last: bool = False, shown: list[Tensor] | None = None
    ) -> Tensor:
        return self._direct(ids, cache, last, shown)


def llama_model(files: CheckedFiles, dtype: torch.dtype, name: str) -> LlamaModel | None:
    """The model of a directory, on the CPU; None when its files say anything that is not known exactly.

    Args:
        files: the directory.
        dtype: the number format to compute in.
        name: what to call it.
    """
    directory = files.directory
    try:
        generation = directory / "generation_config.json"
        said = json.loads(generation.read_text(encoding="utf-8")) if generation.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    if said is not None and not isinstance(said, dict):
        return None
    config = llama_config(files.config, said)
    if config is None or config.shapes() != {name: tuple(tensor["shape"]) for name, tensor in files.tensors.items()}:
        return None
    if not STORED.issuperset(tensor["dtype"] for tensor in files.tensors.values()):
        return None
    tokenizer = json_tokenizer(directory)
    if tokenizer is None:
        return None
    try:
        weights = llama_weights(llama_tensors(directory, dtype), config, dtype)
    except (SafetensorError, OSError, RuntimeError):  # transformers tells what is wrong with them
        return None
    return LlamaModel(weights, tokenizer, config.declared, name=name, directory=directory)
