"""`Pretrained`: how models of transformers are loaded, and what decoder-only and encoder-decoder models share."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from decodelab.core.errors import ModelError, ModelFormatError, did_you_mean
from decodelab.core.quiet import quiet
from decodelab.models import checkpoint
from decodelab.models.checkpoint import TOKENIZER_FILES, is_encoder_decoder, one_line, read_config, weight_files

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Pretrained:
    """A network of transformers with its tokenizer: what models of either kind are.

    Args:
        model: a `PreTrainedModel`, already on its device.
        tokenizer: its tokenizer.
        name: what to call it; None: its architecture.
        directory: where it was loaded from; its files give digest and settings.

    Attributes:
        vocab_size: how many ids its logits range over.
        eos_ids: all tokens that end a sequence, by its settings and its tokenizer.
        bos_id: the token that begins a sequence, if any.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str | None = None, directory: Path | None = None) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name or str(model.config.model_type)
        self.directory = directory
        head, own = model.get_output_embeddings(), model.generation_config
        config = model.config.get_text_config(decoder=True)
        self.vocab_size: int = config.vocab_size if head is None else head.weight.shape[0]
        eos = None if own is None else own.eos_token_id
        ids = [] if eos is None else [eos] if isinstance(eos, int) else list(eos)
        if tokenizer.eos_token_id is not None:
            ids.append(tokenizer.eos_token_id)
        self.eos_ids: tuple[int, ...] = tuple(dict.fromkeys(ids))
        self.bos_id: int | None = tokenizer.bos_token_id
        if self.bos_id is None and own is not None:
            self.bos_id = own.bos_token_id
        self._generation_config = self._settings()

    @property
    def digest(self) -> str:
        """SHA-256 over configuration, weights and tokenizer, in hex; computed when first asked for."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        if self.directory is not None:
            return checkpoint.digest(self.directory)
        sha = hashlib.sha256(self.model.config.to_json_string().encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            sha.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        for piece, token in sorted(self.tokenizer.get_vocab().items()):
            sha.update(f"{piece}\0{token}\0".encode())
        return sha.hexdigest()

    @property
    def generation_config(self) -> dict[str, Any]:
        """The generation settings that the model sets itself, in transformers' names, token ids left out."""
        return dict(self._generation_config)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of its weights."""
        return self.model.dtype

    def _settings(self) -> dict[str, Any]:
        """The generation settings of its directory, or else of the network."""
        if self.directory is not None:
            return checkpoint.generation_settings(self.directory)
        own = self.model.generation_config
        return checkpoint.own_settings(own.to_diff_dict() if own is not None else {})


def load_pretrained(path_or_id: str | Path, dtype: str, device: str) -> tuple[Any, Any, Path]:
    """Load a directory, or a model of the Hugging Face hub by its id, from safetensors and without remote code.

    Args:
        path_or_id: a directory as `save_pretrained` writes it, or `owner/name`.
        dtype: float32, bfloat16, float16, or auto: float32 on CPU, the checkpoint's own elsewhere.
        device: cpu, cuda, cuda:N, mps, or auto: the first there is of CUDA, MPS and CPU.

    Returns:
        The network on its device, its tokenizer and the directory.

    Raises:
        ModelNotFound: when there is no such directory or hub model.
        ModelFormatError: when it is incomplete, damaged, or not in safetensors.
        ModelError: when transformers has no language model for it, or the device or dtype is not there.
    """
    place = _device_named(device)
    kind = _dtype_named(dtype, place)
    directory = checkpoint.locate(path_or_id)
    model, tokenizer = _read(directory, kind)
    return model.to(place), tokenizer, directory


def _read(directory: Path, dtype: Any) -> tuple[Any, Any]:
    """Load the model and tokenizer of a directory on CPU; `dtype` is a torch dtype, or None for the checkpoint's own.

    Raises:
        ModelNotFound: when it is not there.
        ModelFormatError: when it is incomplete, damaged or unsafe.
        ModelError: when transformers has no language model for it.
    """
    config = read_config(directory)
    weight_files(directory)
    if not any((directory / name).is_file() for name in TOKENIZER_FILES):
        raise ModelFormatError(
            f"model: {str(directory)!r} has no tokenizer (tokenizer.json); save the tokenizer beside the model"
        )
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )

    kind = config["model_type"]
    if kind not in CONFIG_MAPPING:
        why = "runs code of its own, which decodelab never does" if "auto_map" in config else "is not in transformers"
        raise ModelError(f"model: {str(directory)!r} is of type {kind!r}, which {why}; use another model")
    pair = is_encoder_decoder(config)
    if kind not in (MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES if pair else MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        raise ModelError(
            f"model: {str(directory)!r} is of type {kind!r}, which is not a language model; choose another"
        )
    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # the tokenizers library raises bare Exception
            raise ModelFormatError(
                f"model: the tokenizer of {str(directory)!r} cannot be read ({one_line(error)}); get a complete copy"
            ) from error
        try:
            loaded: Any = (AutoModelForSeq2SeqLM if pair else AutoModelForCausalLM).from_pretrained(
                directory,
                dtype="auto" if dtype is None else dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
        except Exception as error:
            raise ModelFormatError(
                f"model: {str(directory)!r} cannot be loaded ({one_line(error)}); get a complete copy"
            ) from error
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelFormatError(
            f"model: the weights of {str(directory)!r} lack {len(missing)} tensors, the first is {missing[0]}; "
            "get a complete copy"
        )
    return model, tokenizer


def _device_named(name: str) -> torch.device:
    """The device of that name, checked to be there.

    Raises:
        ModelError: when there is no such device.
    """
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    there = ["cpu"]
    there += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))] if torch.cuda.is_available() else []
    there += ["mps"] if torch.backends.mps.is_available() else []
    if name not in there:
        raise ModelError(f"device: must be one of auto, {', '.join(there)} on this machine, got {name!r}; use auto")
    return torch.device(name)


def _dtype_named(name: str, device: torch.device) -> torch.dtype | None:
    """The number format of that name; None means the checkpoint's own.

    Raises:
        ModelError: when the name is unknown.
    """
    if name == "auto":
        return torch.float32 if device.type == "cpu" else None
    if name not in _DTYPES:
        allowed = ", ".join(["auto", *_DTYPES])
        raise ModelError(f"dtype: must be one of {allowed}, got {name!r}{did_you_mean(name, _DTYPES) or '; use auto'}")
    return _DTYPES[name]
