"""Checkpoints of a training run: weights and optimiser as safetensors, the rest as JSON, atomically."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

STATE = "state.json"


def save(folder: Path, model: nn.Module, optimisers: dict[str, Optimizer], state: dict[str, Any]) -> None:
    """Write a checkpoint to `folder`, replacing the one there; a crash at any moment leaves one whole."""
    new, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    save_file(
        {name: value.detach().contiguous() for name, value in model.named_parameters()}, new / "model.safetensors"
    )
    for label, optimiser in optimisers.items():
        tensors: dict[str, Tensor] = {}
        for index, values in optimiser.state_dict()["state"].items():
            for key, value in values.items():
                tensors[f"{index}.{key}"] = value.contiguous()
        save_file(tensors, new / f"{label}.safetensors")
    (new / STATE).write_text(json.dumps(state, indent=1))
    for file in new.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    # A crash between the two renames leaves the old checkpoint; it goes only once the new one is in its place.
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def find(folder: Path) -> Path | None:
    """Return where the last whole checkpoint of `folder` is, or None."""
    for candidate in (folder, folder.with_name(folder.name + ".old")):
        if (candidate / STATE).exists():
            return candidate
    return None


def read_state(folder: Path) -> dict[str, Any]:
    """Return the state saved with the checkpoint in `folder`."""
    return json.loads((folder / STATE).read_text())


def load(folder: Path, model: nn.Module, optimisers: dict[str, Optimizer]) -> None:
    """Fill model and optimisers from the checkpoint in `folder`, which must be of the same recipe."""
    tensors = load_file(folder / "model.safetensors")
    for name, parameter in model.named_parameters():
        parameter.data.copy_(tensors[name])
    for label, optimiser in optimisers.items():
        saved: dict[int, dict[str, Tensor]] = {}
        for key, value in load_file(folder / f"{label}.safetensors").items():
            index, name = key.split(".", 1)
            saved.setdefault(int(index), {})[name] = value
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": saved, "param_groups": groups})
