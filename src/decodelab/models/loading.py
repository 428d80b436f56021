"""Models by name: those that ship with the package, directories, tables and the hub."""

from __future__ import annotations

import importlib.resources
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decodelab.core.errors import ModelError, ModelFormatError, ModelNotFound, did_you_mean, quoted
from decodelab.core.glossary import HUB_NAMES
from decodelab.core.notices import ModelNotice
from decodelab.core.servers import names_server
from decodelab.models import checkpoint
from decodelab.models.adapters import split_adapters
from decodelab.models.checked_files import CheckedFiles, checked_files
from decodelab.models.checkpoint import ModelInfo
from decodelab.models.ingredients import digest_of

if TYPE_CHECKING:
    import torch

    from decodelab.core.protocols import LanguageModel
    from decodelab.models.encoder_decoder import EncoderDecoderModel
    from decodelab.models.llama_model import LlamaModel
    from decodelab.models.rater import Head
    from decodelab.models.reward_model import PretrainedReward
    from decodelab.models.transformers_model import TransformersModel


_WRITERS, _VERIFIERS = "shipped", "shipped_verifiers"
"""The folders of language models, and of reward models."""


def _shipped(folder_name: str = _WRITERS) -> dict[str, Path]:
    """The models of a folder inside the package, by name."""
    folder = Path(str(importlib.resources.files("decodelab.models") / folder_name))
    if not folder.is_dir():
        return {}
    return {path.name: path for path in sorted(folder.iterdir()) if (path / "config.json").is_file()}


def list_verifiers() -> list[ModelInfo]:
    """Describe the reward models that ship with the package, for `reward(model=...)`, without loading any.

    >>> [model.name for model in list_verifiers()]
    ['pocket-verifier']
    """
    return [checkpoint.info(path, name) for name, path in _shipped(_VERIFIERS).items()]


def list_models() -> list[ModelInfo]:
    """Describe the models that ship with the package, without loading any.

    >>> [model.name for model in list_models()]
    ['pocket-nano', 'pocket-small']
    """
    return [checkpoint.info(path, name) for name, path in _shipped().items()]


def model_info(name: str) -> ModelInfo:
    """Describe a shipped model, one that rates included, or a model directory, without loading it; with an adapter, its
    base.

    Raises:
        ModelNotFound: when there is neither.
        ModelFormatError: when the directory is incomplete or damaged.
    """
    shipped, (name, _) = _shipped() | _shipped(_VERIFIERS), split_adapters(name, _known)
    return checkpoint.info(shipped[name], name) if name in shipped else checkpoint.info(checkpoint.as_path(name))


def settings_of(name: str) -> dict[str, Any] | None:
    """The generation settings of a model, read without loading it; None for a hub model, which is not read.

    Raises:
        ModelNotFound: when there is no such model.
        ModelFormatError: when its files are incomplete or damaged.

    >>> settings_of("pocket-nano")
    {'do_sample': True, 'temperature': 0.7, 'top_p': 0.9}
    """
    name, _ = split_adapters(name, _known)
    shipped, path = _shipped(), checkpoint.as_path(name)
    if name in shipped or path.is_dir():
        model_info(name)
        return checkpoint.generation_settings(shipped.get(name, path))
    if path.suffix in (".yaml", ".yml") or not checkpoint.is_hub_id(name):
        return load(name).generation_config
    return None


def files_digest(name: str) -> str:
    """The digest of a model's files, without loading it where it is a directory; other than that of the loaded model.

    Raises:
        ModelNotFound: when there is no such model.
        ModelFormatError: when its files are incomplete or damaged.
    """
    base, adapters = split_adapters(name, _known)
    directory = _shipped().get(base) or checkpoint.as_path(base)
    return digest_of([directory, *adapters], {}) if directory.is_dir() else load(name).digest


def load(
    name: str | Path, *, dtype: str = "auto", device: str = "auto", ignore_unexpected: bool = False
) -> LanguageModel:
    """Load a language model by name.

    Args:
        name: a shipped model (`decodelab models` lists them), a model directory, a `.yaml` file of a
            `TableModel`, or the id of a hub model, `owner/name`. A shipped name wins over a directory of that
            name: write `./name` for the directory. `BASE+ADAPTER` is a model with an adapter of peft, a
            directory, merged into its weights.
        dtype: float32, bfloat16, float16, or auto: float32 on CPU, the checkpoint's own elsewhere.
        device: cpu, cuda, cuda:N, mps, or auto: the first there is of CUDA, MPS and CPU.
        ignore_unexpected: load weights although they hold tensors that the configuration has no place for.

    Raises:
        ModelNotFound: when there is no such model.
        ModelFormatError: when its files are incomplete, damaged, in an unsafe format, or do not fit together.
        ModelError: when it cannot be used here: an unsupported architecture, an encoder, no such device.

    >>> load("pocket-nano").context_length
    512
    """
    text = _checked_name(name)
    base, adapters = split_adapters(text, _known)
    path = checkpoint.as_path(base)
    if path.suffix in (".yaml", ".yml") and not adapters:
        from decodelab.models.table import TableModel

        return TableModel.from_yaml(path)
    files, kind, place = _files(base, dtype, device, ignore_unexpected)
    found: LlamaModel | TransformersModel | EncoderDecoderModel | None = None
    if kind is not None and place.type == "cpu" and not adapters:
        from decodelab.models.llama_model import llama_model

        found = llama_model(files, kind, text)
    found = found or _with_transformers(files, text, kind, place, adapters, ignore_unexpected)
    _note_unfollowed(found)
    return found


def load_reward(name: str, *, device: str = "auto") -> PretrainedReward:
    """Load a reward model, a network that rates texts, by name.

    Args:
        name: a verifier that ships, a directory, or the id of a hub model, of a sequence or token classifier.
        device: as for `load`.

    Raises:
        ModelNotFound: when there is no such model.
        ModelFormatError: when its files are incomplete, damaged, in an unsafe format, or do not fit together.
        ModelError: when its head does not rate texts.

    >>> load_reward("pocket-verifier").labels
    ('wrong', 'right')
    """
    from decodelab.models.reward_model import PretrainedReward

    files, kind, place = _files(_checked_name(name), "auto", device, False, _shipped(_VERIFIERS))
    found: tuple[Head, Any] | None = None
    if kind is not None and place.type == "cpu":
        from decodelab.models.llama_rater import llama_rater

        found = llama_rater(files, kind, name)
    if found is None:
        from decodelab.models.transformers_files import read_classifier
        from decodelab.models.transformers_rater import head_of

        network, tokenizer = read_classifier(files, kind, place)
        head = head_of(network)
        if head is None:
            raise ModelError(
                f"reward: {quoted(name)} is a token classifier that is not causal, so no token stands for the text "
                "before it; take a ...ForSequenceClassification"
            )
        found = head, tokenizer
    return PretrainedReward(*found, files.config, name=name)


def reward_digest(name: str) -> str:
    """The digest of a reward model's files, without loading it.

    Raises:
        ModelNotFound: when there is no such model.
        ModelFormatError: when its files are incomplete or damaged.
    """
    return digest_of([_located(name, _shipped(_VERIFIERS))], {})


def load_transformers(
    name: str | Path, *, dtype: str = "auto", device: str = "auto", ignore_unexpected: bool = False
) -> TransformersModel:
    """Load a decoder-only language model with the network and the tokenizer of transformers.

    As `load`, which reads some models without that library: texts, logits and digest are the same. For what needs the
    objects of transformers themselves, `model` and `tokenizer`.

    Args:
        name: as for `load`; no table.
        dtype: as for `load`.
        device: as for `load`.
        ignore_unexpected: as for `load`.

    Raises:
        ModelNotFound: when there is no such model.
        ModelFormatError: when its files are incomplete, damaged, in an unsafe format, or do not fit together.
        ModelError: when it cannot be used here, or is no decoder-only model of transformers.

    >>> load_transformers("pocket-nano").model.config.num_hidden_layers
    4
    """
    from decodelab.models.transformers_model import TransformersModel

    text = _checked_name(name)
    base, adapters = split_adapters(text, _known)
    files, kind, place = _files(base, dtype, device, ignore_unexpected)
    found = _with_transformers(files, text, kind, place, adapters, ignore_unexpected)
    if not isinstance(found, TransformersModel):
        raise ModelError(f"model: {quoted(text)} is an encoder-decoder model; load gives its network, too")
    _note_unfollowed(found)
    return found


def _checked_name(name: str | Path) -> str:
    """A name, which is not empty and not a server.

    Raises:
        ModelNotFound: when it is empty.
        ModelError: when it is a server.
    """
    text = str(name)
    if not text.strip():
        listed = ", ".join(_shipped()) or "none"
        raise ModelNotFound(f"model: a name is needed, got {quoted(text)}; shipped models are {listed}")
    if names_server(text):
        raise ModelError(
            f"model: {quoted(text)} is a server's, which shows texts and no logits; this needs a local model: give a "
            "directory or a shipped model"
        )
    return text


def _files(
    base: str, dtype: str, device: str, ignore_unexpected: bool, shipped: Mapping[str, Path] | None = None
) -> tuple[CheckedFiles, torch.dtype | None, torch.device]:
    """The files of a model, without its adapters, the number format to read it in, and the device for it."""
    directory = _located(base, _shipped() if shipped is None else shipped)
    from decodelab.models.places import device_named, dtype_named  # torch is loaded for names that are there only

    place = device_named(device)
    kind = dtype_named(dtype, place)
    return checked_files(directory, ignore_unexpected), kind, place


def _located(base: str, shipped: Mapping[str, Path]) -> Path:
    """The directory of a model among those that ship, of a path, or of the hub."""
    if base in shipped:
        return shipped[base]
    path = checkpoint.as_path(base)
    if base in HUB_NAMES and not path.exists():
        warnings.warn(f"model: {base!r} is {HUB_NAMES[base]!r} on the Hugging Face hub", ModelNotice, stacklevel=4)
        base = HUB_NAMES[base]
    if path.is_file():
        raise ModelFormatError(
            f"model: {quoted(base)} is a file; give the directory that holds config.json, or a .yaml table"
        )
    if not path.exists() and not checkpoint.is_hub_id(base):
        if base in _shipped(_VERIFIERS):
            raise ModelError(
                f"model: {base} rates texts and writes none; use it as sample(n=16) | best_of(by=reward(model={base}))"
            )
        if base in _shipped():
            raise ModelError(
                f"reward: {base} writes texts and rates none; take {', '.join(shipped) or 'a classifier'}, or train "
                "one with decodelab train verifier"
            )
        hint = did_you_mean(base, shipped) or f"; shipped models are {', '.join(shipped) or 'none'}"
        raise ModelNotFound(f"model: there is no shipped model and no directory {quoted(base)}{hint}")
    return checkpoint.locate(base)


def _with_transformers(
    files: CheckedFiles,
    name: str,
    dtype: torch.dtype | None,
    device: torch.device,
    adapters: Sequence[Path],
    ignore_unexpected: bool,
) -> TransformersModel | EncoderDecoderModel:
    """The model that transformers makes of a directory."""
    from decodelab.models.transformers_files import read_with_transformers

    network, tokenizer = read_with_transformers(files, dtype, device, adapters, ignore_unexpected)
    if network.config.is_encoder_decoder:
        from decodelab.models.encoder_decoder import EncoderDecoderModel as Model
    else:
        from decodelab.models.transformers_model import TransformersModel as Model
    return Model(network, tokenizer, name=name, directory=files.directory, adapters=adapters)


def _note_unfollowed(model: LlamaModel | TransformersModel | EncoderDecoderModel) -> None:
    """Note what a model's files say that is not followed."""
    for message in model.unfollowed():
        warnings.warn(message, ModelNotice, stacklevel=3)


def _known(name: str) -> bool:
    """Whether there is, or may be on the hub, a model of this name."""
    shipped = name in _shipped() or name in _shipped(_VERIFIERS)
    return shipped or checkpoint.as_path(name).exists() or checkpoint.is_hub_id(name) or name in HUB_NAMES
