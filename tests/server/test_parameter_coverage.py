"""Every parameter in the tables does something: a new name without a case here fails.

A case is what a request says besides (in both requests compared) and what it says more. The answers must differ, by
what they say or by an error; those of an inert parameter must not.
"""

from __future__ import annotations

import json
from typing import Any, get_args

import httpx2
import pytest

from decodelab.server.parameter import Route
from decodelab.server.parameters import parameters
from decodelab.testing.parameter_page import PAGE, page

PATHS: dict[str, str] = {
    "completions": "/v1/completions",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "llama": "/completion",
}
TURNS = [{"role": "user", "content": "Tell me a story."}]
QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]
BASES: dict[str, dict[str, Any]] = {
    "completions": {"model": "nano", "prompt": "Once upon a time", "max_tokens": 6, "seed": 1},
    "chat": {"model": "nano", "messages": TURNS, "max_tokens": 14, "seed": 1},
    "responses": {"model": "nano", "input": TURNS[0]["content"], "max_output_tokens": 14, "seed": 1},
    "llama": {"prompt": "Once upon a time", "n_predict": 6, "seed": 1},
}
ADD = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}
TOOLS = {"tools": [{"type": "function", "function": ADD}]}
OWN_TOOLS = {"tools": [{"type": "function", **ADD}]}
TWICE = {"structured_outputs": {"choice": ["add(a=1)\nadd(a=2)"]}, "max_tokens": 40}
GREEDY = {"temperature": 0}
SUM = {"prompt": "What is 2 + 3?", "max_tokens": 30, **GREEDY}
BEAMS = {**GREEDY, "use_beam_search": True, "best_of": 3}
SAID = {"messages": [*TURNS, {"role": "assistant", "content": "2+3"}]}
ANY = list(range(1024))

Case = tuple[dict[str, Any], dict[str, Any]]
CASES: dict[str, Case] = {
    "model": ({}, {"model": "other"}),
    "prompt": ({}, {"prompt": "The dog"}),
    "strategy": ({}, {"strategy": "greedy"}),
    "temperature": ({}, {"temperature": 0}),
    "top_p": ({}, {"top_p": 0.01}),
    "presence_penalty": (GREEDY, {"presence_penalty": -100}),
    "frequency_penalty": (GREEDY, {"frequency_penalty": -100}),
    "logit_bias": ({}, {"logit_bias": {"300": 100}}),
    "n": ({}, {"n": 2}),
    "best_of": ({}, {"best_of": 8}),
    "seed": ({}, {"seed": 2}),
    "top_k": ({}, {"top_k": 1}),
    "min_p": ({}, {"min_p": 1.0}),
    "repetition_penalty": (GREEDY, {"repetition_penalty": 0.01}),
    "allowed_token_ids": ({}, {"allowed_token_ids": [300, 301]}),
    "bad_words": (GREEDY, {"bad_words": [",", " there", " was", "2", "\n"]}),
    "use_beam_search": (GREEDY, {"use_beam_search": True, "best_of": 3}),
    "length_penalty": (BEAMS, {"length_penalty": 0.0}),
    "thinking_token_budget": ({"prompt": "Once <think>"}, {"thinking_token_budget": 1}),
    "response_format": ({}, {"response_format": {"type": "json_object"}}),
    "structured_outputs": ({}, {"structured_outputs": {"regex": "[xyz]+"}}),
    "guided_json": ({}, {"guided_json": {"type": "object"}}),
    "guided_regex": ({}, {"guided_regex": "[xyz]+"}),
    "guided_choice": ({}, {"guided_choice": ["xyz"]}),
    "guided_grammar": ({}, {"guided_grammar": 'start: "xyz"'}),
    "max_tokens": ({}, {"max_tokens": 2}),
    "stop": ({}, {"stop": list("aeiou ")}),
    "stop_token_ids": ({}, {"stop_token_ids": ANY}),
    "min_tokens": ({"stop_token_ids": ANY}, {"min_tokens": 4}),
    "ignore_eos": (SUM, {"ignore_eos": True}),
    "stream": ({}, {"stream": True}),
    "stream_options": ({"stream": True}, {"stream_options": {"include_usage": True}}),
    "logprobs": ({}, {"logprobs": 2}),
    "logprobs_of": ({"logprobs": 1, "top_k": 2}, {"logprobs_of": "processed"}),
    "echo": ({}, {"echo": True}),
    "include_stop_str_in_output": ({"stop": list("aeiou ")}, {"include_stop_str_in_output": True}),
    "return_token_ids": ({}, {"return_token_ids": True}),
    "add_special_tokens": ({}, {"add_special_tokens": False}),
    "truncate_prompt_tokens": ({}, {"truncate_prompt_tokens": 1}),
    "prompt_logprobs": ({}, {"prompt_logprobs": 1}),
    "priority": ({}, {"priority": 5000}),  # what it does is seen among others: test_faults.py
    "user": ({}, {"user": "me"}),
    "metadata": ({}, {"metadata": {"a": "b"}}),
    "store": ({}, {"store": True}),
    "service_tier": ({}, {"service_tier": "auto"}),
    "safety_identifier": ({}, {"safety_identifier": "a"}),
    "prompt_cache_key": ({}, {"prompt_cache_key": "a"}),
    "messages": ({}, {"messages": QUESTION}),
    "add_generation_prompt": ({}, {"add_generation_prompt": False}),
    "continue_final_message": (SAID, {"continue_final_message": True}),
    "chat_template_kwargs": ({}, {"chat_template_kwargs": {"enable_thinking": False}}),
    "max_completion_tokens": ({"max_tokens": None}, {"max_completion_tokens": 2}),
    "top_logprobs": ({"logprobs": True}, {"top_logprobs": 2}),
    "tools": ({}, TOOLS),
    "tool_choice": ({**TOOLS, "max_tokens": 20}, {"tool_choice": "required"}),
    "parallel_tool_calls": ({**TOOLS, **TWICE}, {"parallel_tool_calls": False}),
    "input": ({}, {"input": "What is 2 + 3?"}),
    "instructions": ({}, {"instructions": "What is 2 + 3?"}),
    "max_output_tokens": ({}, {"max_output_tokens": 2}),
    "text": ({}, {"text": {"format": {"type": "json_object"}}}),
    "include": ({}, {"include": ["message.output_text.logprobs"]}),
    "truncation": ({}, {"truncation": "disabled"}),
    "samplers": ({}, {"samplers": ["top_k"], "top_k": 1}),
    "dynatemp_range": ({"temperature": 3.0}, {"dynatemp_range": 3.0}),
    "dynatemp_exponent": ({"temperature": 3.0, "dynatemp_range": 3.0}, {"dynatemp_exponent": 9}),
    "typical_p": ({}, {"typical_p": 0.05}),
    "top_n_sigma": ({"temperature": 5.0, "samplers": ["temperature", "top_n_sigma"]}, {"top_n_sigma": 0.1}),
    "xtc_probability": ({"samplers": ["xtc"], "max_tokens": 16}, {"xtc_probability": 1.0}),
    "xtc_threshold": ({"samplers": ["xtc"], "xtc_probability": 1.0}, {"xtc_threshold": 0.001}),
    "repeat_penalty": (GREEDY, {"repeat_penalty": 0.01}),
    "repeat_last_n": ({**GREEDY, "repeat_penalty": 0.01}, {"repeat_last_n": 0}),
    "dry_multiplier": ({"prompt": "a dog a dog a", **GREEDY}, {"dry_multiplier": -50.0, "dry_allowed_length": 1}),
    "mirostat": ({"temperature": 5.0}, {"mirostat": 2}),
    "mirostat_tau": ({"mirostat": 2, "temperature": 3.0}, {"mirostat_tau": 0.01}),
    "mirostat_eta": ({"mirostat": 2, "mirostat_tau": 1.0, "temperature": 5.0, "max_tokens": 12}, {"mirostat_eta": 5.0}),
    "adaptive_target": ({"samplers": ["adaptive_p"]}, {"adaptive_target": 0.1}),
    "adaptive_decay": ({"samplers": ["adaptive_p"], "adaptive_target": 0.2}, {"adaptive_decay": 0.1}),
    "grammar": ({}, {"grammar": "root ::= [xyz]+"}),
    "json_schema": ({}, {"json_schema": {"type": "object"}}),
    "n_predict": ({}, {"n_predict": 2}),
    "n_probs": ({}, {"n_probs": 2}),
    "post_sampling_probs": ({"n_probs": 2}, {"post_sampling_probs": True}),
    "return_tokens": ({}, {"return_tokens": True}),
    "cache_prompt": ({}, {"cache_prompt": False}),
    "id_slot": ({}, {"id_slot": 3}),
    "n_keep": ({}, {"n_keep": 4}),
}
DRY = {"prompt": "1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2,", **GREEDY, "dry_multiplier": 50.0}
CASES |= {
    "dry_base": ({**DRY, "dry_multiplier": 0.1}, {"dry_base": 9.0}),
    "dry_allowed_length": (DRY, {"dry_allowed_length": 40}),
    "dry_penalty_last_n": (DRY, {"dry_penalty_last_n": 0}),
    "dry_sequence_breakers": (DRY, {"dry_sequence_breakers": [","]}),
}
OWN: dict[tuple[str, str], Case] = {
    ("chat", "thinking_token_budget"): (
        {**SAID, "continue_final_message": True, "messages": [*TURNS, {"role": "assistant", "content": "<think>"}]},
        {"thinking_token_budget": 1},
    ),
    ("responses", "thinking_token_budget"): ({}, {"thinking_token_budget": 1, "strategy": "greedy"}),
    ("chat", "ignore_eos"): ({"messages": QUESTION, "max_tokens": 30, **GREEDY}, {"ignore_eos": True}),
    ("responses", "ignore_eos"): ({"input": "What is 2 + 3?", "max_output_tokens": 30, **GREEDY}, {"ignore_eos": True}),
    ("llama", "ignore_eos"): ({"prompt": "What is 2 + 3?", "n_predict": 30, **GREEDY}, {"ignore_eos": True}),
    ("chat", "logprobs"): ({}, {"logprobs": True}),
    ("chat", "logprobs_of"): ({"logprobs": True, "top_k": 2}, {"logprobs_of": "processed"}),
    ("responses", "logprobs_of"): (
        {"include": ["message.output_text.logprobs"], "top_k": 2, "temperature": 2.0},
        {"logprobs_of": "processed"},
    ),
    ("responses", "top_logprobs"): ({"include": ["message.output_text.logprobs"]}, {"top_logprobs": 2}),
    ("responses", "tools"): ({}, OWN_TOOLS),
    ("responses", "tool_choice"): ({**OWN_TOOLS, "max_output_tokens": 20}, {"tool_choice": "required"}),
    ("responses", "parallel_tool_calls"): (
        {**OWN_TOOLS, "structured_outputs": TWICE["structured_outputs"], "max_output_tokens": 40},
        {"parallel_tool_calls": False},
    ),
    ("llama", "logit_bias"): ({}, {"logit_bias": [[300, 100]]}),
    ("llama", "presence_penalty"): (GREEDY, {"presence_penalty": -100}),
}
NAMED = [(route, name) for route in get_args(Route) for name in parameters(route)]
VOLATILE = frozenset({
    "id", "created", "created_at", "completed_at", "usage", "timings", "generation_settings", "decodelab", "item_id",
    "call_id",
})  # fmt: skip
SAME = frozenset({"object", "status", "output", "error", "incomplete_details"})
"""What of an answer of the Responses API is not said back from the request."""


def told(response: httpx2.Response, route: str) -> Any:
    """What an answer says: without times and names of its own, and without what only repeats the request."""
    if "event-stream" in response.headers["content-type"]:
        events = [event.rpartition("data: ")[2] for event in response.text.split("\n\n") if event]
        return [plain(json.loads(event)) if event.startswith("{") else event for event in events]
    answer = response.json()
    if route == "responses" and response.status_code == 200:
        return plain({key: value for key, value in answer.items() if key in SAME})
    return plain(answer), answer.get("decodelab", {}).get("scores") if route == "completions" else None


def plain(value: Any) -> Any:
    """A document without what differs each time."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key not in VOLATILE}
    return [plain(one) for one in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def asked(client: httpx2.Client) -> Any:
    """The answers to requests, each asked once."""
    known: dict[str, Any] = {}

    def ask(route: str, body: dict[str, Any]) -> Any:
        key = json.dumps([route, body])
        if key not in known:
            known[key] = told(client.post(PATHS[route], json=body), route)
        return known[key]

    return ask


@pytest.mark.parametrize(("route", "name"), NAMED, ids=[f"{route}-{name}" for route, name in NAMED])
def test_a_parameter_does_something(asked: Any, route: Route, name: str) -> None:
    assert (route, name) in OWN or name in CASES, f"{name} of {route} has no case: say what it changes"
    beside, more = OWN.get((route, name)) or CASES[name]
    assert name in more
    limit = {"responses": "max_output_tokens", "llama": "n_predict"}.get(route, "max_tokens")
    body = BASES[route] | {(limit if key == "max_tokens" else key): value for key, value in beside.items()}
    same = asked(route, body) == asked(route, body | more)
    assert same == (parameters(route)[name].role == "inert"), asked(route, body)


def test_no_case_is_left_of_a_parameter_that_is_gone() -> None:
    names = {name for _, name in NAMED}
    assert CASES.keys() <= names
    assert OWN.keys() <= set(NAMED)


def test_the_page_of_parameters_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run make stub"
