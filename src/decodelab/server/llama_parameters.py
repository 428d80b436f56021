"""The parameters of llama-server's `/completion`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from decodelab.server.parameter import MOST, Ids, Parameter, Refused, Role, Text, integer, number

_ANY = number(-1e9, 1e9)


def _own(name: str, type: Any, doc: str, role: Role = "sampling", *, required: bool = False) -> Parameter:
    return Parameter(name, type, doc, role, ("llama",), "llama.cpp", required)


LLAMA_PARAMETERS: tuple[Parameter, ...] = (
    _own("model", str, "One of the models served; needed where there are several.", "prompt"),
    _own("prompt", Text | Ids, "The prompt, as text or token ids.", "prompt", required=True),
    _own(
        "samplers",
        str | Annotated[list[str], Field(max_length=64)],
        "The samplers and their order: names, or a letter for each.",
    ),
    _own("temperature", _ANY, "Divides the logits; 0 is greedy. 0.8 by default."),
    _own("dynatemp_range", number(0, 1e9), "How far the temperature varies with the entropy; 0 is off."),
    _own("dynatemp_exponent", number(0, 1e9), "How it varies. 1 by default."),
    _own("top_k", integer(-MOST), "Keep the k most probable tokens; 0 keeps all. 40 by default."),
    _own("top_p", _ANY, "Nucleus sampling. 0.95 by default."),
    _own("min_p", _ANY, "Keep tokens at least p times as probable as the best. 0.05 by default."),
    _own("typical_p", _ANY, "Locally typical sampling; 1 is off."),
    _own("top_n_sigma", _ANY, "Keep logits within n standard deviations of the highest; -1 is off."),
    _own("xtc_probability", _ANY, "How often the most probable choices are excluded; 0 is off."),
    _own("xtc_threshold", _ANY, "How probable a token must be to be excluded. 0.1 by default."),
    _own("repeat_penalty", _ANY, "Divides or multiplies the logits of repeated tokens; 1 is off."),
    _own("repeat_last_n", integer(-1), "How many of the last tokens the three penalties look at; -1 for all."),
    _own("presence_penalty", _ANY, "Subtracted for a token that was there."),
    _own("frequency_penalty", _ANY, "Subtracted each time that a token was there."),
    _own("dry_multiplier", _ANY, "The strength of the DRY penalty of repeated sequences; 0 is off."),
    _own("dry_base", _ANY, "How it grows with the length of the repetition. 1.75 by default."),
    _own("dry_allowed_length", integer(0), "How long repetitions may be for nothing. 2 by default."),
    _own("dry_penalty_last_n", integer(-1), "How many of the last tokens it looks at; -1 for all. 64 by default."),
    _own("dry_sequence_breakers", list[Text], "Texts over which no repetition goes on."),
    _own("mirostat", integer(0, 2), "1 or 2: Mirostat of that version instead of the samplers; 0 is off."),
    _own("mirostat_tau", _ANY, "Its target surprise, in bits. 5 by default."),
    _own("mirostat_eta", _ANY, "Its learning rate. 0.1 by default."),
    _own("adaptive_target", _ANY, "The target probability of adaptive-p; below 0 is off."),
    _own("adaptive_decay", _ANY, "The decay of adaptive-p. 0.9 by default."),
    _own("logit_bias", dict[str, Any] | list[Any], "Pairs of a token and a bias; false forbids the token."),
    _own("seed", integer(-1), "The same seed gives the same answer; -1 draws one."),
    _own("grammar", Text, "A grammar in GBNF that the text must match; it acts before the samplers.", "constraint"),
    _own(
        "json_schema",
        dict[str, Any],
        "A JSON schema that the text must match, likewise; without white space.",
        "constraint",
    ),
    _own("n_predict", integer(-1), "New tokens at most; -1, the default, is the rest of the context.", "limit"),
    _own(
        "stop",
        Annotated[list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=64)],
        "The text ends before the first of these.",
        "limit",
    ),
    _own("ignore_eos", bool, "EOS ends nothing.", "limit"),
    _own("stream", bool, "Send the answer as it is made, as server-sent events.", "answer"),
    _own("n_probs", integer(0, 100_000), "Log-probabilities of the tokens and of this many at each place.", "answer"),
    _own(
        "post_sampling_probs",
        bool,
        "Show probabilities after the samplers instead of the model's log-probabilities; needs `n_probs`.",
        "answer",
    ),
    _own("return_tokens", bool, "Show the ids of the tokens.", "answer"),
    _own("cache_prompt", bool, "Inert: prompts that begin alike are computed once anyway.", "inert"),
    _own("id_slot", integer(-1), "Inert: there are no slots.", "inert"),
    _own("n_keep", integer(-1), "Inert: nothing of a prompt is dropped; what is too long is refused.", "inert"),
)


def _refused(name: str, why: str, *off: Any) -> Refused:
    return Refused(name, why, off, ("llama",), "llama.cpp")


LLAMA_REFUSED: tuple[Refused, ...] = (
    _refused("n_indent", "write a grammar", 0),
    _refused("n_discard", "what is too long is refused", 0),
    _refused("n_cmpl", "send several requests, or ask /v1/completions for n", 1),
    _refused("n_cache_reuse", "only prompts that begin alike share work", 0),
    _refused("min_keep", "leave it out", 0),
    _refused("t_max_predict_ms", "give n_predict", 0, -1),
    _refused("timings_per_token", "see /metrics", False),
    _refused("return_progress", "leave it out", False),
    _refused("response_fields", "read what you need of the answer", []),
    _refused("lora", "serve the model with its adapter: -m BASE+ADAPTER", []),
    _refused("image_data", "there is only text", []),
    _refused("penalize_nl", "llama.cpp has dropped it", True),
    _refused("tfs_z", "llama.cpp has dropped it", 1.0),
    _refused("max_tokens", "write n_predict"),
    _refused("n", "send several requests, or ask /v1/completions", 1),
    _refused("strategy", "give it to /v1/completions"),
    _refused("logprobs", "write n_probs"),
)
