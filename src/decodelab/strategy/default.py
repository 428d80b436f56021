"""`default`: the model's own generation settings, and reading transformers' generation configs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from decodelab.core.errors import InvalidParameter, UnsupportedStrategy, did_you_mean
from decodelab.core.stage import Kind, Stage, brief
from decodelab.models.guidance import Guidance
from decodelab.processors.ban import Ban
from decodelab.processors.epsilon_cutoff import EpsilonCutoff
from decodelab.processors.eta_cutoff import EtaCutoff
from decodelab.processors.exponential_length import ExponentialLength
from decodelab.processors.forced_bos import ForcedBOS
from decodelab.processors.forced_eos import ForcedEOS
from decodelab.processors.logit_bias import LogitBias
from decodelab.processors.min_new_tokens import MinNewTokens
from decodelab.processors.min_p import MinP
from decodelab.processors.no_repeat_ngram import NoRepeatNGram
from decodelab.processors.repetition_penalty import RepetitionPenalty
from decodelab.processors.suppress_at_begin import SuppressAtBegin
from decodelab.processors.temperature import Temperature
from decodelab.processors.top_h import TopH
from decodelab.processors.top_k import TopK
from decodelab.processors.top_p import TopP
from decodelab.processors.typical_p import TypicalP
from decodelab.search.beam import Beam
from decodelab.search.contrastive_search import ContrastiveSearch
from decodelab.search.diverse_beam import DiverseBeam
from decodelab.search.greedy import Greedy
from decodelab.search.sample import Sample


@dataclass(frozen=True)
class Default(Stage):
    """Use the model's own settings: the strategy in its generation_config.

    Stands for processors and a search; a search written after it replaces the config's own, as in
    `default | sample(n=8)`. A model without settings is decoded greedily, as transformers does.
    """

    name: ClassVar[str] = "default"
    kind: ClassVar[Kind] = "source"
    source: ClassVar[str] = "generation_config.json of the model"


# Settings that say nothing about which tokens are chosen, or that the engine takes from elsewhere.
_ELSEWHERE = frozenset(
    (
        *("max_length", "max_new_tokens"),
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
# Settings we do not honour, with the value that means "off" and what is to be done about another.
_OFF: dict[str, tuple[Any, str]] = {
    "encoder_repetition_penalty": (1.0, "it rewards the prompt's tokens; write repetition_penalty below 1"),
    "encoder_no_repeat_ngram_size": (0, "write no_repeat_ngram"),
    "force_words_ids": (None, "transformers 5 has dropped it too"),
    "constraints": (None, "transformers 5 has dropped it too"),
    "watermarking_config": (None, "its green lists come from another generator; write watermark, or synthid"),
    "dola_layers": (None, "its measure of divergence is another; write dola"),
    "token_healing": (False, "write the prompt without the last token"),
    "stop_strings": (None, "pass them as stop"),
    "max_time": (None, "interrupt it with Ctrl-C"),
}
_BIASES = ("sequence_bias", "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "suppress_tokens")
_PLACES = ("min_length", "min_new_tokens", "forced_bos_token_id", "forced_eos_token_id", "begin_suppress_tokens")
_SAMPLING = (
    *("temperature", "top_h", "top_k", "top_p", "min_p", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff", "exponential_decay_length_penalty"),
)
_SEARCH = (
    *("do_sample", "num_beams", "num_return_sequences", "length_penalty", "early_stopping"),
    *("penalty_alpha", "guidance_scale", "num_beam_groups", "diversity_penalty"),
)
_READ = frozenset((*_BIASES, *_PLACES, *_SAMPLING, *_SEARCH))


def stages_from_generation_config(config: Mapping[str, Any]) -> list[Stage]:
    """The stages that transformers would run for a generation config, in its order.

    Settings that are absent or None keep transformers' defaults, which include top_k = 50 when sampling. Under beams
    our processed distribution is normalised and transformers' is not (see `beam`); the two settings that depend on more
    than that, because they scale logits, are refused there.

    Raises:
        UnsupportedStrategy: for a setting that we cannot honour, naming it.
        InvalidParameter: for a key that transformers does not have either, or a value it would refuse.

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
        off, instead = _OFF[key]
        if value != off:
            raise UnsupportedStrategy(f"generation config: {key}={brief(value)} is not supported; {instead}")
    processors = [s for s in (*_constraints(settings), *_warpers(settings)) if s.no_effect() is None]
    return [*_guidance(settings), *processors, _search(settings, processors)]


def _guidance(settings: Mapping[str, Any]) -> list[Stage]:
    """Classifier-free guidance, which comes before all processors."""
    scale = settings.get("guidance_scale", 1.0)
    if scale == 1:
        return []
    if settings.get("num_beams", 1) != 1:
        raise UnsupportedStrategy(
            f"generation config: guidance_scale={brief(scale)} with num_beams > 1 is not supported: transformers does "
            "not reorder the unconditional logits with the beams; write the strategy out to get that"
        )
    return [Guidance(scale)]


def _constraints(settings: Mapping[str, Any]) -> Iterable[Stage]:
    """What transformers puts before the warpers, in the order of its `_get_logits_processor`."""
    if bias := settings.get("sequence_bias"):
        yield LogitBias(bias)
    yield RepetitionPenalty(settings.get("repetition_penalty", 1.0))
    if size := settings.get("no_repeat_ngram_size", 0):
        yield NoRepeatNGram(size)
    if bad_words := settings.get("bad_words_ids"):
        # transformers leaves the end of the sequence out of the bad words.
        ends = settings.get("eos_token_id")
        alone = [[end] for end in ([ends] if isinstance(ends, int) else ends or [])]
        words = _listed(settings, "bad_words_ids", bad_words)
        yield Ban([word for word in words if word not in alone])
    yield MinNewTokens(settings.get("min_length", 0), prompt=True)
    yield MinNewTokens(settings.get("min_new_tokens", 0))
    forced_bos = settings.get("forced_bos_token_id")
    if forced_bos is not None:
        yield ForcedBOS(forced_bos, length=1)
    if (forced_eos := settings.get("forced_eos_token_id")) is not None:
        new, whole = settings.get("max_new_tokens"), settings.get("max_length")
        # max_new_tokens wins over max_length, which counts the prompt.
        if new is not None:
            yield ForcedEOS(new, forced_eos)
        elif whole is not None:
            yield ForcedEOS(whole, forced_eos, prompt=True)
        else:
            raise InvalidParameter(
                "generation config: forced_eos_token_id needs max_new_tokens or max_length for its position; add one"
            )
    if (decay := settings.get("exponential_decay_length_penalty")) is not None:
        start, factor = _pair(decay)
        yield ExponentialLength(start, factor)
    if suppressed := settings.get("suppress_tokens"):
        yield Ban(_listed(settings, "suppress_tokens", suppressed))
    if begin := settings.get("begin_suppress_tokens"):
        if forced_bos is not None:
            raise UnsupportedStrategy(
                "generation config: begin_suppress_tokens with forced_bos_token_id is not supported; drop one of them"
            )
        yield SuppressAtBegin(begin)


def _warpers(settings: Mapping[str, Any]) -> Iterable[Stage]:
    """What transformers puts behind them when it samples."""
    if not settings.get("do_sample", False):
        return
    yield Temperature(settings.get("temperature", 1.0))
    if (h := settings.get("top_h")) is not None:
        yield TopH(h)
    if k := settings.get("top_k", 50):
        yield TopK(k)
    yield TopP(settings.get("top_p", 1.0))
    if p := settings.get("min_p"):
        yield MinP(p)
    yield TypicalP(settings.get("typical_p", 1.0))
    for key, cutoff in (("epsilon_cutoff", EpsilonCutoff), ("eta_cutoff", EtaCutoff)):
        value = settings.get(key, 0.0)
        # transformers takes every value outside (0, 1) as "off".
        if not isinstance(value, int | float) or 0.0 < value < 1.0:
            yield cutoff(value)


def _search(settings: Mapping[str, Any], processors: Iterable[Stage]) -> Stage:
    """The search of a config."""
    sampling = bool(settings.get("do_sample", False))
    width, n = settings.get("num_beams", 1), settings.get("num_return_sequences", 1)
    if alpha := settings.get("penalty_alpha"):
        k = settings.get("top_k", 50)
        if sampling or width != 1 or n != 1 or k in (0, 1):
            raise UnsupportedStrategy(
                f"generation config: penalty_alpha={brief(alpha)} needs top_k > 1 and no do_sample, beams "
                "or several results; drop one or the other"
            )
        return ContrastiveSearch(k, alpha)
    if width == 1:
        if sampling:
            return Sample(n)
        if n != 1:
            raise UnsupportedStrategy(
                f"generation config: num_return_sequences={brief(n)} without do_sample or beams; greedy has one result"
            )
        return Greedy()
    for stage in processors:
        if stage.reads_raw_logits:
            raise UnsupportedStrategy(
                f"generation config: {stage} with num_beams > 1 is not supported: transformers scales "
                "log-probabilities there, decodelab logits; drop one, or write the strategy out if logits will do"
            )
    penalty, stopping = settings.get("length_penalty", 1.0), settings.get("early_stopping", False)
    groups, diversity = settings.get("num_beam_groups", 1), settings.get("diversity_penalty", 0.0)
    if groups == 1:
        return Beam(width, penalty, stopping, n, sampling=sampling)
    if sampling or not diversity:
        raise UnsupportedStrategy(
            f"generation config: num_beam_groups={brief(groups)} needs a diversity_penalty and no do_sample, also in "
            "transformers 4; fix that, or write diverse_beam"
        )
    return DiverseBeam(width, groups, diversity, "hamming", penalty, stopping, n, accumulate="penalised")


def _listed(settings: Mapping[str, Any], key: str, value: Any) -> list[Any]:
    """A setting that must be a list."""
    if not isinstance(value, list | tuple):
        raise InvalidParameter(
            f"generation config: {key} must be a list of token ids, got {brief(value)}; write a list"
        )
    return list(value)


def _pair(value: Any) -> tuple[Any, Any]:
    """The start and the factor of exponential_decay_length_penalty."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidParameter(
            f"generation config: exponential_decay_length_penalty must be a list [start, factor], got {brief(value)}; "
            "write [15, 1.01]"
        )
    return value[0], value[1]
