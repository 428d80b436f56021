"""`default`: the model's own generation settings, and reading transformers' generation configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from decodelab.core.errors import InvalidParameter, UnsupportedStrategy, did_you_mean
from decodelab.core.stage import Kind, Stage, shown
from decodelab.processors.min_p import MinP
from decodelab.processors.temperature import Temperature
from decodelab.processors.top_k import TopK
from decodelab.processors.top_p import TopP
from decodelab.processors.typical_p import TypicalP
from decodelab.search.beam import Beam
from decodelab.search.greedy import Greedy
from decodelab.search.sample import Sample


@dataclass(frozen=True)
class Default(Stage):
    """What the model's authors recommend: the strategy in its generation_config.

    Stands for processors and a search; a search written after it replaces the config's own, as in
    `default | sample(n=8)`. A model without settings is decoded greedily, as transformers does.
    """

    name: ClassVar[str] = "default"
    kind: ClassVar[Kind] = "source"
    source: ClassVar[str] = "generation_config.json of the model"


# Settings that say nothing about which tokens are chosen, or that the engine takes from elsewhere.
_ELSEWHERE = frozenset(
    (
        *("max_length", "max_new_tokens", "min_length", "min_new_tokens"),
        *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"),
        *("use_cache", "cache_implementation", "cache_config", "return_legacy_cache", "prefill_chunk_size"),
        *("return_dict_in_generate", "output_scores", "output_logits", "output_attentions"),
        *("output_hidden_states", "transformers_version", "_from_model_config", "low_memory"),
        *("compile_config", "disable_compile", "remove_invalid_values", "renormalize_logits"),
        *("is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_early_exit"),
        *("assistant_confidence_threshold", "assistant_lookbehind", "target_lookbehind"),
        *("prompt_lookup_num_tokens", "max_matching_ngram_size"),
    )
)
# Settings we do not honour yet, with the value that means "off".
_OFF: dict[str, Any] = {
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "force_words_ids": None,
    "constraints": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "sequence_bias": None,
    "guidance_scale": 1.0,
    "watermarking_config": None,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "top_h": None,
    "diversity_penalty": 0.0,
    "num_beam_groups": 1,
    "penalty_alpha": None,
    "dola_layers": None,
    "token_healing": False,
    "stop_strings": None,
    "max_time": None,
}
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p")
_READ = frozenset((*_SAMPLING, "do_sample", "num_beams", "num_return_sequences", "length_penalty", "early_stopping"))


def stages_from_generation_config(config: Mapping[str, Any]) -> list[Stage]:
    """The stages that transformers would run for a generation config, in its order.

    Settings that are absent or None keep transformers' defaults, which include top_k = 50 when sampling.

    Raises:
        UnsupportedStrategy: for a setting that we cannot honour, naming it.
        InvalidParameter: for a key that transformers does not have either.

    >>> [str(s) for s in stages_from_generation_config({"do_sample": True, "temperature": 0.6, "top_k": 20})]
    ['temperature=0.6', 'top_k=20', 'sample']
    """
    settings = {k: v for k, v in config.items() if v is not None}
    for key, value in settings.items():
        if key in _READ or key in _ELSEWHERE:
            continue
        if key not in _OFF:
            raise InvalidParameter(
                f"generation config: unknown setting {key!r}{did_you_mean(key, [*_READ, *_OFF, *_ELSEWHERE])}"
            )
        if value != _OFF[key]:
            raise UnsupportedStrategy(
                f"generation config: {key}={shown(value)} is not supported yet; write the strategy out instead"
            )
    sampling = bool(settings.get("do_sample", False))
    width, n = settings.get("num_beams", 1), settings.get("num_return_sequences", 1)
    if width != 1:
        if sampling:
            raise UnsupportedStrategy(
                "generation config: do_sample with num_beams > 1 (beam sampling) is not supported yet; drop one of them"
            )
        return [Beam(width, settings.get("length_penalty", 1.0), settings.get("early_stopping", False), n)]
    if not sampling:
        if n != 1:
            raise UnsupportedStrategy(
                f"generation config: num_return_sequences={shown(n)} without do_sample or beams; greedy has one result"
            )
        return [Greedy()]
    # transformers' own order: _get_logits_processor appends temperature, top-k, top-p, min-p, typical.
    stages: list[Stage] = [
        Temperature(settings.get("temperature", 1.0)),
        *([TopK(k)] if (k := settings.get("top_k", 50)) else []),
        TopP(settings.get("top_p", 1.0)),
        *([MinP(p)] if (p := settings.get("min_p")) else []),
        TypicalP(settings.get("typical_p", 1.0)),
    ]
    return [*(s for s in stages if s.no_effect() is None), Sample(n)]
