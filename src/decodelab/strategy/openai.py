"""Reading the sampling parameters of the OpenAI API, and those vLLM adds to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from decodelab.core.errors import InvalidParameter, UnsupportedStrategy, did_you_mean
from decodelab.core.stage import Stage, brief
from decodelab.processors.allow import Allow
from decodelab.processors.ban import Ban
from decodelab.processors.frequency_penalty import FrequencyPenalty
from decodelab.processors.logit_bias import LogitBias
from decodelab.processors.min_new_tokens import MinNewTokens
from decodelab.processors.min_p import MinP
from decodelab.processors.presence_penalty import PresencePenalty
from decodelab.processors.repetition_penalty import RepetitionPenalty
from decodelab.processors.temperature import Temperature
from decodelab.processors.top_k import TopK
from decodelab.processors.top_p import TopP
from decodelab.search.greedy import Greedy
from decodelab.search.sample import Sample

# OpenAI's parameters, then vLLM's, each with the value it has when it is left out.
_DEFAULTS: dict[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "logit_bias": {},
    "n": 1,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "min_tokens": 0,
    "bad_words": (),
    "allowed_token_ids": (),
}
# What belongs to the request around the strategy and says nothing about which tokens are chosen.
_ELSEWHERE = frozenset(
    (
        *("model", "messages", "prompt", "suffix", "echo", "stop", "stop_token_ids", "seed", "user", "metadata"),
        *("max_tokens", "max_completion_tokens", "stream", "stream_options", "logprobs", "top_logprobs", "store"),
        *("service_tier", "safety_identifier", "prompt_cache_key", "prompt_logprobs", "priority", "request_id"),
        *("skip_special_tokens", "spaces_between_special_tokens", "include_stop_str_in_output", "detokenize"),
        *("truncate_prompt_tokens", "add_special_tokens", "add_generation_prompt", "continue_final_message"),
        *("chat_template", "chat_template_kwargs", "documents", "output_kind", "return_token_ids"),
        *("return_tokens_as_token_ids", "skip_reading_prefix_cache", "cache_salt"),
    )
)
# What we do not honour, with the values that mean "off" and what is to be done about another.
_OFF: dict[str, tuple[tuple[Any, ...], str]] = {
    "best_of": ((1,), "write sample(n=...) | best_of"),
    "use_beam_search": ((False,), "write beam"),
    "length_penalty": ((1.0,), "write beam"),
    "early_stopping": ((False,), "write beam"),
    "ignore_eos": ((False,), "write min_new_tokens"),
    "response_format": (({"type": "text"},), "write the strategy out instead"),
    "structured_outputs": ((), "write the strategy out instead"),
    "guided_json": ((), "write the strategy out instead"),
    "guided_regex": ((), "write the strategy out instead"),
    "guided_choice": ((), "write allow"),
    "guided_grammar": ((), "write the strategy out instead"),
    "logits_processors": (([],), "write the strategy out instead"),
    "extra_args": (({},), "write the strategy out instead"),
    "vllm_xargs": (({},), "write the strategy out instead"),
    "tools": (([],), "render them into the prompt with Chat(tools=...)"),
    "tool_choice": (("none", "auto"), "only the text of a call can be generated"),
    "functions": (([],), "render them into the prompt with Chat(tools=...)"),
    "parallel_tool_calls": ((True, False), ""),
    "prediction": ((), "leave it out"),
    "reasoning_effort": ((), "leave it out, or write it into the prompt"),
    "verbosity": ((), "leave it out, or write it into the prompt"),
    "modalities": ((["text"],), "there is only text"),
    "audio": ((), "there is only text"),
    "web_search_options": ((), "leave it out"),
}
_GREEDY = 1e-5
"""vLLM takes a temperature below this as greedy."""


def stages_from_openai(parameters: Mapping[str, Any]) -> list[Stage]:
    """The stages that vLLM would run for parameters of the OpenAI API and its own, in its order.

    Allowed and bad words, min_tokens, logit_bias; then repetition, frequency and presence penalty; then temperature,
    min_p, top_k, top_p. Below a temperature of 1e-5 the search is greedy, and the last three are left out.
    Parameters of the request that say nothing about which tokens are chosen (max_tokens, stop, seed, ...) are
    passed over: give them to `generate`.

    Raises:
        UnsupportedStrategy: for a parameter that we cannot honour, naming it.
        InvalidParameter: for an unknown key, or a value out of range.

    >>> request = {"temperature": 0.7, "top_p": 0.9, "presence_penalty": 0.5, "max_tokens": 64, "min_p": 0.05}
    >>> [str(s) for s in stages_from_openai(request)]
    ['presence_penalty=0.5', 'temperature=0.7', 'min_p=0.05', 'top_p=0.9', 'sample']
    """
    values = dict(_DEFAULTS)
    for key, value in parameters.items():
        if key in _OFF:
            off, instead = _OFF[key]
            if value is not None and value not in off:
                raise UnsupportedStrategy(f"openai: {key}={brief(value)} is not supported; {instead}")
        elif key in _DEFAULTS:
            values[key] = _DEFAULTS[key] if value is None else value
        elif key not in _ELSEWHERE:
            known = [*_DEFAULTS, *_OFF, *_ELSEWHERE]
            raise InvalidParameter(f"openai: unknown parameter {str(key)[:60]!r}{did_you_mean(str(key), known)}")
    if values["min_tokens"] and parameters.get("stop_token_ids"):
        raise UnsupportedStrategy(
            "openai: min_tokens also suppresses stop_token_ids, which no stage does; "
            "pass min_new_tokens and stop_token_ids to generate"
        )
    stages = [s for s in (*_constraints(values), *_penalties(values)) if s.no_effect() is None]
    temperature = Temperature(values["temperature"])
    if temperature.temperature < _GREEDY:
        if values["n"] != 1:
            raise UnsupportedStrategy(f"openai: n={brief(values['n'])} with temperature 0; greedy has one result")
        return [*stages, Greedy()]
    return [*stages, *(s for s in (temperature, *_truncations(values)) if s.no_effect() is None), Sample(values["n"])]


def _constraints(values: Mapping[str, Any]) -> Iterable[Stage]:
    if values["allowed_token_ids"]:
        yield Allow(values["allowed_token_ids"], eos=False)
    # vLLM looks for the beginning of a bad word among generated tokens only.
    yield Ban(values["bad_words"], prompt=False)
    yield MinNewTokens(values["min_tokens"])
    yield LogitBias(_biases(values["logit_bias"]))


def _penalties(values: Mapping[str, Any]) -> Iterable[Stage]:
    yield RepetitionPenalty(values["repetition_penalty"])
    yield FrequencyPenalty(values["frequency_penalty"])
    yield PresencePenalty(values["presence_penalty"])


def _truncations(values: Mapping[str, Any]) -> Iterable[Stage]:
    if values["min_p"] != 0.0:
        yield MinP(values["min_p"])
    if values["top_k"] not in (0, -1):
        yield TopK(values["top_k"])
    yield TopP(values["top_p"])


def _biases(written: Any) -> list[tuple[int, float]]:
    """`logit_bias`: a map from token ids, which JSON writes as texts, to numbers within 100 of 0."""
    if not isinstance(written, Mapping):
        raise InvalidParameter(f"openai: logit_bias must be a map, got {brief(written)}; write {{'17': -2.0}}")
    pairs = []
    for key, bias in written.items():
        if not str(key).isdecimal():
            raise InvalidParameter(f"openai: logit_bias must have token ids as keys, got {brief(key)}; write numbers")
        if not isinstance(bias, int | float) or not abs(bias) <= 100:
            raise InvalidParameter(
                f"openai: the logit_bias of {brief(key)} must be in [-100, 100], got {brief(bias)}; "
                "use ban to forbid a token"
            )
        pairs.append((int(key), bias))
    return pairs
