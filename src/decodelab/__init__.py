"""decodelab: every way to decode a language model, in one composable form.

>>> import decodelab as dl
>>> str(dl.Strategy.of("temperature=0.8 | top_p=0.9 | sample(n=4)"))
'temperature=0.8 | top_p=0.9 | sample(n=4)'

Importing this package loads neither torch nor transformers; each name loads what it needs when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decodelab.core.errors import DecodelabError
    from decodelab.core.values import Candidate, Chat, Cost, Generation, Score
    from decodelab.engine.distribution import distribution
    from decodelab.engine.generate import NoEffectWarning, generate
    from decodelab.engine.scoring import score, score_many
    from decodelab.engine.streaming import TextStream
    from decodelab.models.loading import list_models, load
    from decodelab.models.table import TableModel
    from decodelab.models.transformers_model import TransformersModel
    from decodelab.processors.min_p import MinP
    from decodelab.processors.temperature import Temperature
    from decodelab.processors.top_k import TopK
    from decodelab.processors.top_p import TopP
    from decodelab.processors.typical_p import TypicalP
    from decodelab.search.beam import Beam
    from decodelab.search.greedy import Greedy
    from decodelab.search.sample import Sample
    from decodelab.select.best_of import BestOf
    from decodelab.select.vote import Vote
    from decodelab.strategy.default import Default
    from decodelab.strategy.strategy import Strategy, parse

__version__ = "0.1.0"

_WHERE = {
    "DecodelabError": "core.errors",
    "Candidate": "core.values",
    "Chat": "core.values",
    "Cost": "core.values",
    "Generation": "core.values",
    "Score": "core.values",
    "distribution": "engine.distribution",
    "NoEffectWarning": "engine.generate",
    "generate": "engine.generate",
    "score": "engine.scoring",
    "score_many": "engine.scoring",
    "TextStream": "engine.streaming",
    "list_models": "models.loading",
    "load": "models.loading",
    "TableModel": "models.table",
    "TransformersModel": "models.transformers_model",
    "MinP": "processors.min_p",
    "Temperature": "processors.temperature",
    "TopK": "processors.top_k",
    "TopP": "processors.top_p",
    "TypicalP": "processors.typical_p",
    "Beam": "search.beam",
    "Greedy": "search.greedy",
    "Sample": "search.sample",
    "BestOf": "select.best_of",
    "Vote": "select.vote",
    "Default": "strategy.default",
    "Strategy": "strategy.strategy",
    "parse": "strategy.strategy",
}

__all__ = [
    "Beam",
    "BestOf",
    "Candidate",
    "Chat",
    "Cost",
    "DecodelabError",
    "Default",
    "Generation",
    "Greedy",
    "MinP",
    "NoEffectWarning",
    "Sample",
    "Score",
    "Strategy",
    "TableModel",
    "Temperature",
    "TextStream",
    "TopK",
    "TopP",
    "TransformersModel",
    "TypicalP",
    "Vote",
    "__version__",
    "distribution",
    "generate",
    "list_models",
    "load",
    "parse",
    "score",
    "score_many",
]


def __getattr__(name: str) -> object:
    """Load a public name from where it lives, once."""
    if name not in _WHERE:
        raise AttributeError(f"module 'decodelab' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"decodelab.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return __all__
