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
    from decodelab.adapters.llama_cpp import to_llama_cpp_logits_processor
    from decodelab.adapters.transformers import from_logits_processor, to_logits_processor
    from decodelab.adapters.vllm import to_vllm_logits_processor
    from decodelab.analysis.cost import predict_cost
    from decodelab.analysis.distribution import distribution
    from decodelab.core.errors import DecodelabError
    from decodelab.core.notices import NoEffectWarning
    from decodelab.core.values import Candidate, Chat, Cost, Generation
    from decodelab.engine.composing import compose
    from decodelab.engine.generate import generate
    from decodelab.engine.runners.runner import Failed
    from decodelab.engine.scheduler import Engine
    from decodelab.engine.scoring import score, score_many
    from decodelab.engine.streaming import TextStream
    from decodelab.metrics.likelihood import Score
    from decodelab.models.contrast import Contrast
    from decodelab.models.dola import Dola
    from decodelab.models.encoder_decoder import EncoderDecoderModel
    from decodelab.models.guidance import Guidance
    from decodelab.models.loading import list_models, load
    from decodelab.models.mix import Mix
    from decodelab.models.table import TableModel
    from decodelab.models.transformers_model import TransformersModel
    from decodelab.processors.adaptive_p import AdaptiveP
    from decodelab.processors.allow import Allow
    from decodelab.processors.ban import Ban
    from decodelab.processors.check import Check
    from decodelab.processors.dry import Dry
    from decodelab.processors.dynamic_temperature import DynamicTemperature
    from decodelab.processors.epsilon_cutoff import EpsilonCutoff
    from decodelab.processors.eta_cutoff import EtaCutoff
    from decodelab.processors.exponential_length import ExponentialLength
    from decodelab.processors.forced_bos import ForcedBOS
    from decodelab.processors.forced_eos import ForcedEOS
    from decodelab.processors.frequency_penalty import FrequencyPenalty
    from decodelab.processors.grammar import Grammar
    from decodelab.processors.json_schema import JSONSchema
    from decodelab.processors.logit_bias import LogitBias
    from decodelab.processors.min_new_tokens import MinNewTokens
    from decodelab.processors.min_p import MinP
    from decodelab.processors.mirostat import Mirostat
    from decodelab.processors.no_repeat_ngram import NoRepeatNGram
    from decodelab.processors.p_less import PLess
    from decodelab.processors.presence_penalty import PresencePenalty
    from decodelab.processors.rank_parity import RankParity
    from decodelab.processors.regex import Regex
    from decodelab.processors.repetition_penalty import RepetitionPenalty
    from decodelab.processors.subtractive_penalty import SubtractivePenalty
    from decodelab.processors.suppress_at_begin import SuppressAtBegin
    from decodelab.processors.temperature import Temperature
    from decodelab.processors.tfs_z import TailFree
    from decodelab.processors.top_a import TopA
    from decodelab.processors.top_h import TopH
    from decodelab.processors.top_k import TopK
    from decodelab.processors.top_n_sigma import TopNSigma
    from decodelab.processors.top_p import TopP
    from decodelab.processors.typical_p import TypicalP
    from decodelab.processors.watermark import Watermark, watermark_z
    from decodelab.processors.xtc import XTC
    from decodelab.search.arithmetic import Arithmetic
    from decodelab.search.astar import AStar
    from decodelab.search.beam import Beam
    from decodelab.search.best_first import BestFirst
    from decodelab.search.contrastive_search import ContrastiveSearch
    from decodelab.search.diverse_beam import DiverseBeam
    from decodelab.search.exact import Exact
    from decodelab.search.force_words import ForceWords
    from decodelab.search.greedy import Greedy
    from decodelab.search.k_best import KBest
    from decodelab.search.mcts import MCTS
    from decodelab.search.rejection import Rejection
    from decodelab.search.sample import Sample
    from decodelab.search.smc import SMC
    from decodelab.search.speculative import Speculative
    from decodelab.search.stochastic_beam import StochasticBeam
    from decodelab.search.value_beam import ValueBeam
    from decodelab.select.best_of import BestOf
    from decodelab.select.vote import Vote
    from decodelab.strategy.default import Default
    from decodelab.strategy.expectation import stochastic_beam_estimate, stochastic_beam_weights
    from decodelab.strategy.strategy import Strategy, parse

__version__ = "0.1.0"

_WHERE = {
    "DecodelabError": "core.errors",
    "Candidate": "core.values",
    "Chat": "core.values",
    "Cost": "core.values",
    "Generation": "core.values",
    "Score": "metrics.likelihood",
    "compose": "engine.composing",
    "Contrast": "models.contrast",
    "Dola": "models.dola",
    "Guidance": "models.guidance",
    "Mix": "models.mix",
    "predict_cost": "analysis.cost",
    "distribution": "analysis.distribution",
    "NoEffectWarning": "core.notices",
    "generate": "engine.generate",
    "Engine": "engine.scheduler",
    "Failed": "engine.runners.runner",
    "score": "engine.scoring",
    "score_many": "engine.scoring",
    "TextStream": "engine.streaming",
    "list_models": "models.loading",
    "load": "models.loading",
    "TableModel": "models.table",
    "EncoderDecoderModel": "models.encoder_decoder",
    "TransformersModel": "models.transformers_model",
    "AdaptiveP": "processors.adaptive_p",
    "Allow": "processors.allow",
    "Ban": "processors.ban",
    "Check": "processors.check",
    "Dry": "processors.dry",
    "DynamicTemperature": "processors.dynamic_temperature",
    "EpsilonCutoff": "processors.epsilon_cutoff",
    "EtaCutoff": "processors.eta_cutoff",
    "ExponentialLength": "processors.exponential_length",
    "ForcedBOS": "processors.forced_bos",
    "ForcedEOS": "processors.forced_eos",
    "FrequencyPenalty": "processors.frequency_penalty",
    "Grammar": "processors.grammar",
    "JSONSchema": "processors.json_schema",
    "LogitBias": "processors.logit_bias",
    "MinNewTokens": "processors.min_new_tokens",
    "MinP": "processors.min_p",
    "Mirostat": "processors.mirostat",
    "NoRepeatNGram": "processors.no_repeat_ngram",
    "PLess": "processors.p_less",
    "PresencePenalty": "processors.presence_penalty",
    "RankParity": "processors.rank_parity",
    "Regex": "processors.regex",
    "RepetitionPenalty": "processors.repetition_penalty",
    "SubtractivePenalty": "processors.subtractive_penalty",
    "SuppressAtBegin": "processors.suppress_at_begin",
    "Temperature": "processors.temperature",
    "TailFree": "processors.tfs_z",
    "TopA": "processors.top_a",
    "TopH": "processors.top_h",
    "TopK": "processors.top_k",
    "TopNSigma": "processors.top_n_sigma",
    "TopP": "processors.top_p",
    "TypicalP": "processors.typical_p",
    "watermark_z": "processors.watermark",
    "Watermark": "processors.watermark",
    "XTC": "processors.xtc",
    "Arithmetic": "search.arithmetic",
    "AStar": "search.astar",
    "BestFirst": "search.best_first",
    "Exact": "search.exact",
    "KBest": "search.k_best",
    "MCTS": "search.mcts",
    "Beam": "search.beam",
    "ContrastiveSearch": "search.contrastive_search",
    "DiverseBeam": "search.diverse_beam",
    "StochasticBeam": "search.stochastic_beam",
    "stochastic_beam_estimate": "strategy.expectation",
    "stochastic_beam_weights": "strategy.expectation",
    "ForceWords": "search.force_words",
    "Greedy": "search.greedy",
    "Rejection": "search.rejection",
    "Sample": "search.sample",
    "Speculative": "search.speculative",
    "SMC": "search.smc",
    "ValueBeam": "search.value_beam",
    "BestOf": "select.best_of",
    "Vote": "select.vote",
    "from_logits_processor": "adapters.transformers",
    "to_logits_processor": "adapters.transformers",
    "to_llama_cpp_logits_processor": "adapters.llama_cpp",
    "to_vllm_logits_processor": "adapters.vllm",
    "Default": "strategy.default",
    "Strategy": "strategy.strategy",
    "parse": "strategy.strategy",
}

__all__ = [
    "MCTS",
    "SMC",
    "XTC",
    "AStar",
    "AdaptiveP",
    "Allow",
    "Arithmetic",
    "Ban",
    "Beam",
    "BestFirst",
    "BestOf",
    "Candidate",
    "Chat",
    "Check",
    "Contrast",
    "ContrastiveSearch",
    "Cost",
    "DecodelabError",
    "Default",
    "DiverseBeam",
    "Dola",
    "Dry",
    "DynamicTemperature",
    "EncoderDecoderModel",
    "Engine",
    "EpsilonCutoff",
    "EtaCutoff",
    "Exact",
    "ExponentialLength",
    "Failed",
    "ForceWords",
    "ForcedBOS",
    "ForcedEOS",
    "FrequencyPenalty",
    "Generation",
    "Grammar",
    "Greedy",
    "Guidance",
    "JSONSchema",
    "KBest",
    "LogitBias",
    "MinNewTokens",
    "MinP",
    "Mirostat",
    "Mix",
    "NoEffectWarning",
    "NoRepeatNGram",
    "PLess",
    "PresencePenalty",
    "RankParity",
    "Regex",
    "Rejection",
    "RepetitionPenalty",
    "Sample",
    "Score",
    "Speculative",
    "StochasticBeam",
    "Strategy",
    "SubtractivePenalty",
    "SuppressAtBegin",
    "TableModel",
    "TailFree",
    "Temperature",
    "TextStream",
    "TopA",
    "TopH",
    "TopK",
    "TopNSigma",
    "TopP",
    "TransformersModel",
    "TypicalP",
    "ValueBeam",
    "Vote",
    "Watermark",
    "__version__",
    "compose",
    "distribution",
    "from_logits_processor",
    "generate",
    "list_models",
    "load",
    "parse",
    "predict_cost",
    "score",
    "score_many",
    "stochastic_beam_estimate",
    "stochastic_beam_weights",
    "to_llama_cpp_logits_processor",
    "to_logits_processor",
    "to_vllm_logits_processor",
    "watermark_z",
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
