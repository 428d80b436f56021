"""decodelab: every way to decode a language model, in one composable form.

>>> import decodelab as dl
>>> str(dl.Strategy.of("temperature=0.8 | top_p=0.9 | sample(n=4)"))
'temperature=0.8 | top_p=0.9 | sample(n=4)'

Importing this package loads neither torch nor transformers; each name loads what it needs when first used. The classes
of all stages are public; `make stub` writes `__init__.pyi`, from which type checkers and editors know the names.
"""

from __future__ import annotations

import importlib

from decodelab.strategy.catalogue import STAGES as _STAGES

__version__ = "0.1.0"

_PUBLIC: dict[str, tuple[str, ...]] = {
    "adapters.llama_cpp": ("to_llama_cpp_logits_processor",),
    "adapters.transformers": ("from_logits_processor", "to_logits_processor"),
    "adapters.vllm": ("to_vllm_logits_processor",),
    "analysis.cost": ("predict_cost",),
    "analysis.distribution": ("distribution",),
    "backends.generating": ("generate", "load", "score"),
    "backends.remote": ("RemoteModel",),
    "core.errors": ("DecodelabError",),
    "core.notices": ("LogitsWarning", "NoEffectWarning", "PromptWarning"),
    "core.values": ("Candidate", "Chat", "Cost", "Generation"),
    "engine.composing": ("compose",),
    "engine.runners.runner": ("Failed",),
    "engine.scheduler": ("Engine",),
    "engine.scoring": ("score_many",),
    "engine.streaming": ("TextStream",),
    "metrics.likelihood": ("Score",),
    "models.encoder_decoder": ("EncoderDecoderModel",),
    "models.llama_model": ("LlamaModel",),
    "models.loading": ("list_models", "load_transformers"),
    "models.table": ("TableModel",),
    "models.transformers_model": ("TransformersModel",),
    "processors.synthid": ("synthid_z",),
    "processors.watermark": ("watermark_z",),
    "strategy.expectation": ("stochastic_beam_estimate", "stochastic_beam_weights"),
    "strategy.strategy": ("Strategy", "parse"),
}
"""What is public besides the stages: module to names."""

_HOME = {name: f"{__name__}.{module}" for module, names in _PUBLIC.items() for name in names} | {
    attribute: module for module, _, attribute in (path.partition(":") for path in _STAGES.ours.values())
}

__all__ = sorted(["__version__", *_HOME])  # pyright: ignore[reportUnsupportedDunderAll]  (the stub lists them)


def __getattr__(name: str) -> object:
    """Load a public name from where it lives, once."""
    if name == "metrics":
        return importlib.import_module("decodelab.metrics")
    if name not in _HOME:
        raise AttributeError(f"module 'decodelab' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return __all__
