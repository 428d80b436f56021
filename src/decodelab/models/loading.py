"""Models by name: those that ship with the package, directories, tables and the hub."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decodelab.core.errors import ModelError, ModelFormatError, ModelNotFound, did_you_mean
from decodelab.models import checkpoint
from decodelab.models.checkpoint import ModelInfo

if TYPE_CHECKING:
    from decodelab.core.protocols import LanguageModel


def _shipped() -> dict[str, Path]:
    """The models inside the package, by name."""
    folder = Path(str(importlib.resources.files("decodelab.models") / "shipped"))
    if not folder.is_dir():
        return {}
    return {path.name: path for path in sorted(folder.iterdir()) if (path / "config.json").is_file()}


def list_models() -> list[ModelInfo]:
    """Describe the models that ship with the package, without loading any.

    >>> [model.name for model in list_models()]
    ['pocket-nano', 'pocket-small']
    """
    return [checkpoint.info(path, name) for name, path in _shipped().items()]


def model_info(name: str) -> ModelInfo:
    """Describe a shipped model or a model directory, without loading it.

    Raises:
        ModelNotFound: when there is neither.
        ModelFormatError: when the directory is incomplete or damaged.
    """
    shipped = _shipped()
    return checkpoint.info(shipped[name], name) if name in shipped else checkpoint.info(Path(name).expanduser())


def settings_of(name: str) -> dict[str, Any] | None:
    """The generation settings of a model, read without loading it; None for a hub model, which is not read.

    Raises:
        ModelNotFound: when there is no such model.
        ModelFormatError: when its files are incomplete or damaged.

    >>> settings_of("pocket-nano")
    {'do_sample': True, 'temperature': 0.7, 'top_p': 0.9}
    """
    shipped, path = _shipped(), Path(name).expanduser()
    if name in shipped or path.is_dir():
        model_info(name)
        return checkpoint.generation_settings(shipped.get(name, path))
    if path.suffix in (".yaml", ".yml") or not checkpoint.is_hub_id(name):
        return load(name).generation_config
    return None


def load(name: str | Path, *, dtype: str = "auto", device: str = "auto") -> LanguageModel:
    """Load a language model by name.

    Args:
        name: a shipped model (`decodelab models` lists them), a model directory, a `.yaml` file of a
            `TableModel`, or the id of a hub model, `owner/name`. A shipped name wins over a directory of that
            name: write `./name` for the directory.
        dtype: float32, bfloat16, float16, or auto: float32 on CPU, the checkpoint's own elsewhere.
        device: cpu, cuda, cuda:N, mps, or auto: the first there is of CUDA, MPS and CPU.

    Raises:
        ModelNotFound: when there is no such model.
        ModelFormatError: when its files are incomplete, damaged, or in an unsafe format.
        ModelError: when it cannot be used here: an unsupported architecture, no such device.

    >>> load("pocket-nano").context_length
    512
    """
    text = str(name)
    shipped = _shipped()
    if text.startswith(("openai:", "http:", "https:")):
        raise ModelError(f"model: servers such as {text!r} are not supported yet; give a directory or a shipped model")
    if text in shipped:
        return _transformers_model(shipped[text], text, dtype, device)
    path = Path(name).expanduser()
    if not text.strip():
        raise ModelNotFound(f"model: a name is needed, got {text!r}; shipped models are {', '.join(shipped) or 'none'}")
    if path.suffix in (".yaml", ".yml"):
        from decodelab.models.table import TableModel

        return TableModel.from_yaml(path)
    if path.is_file():
        raise ModelFormatError(
            f"model: {text!r} is a file; give the directory that holds config.json, or a .yaml table"
        )
    if not path.exists() and not checkpoint.is_hub_id(text):
        hint = did_you_mean(text, shipped) or f"; shipped models are {', '.join(shipped) or 'none'}"
        raise ModelNotFound(f"model: there is no shipped model and no directory {text!r}{hint}")
    return _transformers_model(name, text, dtype, device)


def _transformers_model(source: str | Path, name: str, dtype: str, device: str) -> LanguageModel:
    from decodelab.models.pretrained import load_pretrained

    network, tokenizer, directory = load_pretrained(source, dtype, device)
    if network.config.is_encoder_decoder:
        from decodelab.models.encoder_decoder import EncoderDecoderModel as Model
    else:
        from decodelab.models.transformers_model import TransformersModel as Model

    return Model(network, tokenizer, name=name, directory=directory)
