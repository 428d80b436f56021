"""Model directories: finding and checking them before anything is loaded, and reading their metadata.

Nothing here imports torch or transformers; `decodelab.models.pretrained` loads what is described here.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decodelab.core.errors import ModelFormatError, ModelNotFound, quoted
from decodelab.core.secret import Secret
from decodelab.io.text import printable
from decodelab.models.context import context_length

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_NOT_SETTINGS = re.compile(r"_.*|transformers_version|.*token_id|.*token_ids")
_UNSAFE = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class ModelInfo:
    """Metadata of a model directory, read without loading weights.

    Attributes:
        name: the name to load it by.
        kind: its architecture, in transformers' words, such as `llama`.
        parameters: how many numbers its weight files hold.
        vocab_size: how many ids its logits range over.
        context_length: the longest sequence it can hold, or None.
        dtype: the number format of its weight files.
        nbytes: the size of its weight files.
        path: where it is.
        description: the first sentence of prose in its README.md, or nothing.
    """

    name: str
    kind: str
    parameters: int
    vocab_size: int
    context_length: int | None
    dtype: str
    nbytes: int
    path: str
    description: str


def info(directory: Path, name: str | None = None) -> ModelInfo:
    """Describe a model directory.

    Raises:
        ModelNotFound: when it is not there.
        ModelFormatError: when it is incomplete or damaged.
    """
    config = read_config(directory)
    files = weight_files(directory)
    sizes: dict[str, int] = {}
    for tensor in tensors(directory).values():
        sizes[tensor["dtype"]] = sizes.get(tensor["dtype"], 0) + math.prod(tensor["shape"])
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    return ModelInfo(
        name=name or str(directory),
        kind=config["model_type"],
        parameters=sum(sizes.values()),
        vocab_size=text.get("vocab_size") or 0,
        context_length=context_length(text),
        dtype=max(sizes, key=lambda d: sizes[d]),
        nbytes=sum(file.stat().st_size for file in files),
        path=str(directory),
        description=_description(directory),
    )


def _description(directory: Path) -> str:
    card = directory / "README.md"
    if not card.is_file():
        return ""
    text = card.read_text(encoding="utf-8", errors="replace")
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    prose = (block for block in re.split(r"\n\s*\n", text) if block.strip() and block.lstrip()[0] not in "#|<!`-*")
    first = " ".join(next(prose, "").split())
    return re.split(r"(?<=[.!?])\s", first, maxsplit=1)[0].replace("**", "").replace("`", "")


def generation_settings(directory: Path) -> dict[str, Any]:
    """The settings that a directory's generation_config.json makes explicitly; empty without one."""
    file = directory / "generation_config.json"
    return own_settings(_json(file)) if file.is_file() else {}


def own_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Generation settings without token ids, bookkeeping and what is not set."""
    return {name: value for name, value in settings.items() if value is not None and not _NOT_SETTINGS.fullmatch(name)}


def read_config(directory: Path) -> dict[str, Any]:
    """The config.json of a model directory.

    Raises:
        ModelNotFound: when there is no such directory.
        ModelFormatError: when there is no readable config.json in it.
    """
    if not directory.exists():
        raise ModelNotFound(f"model: there is no directory {quoted(directory)}; check the path")
    if not directory.is_dir():
        raise ModelFormatError(f"model: {quoted(directory)} is a file; give the directory that holds config.json")
    file = directory / "config.json"
    if not file.is_file():
        raise ModelFormatError(
            f"model: {quoted(directory)} has no config.json; give a directory written by transformers' save_pretrained"
        )
    config = _json(file)
    if not isinstance(config.get("model_type"), str):
        raise ModelFormatError(f"model: {quoted(file)} names no model_type; get a complete copy of the model")
    return config


def is_encoder_decoder(config: Mapping[str, Any]) -> bool:
    """Whether this is the configuration of an encoder-decoder model."""
    return bool(config.get("is_encoder_decoder"))


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFormatError(f"model: cannot read {quoted(file)} ({one_line(error)}); get a complete copy") from error
    if not isinstance(value, dict):
        raise ModelFormatError(f"model: {quoted(file)} must hold a JSON object; get a complete copy")
    return value


def one_line(error: BaseException) -> str:
    """An exception's text on one line of readable length."""
    text = printable(" ".join(str(error).split()) or type(error).__name__)
    return text if len(text) <= 160 else text[:157] + "..."


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a model directory, all of them there and complete.

    Raises:
        ModelFormatError: when there are none, one is missing or damaged, or they are in an unsafe format.
    """
    if (directory / WEIGHTS).is_file():
        files = [directory / WEIGHTS]
    elif (directory / INDEX).is_file():
        shards = _json(directory / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise ModelFormatError(f"model: {quoted(directory / INDEX)} lists no weights; get a complete copy")
        names = sorted({str(name) for name in shards.values()})
        outside = [name for name in names if Path(name).name != name]
        if outside:
            raise ModelFormatError(
                f"model: {quoted(directory / INDEX)} names {quoted(outside[0])}, which is not a file beside it; "
                "get a complete copy"
            )
        files = [directory / name for name in names]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise ModelFormatError(
                f"model: {quoted(directory)} lacks {len(missing)} of {len(files)} weight files, "
                f"the first is {missing[0]}; get a complete copy"
            )
    else:
        unsafe = sorted(file.name for pattern in _UNSAFE for file in directory.glob(pattern))
        if unsafe:
            raise ModelFormatError(
                f"model: {quoted(directory)} has its weights only as {unsafe[0]}, a pickle that can run code when it "
                "is read; convert it to safetensors (save_pretrained of transformers writes that)"
            )
        raise ModelFormatError(f"model: {quoted(directory)} has no {WEIGHTS}; get a complete copy of the model")
    for file in files:
        safetensors_header(file)
    return files


def tensors(directory: Path) -> dict[str, dict[str, Any]]:
    """Name to dtype, shape and place of all tensors of a model directory.

    Raises:
        ModelFormatError: as `weight_files`.
    """
    return {name: tensor for file in weight_files(directory) for name, tensor in safetensors_header(file).items()}


def safetensors_header(file: Path) -> dict[str, dict[str, Any]]:
    """Name to dtype, shape and place of the tensors of a safetensors file, whose size is checked against them.

    Raises:
        ModelFormatError: when the file is not a complete safetensors file.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        if head.startswith(b"version "):
            raise ModelFormatError(
                f"model: {quoted(file)} is a Git LFS pointer, not the weights; run `git lfs pull` in its repository"
            )
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if 8 + length > size:
            raise ModelFormatError(f"model: {quoted(file)} is cut off after {size} bytes; get a complete copy")
        try:
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            end = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
            sound = all(
                isinstance(tensor["dtype"], str) and all(isinstance(n, int) and n >= 0 for n in tensor["shape"])
                for tensor in header.values()
            )
            if not sound:
                raise ValueError("a tensor without dtype or shape")
        except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise ModelFormatError(f"model: {quoted(file)} is not a safetensors file; get a complete copy") from error
    if size != end:
        raise ModelFormatError(
            f"model: {quoted(file)} must be {end} bytes by its header, got {size}: incomplete; get a complete copy"
        )
    if not header:
        raise ModelFormatError(f"model: {quoted(file)} holds no tensors; get a complete copy")
    return header


def locate(path_or_id: str | Path) -> Path:
    """The directory of that path, or the local copy of a hub model, fetched when it is not there yet.

    Raises:
        ModelNotFound: when it is neither.
    """
    path = as_path(path_or_id)
    if path.exists() or not is_hub_id(str(path_or_id)):
        return path
    return _fetch(str(path_or_id))


def as_path(name: str | Path) -> Path:
    """The path that a model's name stands for, its `~` expanded.

    Raises:
        ModelNotFound: for what no file can be called: a NUL, a part of more than 255 bytes, an unknown user.
    """
    try:
        path = Path(name).expanduser()
        path.exists()  # refuses names that the file system cannot have
        if "\0" in str(name):
            raise ValueError("a NUL character in it")
        str(name).encode(errors="surrogateescape")
    except (OSError, RuntimeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        raise ModelNotFound(f"model: {quoted(name)} cannot be a model's name ({why}); check it") from None
    return path


def is_hub_id(name: str) -> bool:
    """Whether a name has the form `owner/name` of the Hugging Face hub."""
    return _HUB_ID.fullmatch(name) is not None


def _fetch(hub_id: str) -> Path:
    from huggingface_hub import constants, get_token, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    Secret.of(get_token() or "", "HF_TOKEN")  # one that no header can hold would be shown by the error of sending it

    def download(patterns: list[str]) -> Path:
        return Path(snapshot_download(hub_id, allow_patterns=patterns))

    try:
        directory = download(["*.json", "*.txt", "*.jinja", "*.model", "*.spm", "*.codes", "README.md"])
        if (directory / INDEX).is_file() and not (directory / WEIGHTS).is_file():
            return download(sorted({str(name) for name in _json(directory / INDEX)["weight_map"].values()}))
        return download([WEIGHTS])
    except GatedRepoError as error:
        raise ModelNotFound(
            f"model: {quoted(hub_id)} on the hub requires accepting its licence; accept it there, "
            "then run `hf auth login`"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelNotFound(
            f"model: there is no directory and no public hub model {quoted(hub_id)}; check the spelling, "
            "or run `hf auth login` if it is private"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise ModelNotFound(
            f"model: {quoted(hub_id)} is not a directory and not in the local hub cache, and {why}; "
            "give a directory, or load a shipped model such as pocket-small"
        ) from error
