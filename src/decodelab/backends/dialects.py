"""What servers can do: for each dialect the stages it applies, in which order, and how its requests name them.

This is data. A stage that is not listed for a dialect is refused there; none is ever left out of a request. Sources:
the API reference of OpenAI; vLLM's `SamplingParams` and V1 sampler; SGLang's sampling parameters and samplers; the
README of llama.cpp's server and its chain of samplers; Ollama's API reference and both of its samplers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Form = Literal["openai", "llama", "ollama"]
"""How requests and responses are written: as OpenAI's, as llama.cpp's own `/completion`, or as Ollama's own."""

Value = Literal["as it is", "token map", "token pairs", "schema", "response format"]
"""How a request writes a value: as the stage has it (none as -1); biases of token ids as a map or as pairs; a JSON
schema as an object, or within OpenAI's `response_format`."""


@dataclass(frozen=True)
class Taken:
    """How a dialect takes a stage.

    Attributes:
        fields: the request's parameters, with the parameter of the stage that each has; dots for nested ones.
        first, last: its place in the order in which the server applies stages. It may stand anywhere between the two,
            because it commutes with what is there.
        only: other parameters of the stage, with the one value that the server has.
        value: how the values are written.
        sampler: what the order that is sent calls it, where one is.
        within: its place among the stages that are one sampler.
    """

    fields: Mapping[str, str]
    first: int = 0
    last: int = 0
    only: Mapping[str, Any] = field(default_factory=dict[str, Any])
    value: Value = "as it is"
    sampler: str | None = None
    within: int = 0


@dataclass(frozen=True)
class Dialect:
    """What a kind of server can do.

    Attributes:
        name: the scheme of model names.
        title: what people call it.
        stages: how it takes stages, by their names.
        neutral: what every request says that does not use the server's own settings, so that these say nothing.
        greedy: how `greedy` is asked for.
        order: the parameter that holds the order of stages; None where the server has one of its own.
        clashes: pairs of stages that are not translated together, with why.
        text, chat: how texts and chats are asked to be continued.
        n: the parameter for several sequences; None: each is a request of its own, with the seeds that follow.
        seed: bits of the largest seed.
        max_tokens: the parameter for most new tokens, of texts and of chats.
        min_tokens, stop_token_ids: the parameters for further limits; None where there is none.
        logprobs: whether log-probabilities are asked for always, only where a stage reads them (some models of such
            servers refuse that), or never.
        says_stop: whether it says which stop string ended a text, if one did.
        turn: what else a request says whose last message is to be continued; None where that is not possible.
        token_ids: whether prompts may be token ids, and what asks for those of the answer.
        echo: whether it gives the log-probabilities of a text that is sent, so that texts can be scored.
        whole: whether it takes any strategy as it is written.
    """

    name: str
    title: str
    stages: Mapping[str, Taken]
    neutral: Mapping[str, Any]
    greedy: Mapping[str, Any]
    order: str | None = None
    clashes: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    text: Form = "openai"
    chat: Form = "openai"
    n: str | None = "n"
    seed: int = 63
    max_tokens: tuple[str, str] = ("max_tokens", "max_completion_tokens")
    min_tokens: str | None = None
    stop_token_ids: str | None = None
    logprobs: Literal["always", "where read", "never"] = "always"
    says_stop: bool = False
    turn: Mapping[str, Any] | None = None
    token_ids: Mapping[str, Any] | None = field(default_factory=dict[str, Any])
    echo: bool = False
    whole: bool = False


_GENERATED: dict[str, Any] = {"prompt": False, "window": None}
"""Penalties of generated tokens alone, all of them."""
_BIASES = Taken({"logit_bias": "bias"}, value="token map")
_SCHEMA: dict[str, Any] = {"whitespace": True}


def _number(name: str, stage_field: str, first: int, last: int | None = None) -> Taken:
    return Taken({name: stage_field}, first, first if last is None else last)


def _penalty(name: str, place: int = 0) -> Taken:
    return Taken({name: "penalty"}, place, place, _GENERATED)


# Biases and penalties are added up, so they commute; a mask commutes with whatever keeps all tokens.
OPENAI = Dialect(
    name="openai",
    title="OpenAI's API",
    stages={
        "logit_bias": _BIASES,
        "frequency_penalty": _penalty("frequency_penalty"),
        "presence_penalty": _penalty("presence_penalty"),
        "json_schema": Taken({"response_format": "schema"}, 0, 1, _SCHEMA, "response format"),
        "temperature": _number("temperature", "temperature", 1),
        "top_p": _number("top_p", "p", 2),
    },
    neutral={"temperature": 1.0, "top_p": 1.0},
    greedy={"temperature": 0.0},
    logprobs="where read",
    echo=True,
)

VLLM = Dialect(
    name="vllm",
    title="vLLM",
    stages={
        "json_schema": Taken({"structured_outputs.json": "schema"}, 0, 3, _SCHEMA, "schema"),
        "regex": Taken({"structured_outputs.regex": "pattern"}, 0, 3),
        "logit_bias": _BIASES,
        "repetition_penalty": Taken({"repetition_penalty": "penalty"}, 1, 1, {"prompt": True, "window": None}),
        "frequency_penalty": _penalty("frequency_penalty", 2),
        "presence_penalty": _penalty("presence_penalty", 2),
        "temperature": _number("temperature", "temperature", 3),
        "min_p": _number("min_p", "p", 4),
        "top_k": _number("top_k", "k", 3, 4),
        "top_p": _number("top_p", "p", 5),
    },
    neutral={
        "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
        "frequency_penalty": 0.0, "presence_penalty": 0.0,
    },
    greedy={"temperature": 0.0},
    min_tokens="min_tokens",
    stop_token_ids="stop_token_ids",
    says_stop=True,
    turn={"add_generation_prompt": False, "continue_final_message": True},
    token_ids={"return_token_ids": True},
    echo=True,
)  # fmt: skip

SGLANG = Dialect(
    name="sglang",
    title="SGLang",
    stages={
        "json_schema": Taken({"response_format": "schema"}, 0, 1, _SCHEMA, "response format"),
        "regex": Taken({"regex": "pattern"}, 0, 1),
        "logit_bias": _BIASES,
        "frequency_penalty": _penalty("frequency_penalty"),
        "presence_penalty": _penalty("presence_penalty"),
        "temperature": _number("temperature", "temperature", 1),
        "top_k": _number("top_k", "k", 1, 2),
        "top_p": _number("top_p", "p", 2),
        "min_p": _number("min_p", "p", 3),
    },
    neutral={
        "temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
        "frequency_penalty": 0.0, "presence_penalty": 0.0,
    },
    greedy={"temperature": 0.0},
    clashes={("top_k", "top_p"): "its samplers differ in whether top_p counts the mass that top_k has removed"},
    seed=31,
    min_tokens="min_tokens",
    stop_token_ids="stop_token_ids",
    turn={"continue_final_message": True},
    echo=True,
)  # fmt: skip

_CUTS = ("top_k", "top_p", "min_p", "typical_p", "xtc", "top_n_sigma")
_LATE = "it applies constraints to the token drawn, after what removes tokens"


def _window(name: str, within: int) -> Taken:
    """A penalty of llama.cpp, which counts the prompt's tokens, too, and only so many of the last."""
    fields = {name: "penalty", "repeat_last_n": "window"}
    return Taken(fields, 1, 1, {"prompt": True}, sampler="penalties", within=within)


def _sampler(name: str, stage_field: str, sampler: str) -> Taken:
    return Taken({name: stage_field}, 1, 1, sampler=sampler)


LLAMA = Dialect(
    name="llama",
    title="llama.cpp's server",
    stages={
        "logit_bias": Taken({"logit_bias": "bias"}, value="token pairs"),
        "json_schema": Taken({"json_schema": "schema"}, 0, 1, _SCHEMA, "schema"),
        "repetition_penalty": _window("repeat_penalty", 0),
        "frequency_penalty": _window("frequency_penalty", 1),
        "presence_penalty": _window("presence_penalty", 1),
        "dry": Taken(
            {
                "dry_multiplier": "multiplier", "dry_base": "base", "dry_allowed_length": "allowed_length",
                "dry_penalty_last_n": "window", "dry_sequence_breakers": "sequence_breakers",
            },
            1, 1, {"prompt": True}, sampler="dry",
        ),
        "top_n_sigma": _sampler("top_n_sigma", "n", "top_n_sigma"),
        "top_k": _sampler("top_k", "k", "top_k"),
        "typical_p": _sampler("typical_p", "p", "typ_p"),
        "top_p": _sampler("top_p", "p", "top_p"),
        "min_p": _sampler("min_p", "p", "min_p"),
        "xtc": Taken({"xtc_probability": "probability", "xtc_threshold": "threshold"}, 1, 1, sampler="xtc"),
        "temperature": _sampler("temperature", "temperature", "temperature"),
    },
    neutral={
        "temperature": 1.0, "repeat_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0,
        "repeat_last_n": -1, "dynatemp_range": 0.0, "mirostat": 0,
    },
    greedy={"top_k": 1},
    order="samplers",
    clashes={("json_schema", cut): _LATE for cut in _CUTS},
    text="llama",
    n=None,
    seed=31,
    max_tokens=("n_predict", "n_predict"),
    says_stop=True,
    turn={},
    token_ids={"return_tokens": True},
)  # fmt: skip

_TWO = "its two engines apply them in different orders"
OLLAMA = Dialect(
    name="ollama",
    title="Ollama",
    stages={
        "json_schema": Taken({"format": "schema"}, 0, 1, _SCHEMA, "schema"),
        "temperature": _number("options.temperature", "temperature", 1),
        "top_k": _number("options.top_k", "k", 0, 1),
        "top_p": _number("options.top_p", "p", 2),
        "min_p": _number("options.min_p", "p", 3),
    },
    neutral={
        "options": {
            "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "repeat_penalty": 1.0,
            "frequency_penalty": 0.0, "presence_penalty": 0.0,
        },
    },
    greedy={"options.temperature": 0.0},
    clashes={("temperature", "top_p"): _TWO, ("temperature", "min_p"): _TWO}
    | {("json_schema", cut): _LATE for cut in _CUTS},
    text="ollama",
    chat="ollama",
    n=None,
    seed=31,
    max_tokens=("options.num_predict", "options.num_predict"),
    turn={},
    token_ids=None,
)  # fmt: skip

DECODELAB = Dialect(
    name="decodelab",
    title="decodelab serve",
    stages=VLLM.stages,
    neutral=VLLM.neutral,
    greedy=VLLM.greedy,
    min_tokens="min_tokens",
    stop_token_ids="stop_token_ids",
    says_stop=True,
    token_ids={"return_token_ids": True},
    echo=True,
    whole=True,
)

DIALECTS = {d.name: d for d in (OPENAI, VLLM, SGLANG, LLAMA, OLLAMA, DECODELAB)}
"""All dialects, by name."""
