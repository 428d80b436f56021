"""A model's directory whose files are there and fit together, before anything is built from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decodelab.core.errors import ModelFormatError, quoted
from decodelab.models import checkpoint
from decodelab.models.ingredients import ADAPTER_FILES
from decodelab.models.sizes import check_config


@dataclass(frozen=True)
class CheckedFiles:
    """A directory with a configuration, complete weights of plausible sizes, and a tokenizer.

    Attributes:
        directory: where it is.
        config: its config.json.
        tensors: name to dtype, shape and place of its tensors.
    """

    directory: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, Any]]


def checked_files(directory: Path, ignore_unexpected: bool = False) -> CheckedFiles:
    """The files of a directory.

    Args:
        directory: where they are.
        ignore_unexpected: whether to go on although there is an adapter beside the weights.

    Raises:
        ModelNotFound: when it is not there.
        ModelFormatError: when it is incomplete, damaged or unsafe.
    """
    where, config = quoted(directory), checkpoint.read_config(directory)
    tensors = checkpoint.tensors(directory)
    check_config(directory, config, list(tensors.values()))
    if not any((directory / name).is_file() for name in checkpoint.TOKENIZER_FILES):
        raise ModelFormatError(f"model: {where} has no tokenizer (tokenizer.json); save the tokenizer beside the model")
    beside = next((name for name in ADAPTER_FILES if (directory / name).is_file()), None)
    if beside is not None and not ignore_unexpected:
        raise ModelFormatError(
            f"model: {where} has {beside} beside its weights, which would be left out; load base and adapter as "
            "BASE+ADAPTER, or go on without it (--ignore-unexpected)"
        )
    return CheckedFiles(directory, config, tensors)
