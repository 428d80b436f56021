"""The parameters of requests: the tables of which validation, OpenAPI and documentation are made.

A parameter is honoured exactly, inert (it says nothing about the answer, and is documented so), or refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from decodelab.server.llama_parameters import LLAMA_PARAMETERS, LLAMA_REFUSED
from decodelab.server.messages import Message, Tool, ToolChoice
from decodelab.server.parameter import MOST, TEXT, Ids, Parameter, Refused, Route, Text, integer, number
from decodelab.server.response_items import Input, ResponseTool, ResponseToolChoice

PARAMETERS: tuple[Parameter, ...] = (
    Parameter("model", str, "One of the models served, as `/v1/models` lists them.", "prompt", required=True),
    Parameter(
        "prompt",
        Text | list[Text] | Ids | list[Ids],
        "One prompt or several, as texts or token ids. A text is read as `decodelab generate` reads it.",
        "prompt",
        ("completions",),
        required=True,
    ),
    Parameter(
        "messages",
        Annotated[list[Message], Field(min_length=1, max_length=10_000)],
        "The conversation, put through the model's chat template; what is said in it is text, never a special token.",
        "prompt",
        ("chat",),
        required=True,
    ),
    Parameter(
        "input", Input, "A text, or the items of a conversation.", "prompt", routes=("responses",), required=True
    ),
    Parameter(
        "add_special_tokens",
        bool,
        "Whether a text is given the BOS that the tokenizer puts before it; true by default.",
        "prompt",
        ("completions",),
        "vLLM",
    ),
    Parameter(
        "add_generation_prompt",
        bool,
        "Whether the template begins the assistant's turn; true by default.",
        "prompt",
        ("chat",),
        "vLLM",
    ),
    Parameter(
        "continue_final_message",
        bool,
        "Continue the text of the last message instead of beginning a turn; the answer holds what is new.",
        "prompt",
        ("chat",),
        "vLLM",
    ),
    Parameter(
        "chat_template_kwargs",
        dict[str, Any],
        "Variables that the model's chat template reads, such as `enable_thinking`; others are refused.",
        "prompt",
        ("chat",),
        "vLLM",
    ),
    Parameter(
        "truncate_prompt_tokens",
        integer(1),
        "Keep the last tokens of the prompt, this many at most.",
        "prompt",
        TEXT,
        "vLLM",
    ),
    Parameter("instructions", Text, "The system message.", "prompt", ("responses",)),
    # How tokens are drawn.
    Parameter(
        "strategy",
        str | list[Any] | dict[str, Any],
        'A strategy of decodelab, as text, as its JSON list, or as an object such as `{"processors": [...], '
        '"search": ...}`. It replaces all sampling parameters.',
        "sampling",
        origin="decodelab",
    ),
    Parameter("temperature", number(0, 100), "Divides the logits; 0 is greedy.", "sampling"),
    Parameter("top_p", number(0, 1), "Nucleus sampling.", "sampling"),
    Parameter("presence_penalty", number(-100, 100), "Subtracted for a token that was generated.", "sampling"),
    Parameter("frequency_penalty", number(-100, 100), "Subtracted each time a token was generated.", "sampling"),
    Parameter("logit_bias", dict[str, float], "Added to the logits of token ids, each in [-100, 100].", "sampling"),
    Parameter(
        "n",
        integer(1, 4096),
        "Sequences in the answer. With a `strategy`: how many of its own, best first.",
        "sampling",
        routes=TEXT,
    ),
    Parameter(
        "best_of",
        integer(1, 4096),
        "Samples of which the n best by mean log-probability are in the answer; with `use_beam_search`: beams.",
        "sampling",
        ("completions",),
    ),
    Parameter("seed", integer(-MOST, MOST), "The same seed gives the same answer, whoever else asks.", "sampling"),
    Parameter("top_k", integer(-1), "Keep the k most probable tokens; 0 and -1 keep all.", "sampling", origin="vLLM"),
    Parameter(
        "min_p", number(0, 1), "Keep tokens at least p times as probable as the best.", "sampling", origin="vLLM"
    ),
    Parameter(
        "repetition_penalty",
        number(0, 100, gt=0),
        "Divides or multiplies the logits of tokens in prompt and answer.",
        "sampling",
        origin="vLLM",
    ),
    Parameter("allowed_token_ids", Ids, "No other tokens are generated.", "sampling", origin="vLLM"),
    Parameter("bad_words", list[Text], "Words that are not generated.", "sampling", origin="vLLM"),
    Parameter(
        "use_beam_search", bool, "Beam search, with `best_of` or else n beams.", "sampling", ("completions",), "vLLM"
    ),
    Parameter(
        "length_penalty",
        number(-10, 10),
        "Exponent of the length that divides a beam's log-probability; only with `use_beam_search`.",
        "sampling",
        ("completions",),
        "vLLM",
    ),
    Parameter("thinking_token_budget", integer(1), "Tokens between thinking marks at most.", "sampling", origin="vLLM"),
    # What texts are allowed.
    Parameter(
        "response_format",
        dict[str, Any],
        'Text (`{"type": "text"}`), a JSON object (`json_object`), or JSON of a schema (`json_schema`), enforced.',
        "constraint",
        TEXT,
    ),
    Parameter(
        "structured_outputs",
        dict[str, Any],
        "One of `json` (a schema), `regex`, `choice` (texts), `grammar` (Lark) or `json_object`, enforced.",
        "constraint",
        origin="vLLM",
    ),
    Parameter("guided_json", Text | dict[str, Any], "`structured_outputs` with `json`.", "constraint", origin="vLLM"),
    Parameter("guided_regex", Text, "`structured_outputs` with `regex`.", "constraint", origin="vLLM"),
    Parameter("guided_choice", list[Text], "`structured_outputs` with `choice`.", "constraint", origin="vLLM"),
    Parameter("guided_grammar", Text, "`structured_outputs` with `grammar`.", "constraint", origin="vLLM"),
    # When they end.
    Parameter(
        "max_tokens",
        integer(0),
        "New tokens at most: 16 by default for completions, the rest of the context for chats. 0 needs `echo`.",
        "limit",
        routes=TEXT,
    ),
    Parameter("max_output_tokens", integer(1), "New tokens at most.", "limit", ("responses",)),
    Parameter("max_completion_tokens", integer(1), "New tokens at most.", "limit", ("chat",)),
    Parameter(
        "stop",
        Annotated[str, Field(min_length=1, max_length=1000)]
        | Annotated[list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=64)],
        "The text ends before the first of these.",
        "limit",
    ),
    Parameter("stop_token_ids", Ids, "The text ends with one of these tokens.", "limit", origin="vLLM"),
    Parameter(
        "ignore_eos",
        bool,
        "EOS ends nothing: texts go on to another end. Not with constraints, nor with beams and other searches.",
        "limit",
        origin="vLLM",
    ),
    Parameter("min_tokens", integer(0), "Nothing ends the text before so many tokens.", "limit", origin="vLLM"),
    # What of the answer is shown.
    Parameter("stream", bool, "Send the answer as it is made, as server-sent events.", "answer"),
    Parameter(
        "stream_options",
        dict[str, bool],
        "`include_usage`: a last event with the usage; `include_progress`: the steps of searches that revise.",
        "answer",
        routes=TEXT,
    ),
    Parameter(
        "logprobs",
        integer(0, 100_000),
        "Log-probabilities of the tokens, and of so many most probable ones at each place.",
        "answer",
        ("completions",),
    ),
    Parameter("logprobs", bool, "Log-probabilities of the tokens.", "answer", ("chat",)),
    Parameter(
        "top_logprobs",
        integer(0, 100_000),
        "Most probable tokens to show at each place; needs `logprobs`.",
        "answer",
        ("chat",),
    ),
    Parameter(
        "logprobs_of",
        Literal["model", "processed"],
        "Whose log-probabilities: the model's own (the default), or those of the distribution that is drawn from.",
        "answer",
        origin="decodelab",
    ),
    Parameter(
        "prompt_logprobs",
        integer(0, 100_000),
        "The model's log-probabilities and ranks of the prompt's tokens, and this many most probable ones at each "
        "place; not in streams.",
        "answer",
        TEXT,
        "vLLM",
    ),
    Parameter("echo", bool, "Begin the answer with the prompt.", "answer", ("completions",)),
    Parameter(
        "include_stop_str_in_output",
        bool,
        "Keep the stop string that ended the text.",
        "answer",
        origin="vLLM",
        routes=TEXT,
    ),
    Parameter(
        "return_token_ids", bool, "Show the token ids of prompt and answer.", "answer", origin="vLLM", routes=TEXT
    ),
    Parameter("tools", list[Tool], "Functions that the model may call.", "prompt", ("chat",)),
    Parameter(
        "tool_choice",
        ToolChoice,
        "`none`, `auto`, `required`, or a function that must be called.",
        "constraint",
        ("chat",),
    ),
    Parameter("tools", list[ResponseTool], "Functions that the model may call.", "prompt", ("responses",)),
    Parameter(
        "tool_choice",
        ResponseToolChoice,
        "`none`, `auto`, `required`, or a function that must be called.",
        "constraint",
        ("responses",),
    ),
    Parameter(
        "parallel_tool_calls",
        bool,
        "Whether several functions may be called at once.",
        "constraint",
        ("chat", "responses"),
    ),
    Parameter(
        "text", dict[str, Any], "`format`: as `response_format` of chats, enforced.", "constraint", ("responses",)
    ),
    Parameter(
        "include",
        list[Literal["message.output_text.logprobs"]],
        "`message.output_text.logprobs`: log-probabilities of the tokens.",
        "answer",
        ("responses",),
    ),
    Parameter(
        "top_logprobs",
        integer(0, 100_000),
        "Most probable tokens to show at each place; needs `include`.",
        "answer",
        ("responses",),
    ),
    Parameter("truncation", Literal["disabled"], "Inert: what is too long is refused.", "inert", ("responses",)),
    Parameter("priority", integer(-1000, 1000), "Lower ones begin first.", "limit", origin="vLLM"),
    # Inert.
    Parameter("user", str, "Inert.", "inert"),
    Parameter("metadata", dict[str, Any], "Inert.", "inert"),
    Parameter("store", bool, "Inert: nothing is stored.", "inert"),
    Parameter("service_tier", Literal["auto", "default"], "Inert.", "inert"),
    Parameter("safety_identifier", str, "Inert.", "inert"),
    Parameter("prompt_cache_key", str, "Inert: prompts that begin alike are computed once anyway.", "inert"),
)

REFUSED: tuple[Refused, ...] = (
    Refused("previous_response_id", "send the whole conversation: nothing is stored", routes=("responses",)),
    Refused("conversation", "send the whole conversation: nothing is stored", routes=("responses",)),
    Refused("background", "ask for a stream", (False,), ("responses",)),
    Refused("prompt", "write input and instructions", routes=("responses",)),
    Refused("max_tool_calls", "this server calls no functions itself", routes=("responses",)),
    Refused("reasoning", "give thinking_token_budget", ({}, {"effort": None, "summary": None}), ("responses",)),
    Refused("suffix", "text is written after the prompt only", ("",), ("completions",)),
    Refused("early_stopping", "write strategy='beam(width=4, early_stopping=true)'", (False,), origin="vLLM"),
    Refused("prompt_logprobs", "ask /v1/score, or /v1/completions", routes=("responses",), origin="vLLM"),
    Refused("truncate_prompt_tokens", "shorten the input", routes=("responses",), origin="vLLM"),
    Refused("add_special_tokens", "the template writes them", (False,), ("chat",), "vLLM"),
    Refused("skip_special_tokens", "ask for return_token_ids", (True,), origin="vLLM"),
    Refused("chat_template", "templates are the model's own; none is taken from a request", (), ("chat",), "vLLM"),
    Refused("documents", "put them into a message", ([],), ("chat",), "vLLM"),
    Refused("logits_processors", "write them as a strategy", ([],), origin="vLLM"),
    Refused("vllm_xargs", "write a strategy", ({},), origin="vLLM"),
    Refused("guided_decoding_backend", "constraints are llguidance's here", origin="vLLM"),
    Refused("guided_whitespace_pattern", "write structured_outputs with disable_any_whitespace", origin="vLLM"),
    Refused("functions", "give tools", ([],), ("chat",)),
    Refused("function_call", "give tool_choice", ("none", "auto"), ("chat",)),
    Refused("modalities", "there is only text", (["text"],), ("chat",)),
    Refused("audio", "there is only text", (), ("chat",)),
    Refused("prediction", "leave it out", (), ("chat",)),
    Refused("reasoning_effort", "give thinking_token_budget, or say it in a message", ("none",), ("chat",)),
    Refused("verbosity", "say it in a message", ("medium",), ("chat",)),
    Refused("web_search_options", "this server has no tools of its own", (), ("chat",)),
)  # fmt: skip


def parameters(route: Route) -> dict[str, Parameter]:
    """The parameters of a route, by name."""
    return {p.name: p for p in (*PARAMETERS, *LLAMA_PARAMETERS) if route in p.routes}


def refused(route: Route) -> dict[str, Refused]:
    """What a route refuses by name."""
    return {p.name: p for p in (*REFUSED, *LLAMA_REFUSED) if route in p.routes}


_MODELS: dict[Route, str] = {
    "completions": "CompletionRequest",
    "chat": "ChatCompletionRequest",
    "responses": "ResponseRequest",
    "llama": "LlamaCompletionRequest",
}


@cache
def request_model(route: Route) -> type[BaseModel]:
    """The pydantic model of a route's requests; unknown names are kept, so that the error can say what was meant."""
    fields: dict[str, Any] = {
        p.name: (p.type, Field(description=p.doc))
        if p.required
        else (p.type | None, Field(default=None, description=f"{p.doc}{_of(p)}"))
        for p in parameters(route).values()
    }
    return create_model(
        _MODELS[route],
        __config__=ConfigDict(extra="allow", strict=True, json_schema_extra={"additionalProperties": False}),
        **fields,
    )


def _of(parameter: Parameter) -> str:
    return "" if parameter.origin == "OpenAI" else f" ({parameter.origin})"


def given(request: BaseModel) -> Mapping[str, Any]:
    """The parameters of a request that say something: those that are there and not null."""
    return {name: value for name in request.model_fields_set if (value := getattr(request, name)) is not None}
