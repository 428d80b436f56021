"""Adapters of peft as models: `BASE+ADAPTER`, the adapter merged into the weights of its base."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from decodelab.core.errors import ModelError, ModelFormatError, ModelNotFound, quoted
from decodelab.core.quiet import quiet
from decodelab.models.checkpoint import as_path, one_line, safetensors_header
from decodelab.models.ingredients import ADAPTER_FILES

CONFIG, WEIGHTS = ADAPTER_FILES


def split_adapters(name: str, known: Callable[[str], bool]) -> tuple[str, tuple[Path, ...]]:
    """A model's name without its adapters, and their directories, in the order in which they are merged.

    Args:
        name: `BASE`, `BASE+ADAPTER` or `BASE+ADAPTER+ADAPTER`; a path may have a plus in it.
        known: whether there is a model of a name.

    Raises:
        ModelNotFound: when what follows the plus is no directory.
    """
    base, rest = name, None
    adapters: list[Path] = []
    while "+" in base and not known(base):
        base, _, part = base.rpartition("+")
        rest = part if rest is None else f"{part}+{rest}"
        if rest.strip() and as_path(rest).is_dir():
            adapters.insert(0, as_path(rest))
            rest = None
    if not base.strip() or not known(base):
        return name, ()
    if rest is not None:
        raise ModelNotFound(f"model: there is no adapter directory {quoted(rest)}; give one that peft has written")
    return base, tuple(adapters)


def merged(network: Any, directory: Path) -> Any:
    """The network with an adapter merged into its weights, and nothing of peft left in it.

    Raises:
        ModelFormatError: when the directory is incomplete or damaged, or its tensors do not fit the network.
        ModelError: when peft is not installed, or the adapter is of a kind that cannot be merged.
    """
    config, tensors = _checked(directory)
    try:
        from peft import PeftModel, get_peft_model_state_dict
    except ImportError as error:
        raise ModelError("model: adapters need the library peft; pip install 'decodelab[adapters]'") from error
    with quiet():
        try:
            whole = PeftModel.from_pretrained(network, str(directory), local_files_only=True)
            own = set(get_peft_model_state_dict(whole))
        except Exception as error:  # whatever peft raises for an adapter of another network
            raise ModelFormatError(
                f"model: the adapter {quoted(directory)} does not fit this model ({one_line(error)}); "
                f"it was made for {quoted(config.get('base_model_name_or_path'))}"
            ) from error
        for names, what in ((tensors - own, "has no place in this model"), (own - tensors, "is not in the adapter")):
            if names:
                raise ModelFormatError(
                    f"model: the adapter {quoted(directory)} does not fit this model: {quoted(min(names))} {what} "
                    f"({len(names)} such); it was made for {quoted(config.get('base_model_name_or_path'))}"
                )
        try:
            return whole.merge_and_unload(safe_merge=True)  # pyright: ignore[reportCallIssue]  (of the tuner)
        except Exception as error:  # prompt tuning and others add no weights
            raise ModelError(
                f"model: the adapter {quoted(directory)} of type {quoted(config['peft_type'])} cannot be merged "
                f"({one_line(error)}); use LoRA or another kind that changes weights"
            ) from error


def _checked(directory: Path) -> tuple[dict[str, Any], set[str]]:
    """The configuration of an adapter, and the names of its tensors."""
    missing = next((name for name in ADAPTER_FILES if not (directory / name).is_file()), None)
    if missing is not None:
        raise ModelFormatError(
            f"model: the adapter {quoted(directory)} has no {missing}; give a directory that peft's save_pretrained "
            "has written, in safetensors"
        )
    try:
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFormatError(
            f"model: cannot read {quoted(directory / CONFIG)} ({one_line(error)}); get a complete copy"
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise ModelFormatError(f"model: {quoted(directory / CONFIG)} names no peft_type; get a complete copy")
    return config, set(safetensors_header(directory / WEIGHTS))
