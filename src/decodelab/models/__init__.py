"""Language models: explicit tables and transformers checkpoints.

Importing this package loads neither torch nor transformers; using a name does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decodelab.models.checkpoint import ModelInfo
    from decodelab.models.encoder_decoder import EncoderDecoderModel
    from decodelab.models.llama_model import LlamaModel
    from decodelab.models.loading import list_models, load, load_transformers, model_info
    from decodelab.models.table import TableModel
    from decodelab.models.transformers_model import TransformersModel

__all__ = [
    "COMPOSITIONS",
    "EncoderDecoderModel",
    "LlamaModel",
    "ModelInfo",
    "TableModel",
    "TransformersModel",
    "list_models",
    "load",
    "load_transformers",
    "model_info",
]

COMPOSITIONS: dict[str, str] = {
    "contrast": "decodelab.models.contrast:Contrast",
    "dola": "decodelab.models.dola:Dola",
    "guidance": "decodelab.models.guidance:Guidance",
    "mix": "decodelab.models.mix:Mix",
}
"""The stages that make models of models, by public name, as `module:Class`."""

_HOME = {
    "ModelInfo": "checkpoint",
    "TableModel": "table",
    "EncoderDecoderModel": "encoder_decoder",
    "LlamaModel": "llama_model",
    "TransformersModel": "transformers_model",
    "list_models": "loading",
    "load": "loading",
    "load_transformers": "loading",
    "model_info": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
