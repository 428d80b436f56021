"""Reading llama.cpp's sampling settings."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from decodelab.core.errors import InvalidParameter, UnsupportedStrategy, did_you_mean
from decodelab.core.stage import Stage, brief
from decodelab.processors.adaptive_p import AdaptiveP
from decodelab.processors.ban import Ban
from decodelab.processors.dry import Dry
from decodelab.processors.dynamic_temperature import DynamicTemperature
from decodelab.processors.frequency_penalty import FrequencyPenalty
from decodelab.processors.logit_bias import LogitBias
from decodelab.processors.min_p import MinP
from decodelab.processors.mirostat import Mirostat
from decodelab.processors.presence_penalty import PresencePenalty
from decodelab.processors.repetition_penalty import RepetitionPenalty
from decodelab.processors.temperature import Temperature
from decodelab.processors.top_k import TopK
from decodelab.processors.top_n_sigma import TopNSigma
from decodelab.processors.top_p import TopP
from decodelab.processors.typical_p import TypicalP
from decodelab.processors.xtc import XTC
from decodelab.search.greedy import Greedy
from decodelab.search.sample import Sample

DEFAULTS: dict[str, Any] = {
    "samplers": "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature",
    "logit_bias": (),
    "repeat_last_n": 64,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "dry_multiplier": 0.0,
    "dry_base": 1.75,
    "dry_allowed_length": 2,
    "dry_penalty_last_n": 64,
    "dry_sequence_breakers": ("\n", ":", '"', "*"),
    "top_n_sigma": -1.0,
    "top_k": 40,
    "typical_p": 1.0,
    "top_p": 0.95,
    "min_p": 0.05,
    "xtc_probability": 0.0,
    "xtc_threshold": 0.1,
    "temperature": 0.8,
    "dynatemp_range": 0.0,
    "dynatemp_exponent": 1.0,
    "adaptive_target": -1.0,
    "adaptive_decay": 0.9,
    "mirostat": 0,
    "mirostat_tau": 5.0,
    "mirostat_eta": 0.1,
    "n": 1,
}
"""llama.cpp's own defaults (`common_params_sampling`), by the names of its server, and how many samples."""
# The names of the library, the command line and llama-cpp-python.
_ALIASES = {
    "temp": "temperature",
    "typ_p": "typical_p",
    "typical": "typical_p",
    "penalty_last_n": "repeat_last_n",
    "penalty_repeat": "repeat_penalty",
    "penalty_freq": "frequency_penalty",
    "penalty_present": "presence_penalty",
    "dynatemp_exp": "dynatemp_exponent",
    "mirostat_mode": "mirostat",
    "mirostat_ent": "mirostat_tau",
    "mirostat_lr": "mirostat_eta",
    "top_nsigma": "top_n_sigma",
    "dry_sequence_breaker": "dry_sequence_breakers",
}
# Settings that say nothing about which tokens are chosen, or that belong to the request around the strategy.
_ELSEWHERE = frozenset(
    (
        *("seed", "n_predict", "max_tokens", "n_prev", "n_probs", "no_perf", "timing_per_token", "backend_sampling"),
        *("model", "prompt", "messages", "stop", "stream", "cache_prompt", "n_keep", "id_slot", "post_sampling_probs"),
    )
)
# Settings we do not honour, with the value that means "off" and what is to be done about another.
_OFF: dict[str, tuple[Any, str]] = {
    "min_keep": (0, "leave it out"),
    "ignore_eos": (False, "write min_new_tokens"),
    "tfs_z": (1.0, "llama.cpp has dropped it; write tfs_z among the stages"),
    "penalize_nl": (True, "llama.cpp has dropped it"),
    "grammar": ("", "write the strategy out instead"),
    "json_schema": (None, "write the strategy out instead"),
}
_SAMPLERS = {
    "penalties": "penalties", "e": "penalties",
    "dry": "dry", "d": "dry",
    "top_n_sigma": "top_n_sigma", "s": "top_n_sigma",
    "top_k": "top_k", "k": "top_k",
    "typ_p": "typ_p", "typical_p": "typ_p", "typical": "typ_p", "typ": "typ_p", "y": "typ_p",
    "top_p": "top_p", "nucleus": "top_p", "p": "top_p",
    "min_p": "min_p", "m": "min_p",
    "xtc": "xtc", "x": "xtc",
    "temperature": "temperature", "temp": "temperature", "t": "temperature",
    "adaptive_p": "adaptive_p", "a": "adaptive_p",
}  # fmt: skip
_LEAST = sys.float_info.min
"""In place of a mass of 0, of which llama.cpp keeps one token."""


def stages_from_llama_cpp(settings: Mapping[str, Any]) -> list[Stage]:
    """The stages that llama.cpp would run for its sampling settings, in its order.

    Settings that are absent or None keep llama.cpp's own defaults, which include top_k = 40, top_p = 0.95,
    min_p = 0.05 and temperature 0.8. Its values for "off" leave a stage out; with a temperature of 0 so do
    stages that keep the most probable token. The distributions are those of our stages, see each for where ties fall.

    Raises:
        UnsupportedStrategy: for a setting that we cannot honour, naming it.
        InvalidParameter: for an unknown key, or a value that llama.cpp would not take.

    >>> [str(s) for s in stages_from_llama_cpp({"top_k": 0, "repeat_penalty": 1.1, "mirostat": 0, "temp": 1.0})]
    ['repetition_penalty(penalty=1.1, window=64)', 'top_p=0.95', 'min_p=0.05', 'sample']
    """
    values = dict(DEFAULTS)
    for written, value in settings.items():
        key = _ALIASES.get(written, written)
        if key in _OFF:
            off, instead = _OFF[key]
            if value is not None and value != off:
                raise UnsupportedStrategy(f"llama.cpp: {written}={brief(value)} is not supported; {instead}")
        elif key in DEFAULTS:
            values[key] = DEFAULTS[key] if value is None else value
        elif key not in _ELSEWHERE:
            known = [*DEFAULTS, *_ALIASES, *_OFF, *_ELSEWHERE]
            raise InvalidParameter(
                f"llama.cpp: unknown setting {str(written)[:60]!r}{did_you_mean(str(written), known)}"
            )
    for key, default in DEFAULTS.items():
        if isinstance(default, int | float):
            _check_number(key, values[key])
    if values["mirostat"] not in (0, 1, 2):
        raise InvalidParameter(f"llama.cpp: mirostat must be 0, 1 or 2, got {brief(values['mirostat'])}; 0 means off")
    chain = _with_mirostat(values) if values["mirostat"] else _with_samplers(values)
    stages = [s for s in (*_biases(values["logit_bias"]), *chain) if s.no_effect() is None]
    if Temperature(0.0) not in stages:
        return [*stages, Sample(values["n"])]
    if values["n"] != 1:
        raise UnsupportedStrategy(f"llama.cpp: n={values['n']} with temperature 0; greedy has one result")
    if stages[-1].name == Temperature.name:
        return [*(s for s in stages if not s.keeps_argmax), Greedy()]
    return [*stages, Sample()]


def _check_number(key: str, value: Any) -> None:
    """Refuse what is not a number, before it is compared with the values for "off"."""
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        raise InvalidParameter(f"llama.cpp: {key} must be a number, got {brief(value)}; the default is {DEFAULTS[key]}")


def _biases(written: Any) -> Iterable[Stage]:
    """`logit_bias`: a map or pairs; false forbids a token, digits in a map's keys are a token id."""
    if not isinstance(written, Mapping | list | tuple):
        raise InvalidParameter(
            f"llama.cpp: logit_bias must be a map or pairs, got {brief(written)}; write [[17, -2.0]]"
        )
    if isinstance(written, Mapping):
        pairs: list[Any] = [[int(k) if str(k).isdecimal() else k, bias] for k, bias in written.items()]
    else:
        pairs = list(written)
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise InvalidParameter(f"llama.cpp: logit_bias must hold pairs, got {brief(pairs)}; write [[17, -2.0]]")
    forbidden = [word for word, bias in pairs if bias is False or bias == -float("inf")]
    if forbidden:
        yield Ban(forbidden)
    if rest := [(word, bias) for word, bias in pairs if not (bias is False or bias == -float("inf"))]:
        yield LogitBias(rest)


def _with_mirostat(values: Mapping[str, Any]) -> Iterable[Stage]:
    """Mirostat replaces all but the temperature."""
    yield Temperature(max(0.0, values["temperature"]))
    if values["temperature"] > 0:
        yield Mirostat(
            values["mirostat_tau"], values["mirostat_eta"], version=int(values["mirostat"]), surprise="truncated"
        )


def _with_samplers(values: Mapping[str, Any]) -> Iterable[Stage]:
    """The samplers in the order asked for; adaptive_p, which draws the token in llama.cpp, always last."""
    names = _sampler_names(values["samplers"])
    for name in names:
        yield from _sampler(name, values)
    if "adaptive_p" in names and values["adaptive_target"] >= 0:
        yield AdaptiveP(values["adaptive_target"], values["adaptive_decay"])


def _sampler_names(written: Any) -> list[str]:
    """`samplers`: a list of names, names joined by semicolons, or a letter for each."""
    if isinstance(written, str):
        name = written.strip().replace("-", "_")
        written = name.split(";") if ";" in name or name in _SAMPLERS else list(name)
    if not isinstance(written, list | tuple) or not all(isinstance(name, str) for name in written):
        raise InvalidParameter(f"llama.cpp: samplers must be a list of names, got {brief(written)}; write ['top_k']")
    names = []
    for item in written:
        name = item.strip().replace("-", "_")
        if name not in _SAMPLERS:
            hint = did_you_mean(name, _SAMPLERS)
            raise UnsupportedStrategy(f"llama.cpp: samplers: {brief(item)} is not supported{hint}")
        names.append(_SAMPLERS[name])
    return names


def _sampler(name: str, v: Mapping[str, Any]) -> Iterable[Stage]:
    """The stages of one sampler; none where its setting is llama.cpp's "off"."""
    if name == "penalties":
        window = None if v["repeat_last_n"] < 0 else v["repeat_last_n"]
        if window != 0:
            yield RepetitionPenalty(v["repeat_penalty"], window=window)
            yield FrequencyPenalty(v["frequency_penalty"], prompt=True, window=window)
            yield PresencePenalty(v["presence_penalty"], prompt=True, window=window)
    elif name == "dry":
        window = None if v["dry_penalty_last_n"] < 0 else v["dry_penalty_last_n"]
        if window != 0 and v["dry_base"] >= 1.0 and v["dry_multiplier"] != 0.0:
            yield Dry(v["dry_multiplier"], v["dry_base"], v["dry_allowed_length"], window, v["dry_sequence_breakers"])
    elif name == "top_n_sigma" and v["top_n_sigma"] > 0:
        yield TopNSigma(v["top_n_sigma"])
    elif name == "top_k" and v["top_k"] > 0:
        yield TopK(v["top_k"])
    elif name == "typ_p" and v["typical_p"] < 1.0:
        yield TypicalP(max(v["typical_p"], _LEAST))
    elif name == "top_p" and v["top_p"] < 1.0:
        yield TopP(max(v["top_p"], _LEAST))
    elif name == "min_p" and v["min_p"] > 0.0:
        # Above 1 llama.cpp keeps the most probable token, as at 1.
        yield MinP(min(v["min_p"], 1.0))
    elif name == "xtc" and v["xtc_probability"] > 0.0 and v["xtc_threshold"] <= 0.5:
        yield XTC(min(v["xtc_probability"], 1.0), v["xtc_threshold"])
    elif name == "temperature":
        if v["dynatemp_range"] > 0.0:
            yield DynamicTemperature(v["dynatemp_range"], v["dynatemp_exponent"], v["temperature"])
        else:
            yield Temperature(max(0.0, v["temperature"]))
