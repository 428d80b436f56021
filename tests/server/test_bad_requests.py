"""What is wrong with a request is said in one line that names the parameter; nothing is accepted and ignored."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error

from decodelab.core.protocols import LanguageModel
from decodelab.core.secret import Secret
from decodelab.server.llama_parameters import LLAMA_REFUSED
from decodelab.server.parameters import PARAMETERS, REFUSED
from decodelab.server.settings import ServerSettings

QUIET = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
COMPLETION = {"model": "nano", "prompt": "Once", "max_tokens": 2}
CHAT = {"model": "nano", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}


def refused(client: httpx2.Client, path: str, body: Any) -> dict[str, Any]:
    """The error of a request."""
    response = client.post(path, json=body) if not isinstance(body, bytes) else client.post(path, content=body)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    return error


@pytest.mark.parametrize(
    ("asked", "param", "message"),
    [
        ({"topp": 0.5}, "topp", "unknown parameter 'topp'; did you mean 'top_p'?"),
        ({"temperature": "hot"}, "temperature", "valid number, got hot"),
        ({"temperature": True}, "temperature", "valid number, got true"),
        ({"temperature": -1}, "temperature", "greater than or equal to 0, got -1"),
        ({"top_p": 1.5}, "top_p", "less than or equal to 1, got 1.5"),
        ({"n": 0}, "n", "greater than or equal to 1, got 0"),
        ({"n": 3, "best_of": 2}, "best_of", "at least n, got 2 and 3"),
        ({"n": 4, "strategy": "greedy"}, "n", "at most 1, the sequences of greedy, got 4"),
        ({"strategy": "beam(widht=3)"}, "strategy", "did you mean 'width'?"),
        ({"strategy": "greedy", "temperature": 0.5}, "temperature", "write it into the strategy"),
        ({"strategy": {"processor": []}}, "strategy", "an object has models, processors"),
        ({"strategy": "contrast(amateur='/etc')"}, "strategy", 'or one that ships, got "/etc"'),
        ({"strategy": "sample(n=2) | rerank(judge='gpt2')"}, "strategy", "must be one of the models served"),
        ({"strategy": "json_schema='/etc/passwd.json'"}, "strategy", "this server reads no files"),
        ({"strategy": "sample(n=2) | tests"}, "strategy", "runs programs that a model wrote"),
        ({"suffix": "end"}, "suffix", "text is written after the prompt only"),
        ({"ignore_eos": True, "strategy": "beam(width=2)"}, "ignore_eos", "not possible with beam"),
        ({"ignore_eos": True, "guided_regex": "a"}, "ignore_eos", "not possible with regex"),
        ({"guided_regex": "(a"}, "guided_regex", "regex"),
        ({"guided_json": "{"}, "guided_json", "guided_json must be a schema"),
        ({"guided_json": {}, "guided_regex": "a"}, "guided_json", "guided_json and guided_regex are both given"),
        ({"prompt_logprobs": 21}, "prompt_logprobs", "at most 20, got 21"),
        ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs", "not possible with stream=true"),
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "greater than or equal to 1, got 0"),
        ({"prompt": "", "add_special_tokens": False}, "prompt", "no tokens without special tokens"),
        ({"stop": ["", "b"]}, "stop", "at least 1 character"),
        ({"stop": [1]}, "stop", "valid string, got 1"),
        ({"logit_bias": {"x": 1}}, "logit_bias", "token ids as keys, got x"),
        ({"logit_bias": {"5": 1000}}, "logit_bias", "[-100, 100], got 1000"),
        ({"logprobs": 21}, "logprobs", "at most 20, got 21"),
        ({"stop_token_ids": [1024]}, "stop_token_ids", "below 1024, got 1024"),
        ({"allowed_token_ids": [5000]}, None, "5000"),
        ({"min_tokens": 3}, "min_tokens", "at most max_tokens, 2, got 3"),
        ({"max_tokens": 0}, "max_tokens", "at least 1 without echo"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "with stream=true only"),
        ({"use_beam_search": True, "temperature": 1.0}, "temperature", "must be 0 with use_beam_search"),
        ({"length_penalty": 0.5}, "length_penalty", "no effect without use_beam_search"),
        ({"response_format": {"type": "yaml"}}, "response_format", "got yaml"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "an object with a schema"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs", "must hold one of"),
        ({"structured_outputs": {"regex": "(a"}}, "structured_outputs", "regex"),
        ({"structured_outputs": {"grammar": "/etc/x.lark"}}, "structured_outputs", "must be text"),
        ({"prompt": []}, "prompt", "at least one prompt"),
        ({"prompt": [7, 99999]}, None, "token ids must be in [0, 1023], got 99999"),
        ({"prompt": "a " * 600}, None, "context length 512"),
        ({"n": 4000, "max_tokens": 500}, "max_tokens", "ask for fewer"),
    ],
)
def test_a_fault_is_named(client: httpx2.Client, asked: dict[str, Any], param: str | None, message: str) -> None:
    error = refused(client, "/v1/completions", COMPLETION | asked)
    assert message in error["message"]
    if param is not None:
        assert error["param"] == param


@pytest.mark.parametrize(
    ("asked", "param", "message"),
    [
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "messages", "'system'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages", "'text'"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}, None, "template"),
        ({"top_logprobs": 2}, "top_logprobs", "needs logprobs=true"),
        ({"tool_choice": "required"}, "tool_choice", "needs tools"),
        ({"max_completion_tokens": 3}, "max_completion_tokens", "differ"),
        ({"chat_template": "{{ 1 }}"}, "chat_template", "none is taken from a request"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs", "reads no variable"),
        ({"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message", "cannot be true"),
        ({"functions": [{"name": "a"}]}, "functions", "give tools"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools", "pattern"),
    ],
)
def test_a_fault_of_a_chat_is_named(
    client: httpx2.Client, asked: dict[str, Any], param: str | None, message: str
) -> None:
    error = refused(client, "/v1/chat/completions", CHAT | asked)
    assert message in error["message"]
    if param is not None:
        assert error["param"] == param


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"model": "nano", "prompt": "\xff\xfe"}',
        b'{"model": "nano", "prompt": "\\ud800"}',
        b'{"model": "nano", "prompt": "a", "temperature": NaN}',
        b'{"model": "nano", "prompt": "a", "temperature": 1e999}',
        b'{"model": "nano", "prompt": "a", "seed": 1' + b"0" * 400 + b"}",
        b'{"model": "nano", "prompt": "a", "metadata": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
        b'{"model": "nano", "prompt": "a", "strategy": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    ],
)
def test_bodies_that_are_no_requests(client: httpx2.Client, body: bytes) -> None:
    refused(client, "/v1/completions", body)


def test_a_body_that_is_too_large_is_not_read(client: httpx2.Client) -> None:
    response = client.post("/v1/completions", content=b" " * (5 * 2**20))
    assert response.status_code == 413
    assert client.get("/health").status_code == 200


def test_paths_and_methods_that_do_not_exist(client: httpx2.Client) -> None:
    assert client.get("/v1/embeddings").json()["error"]["message"] == "there is no /v1/embeddings; see /docs"
    assert client.get("/v1/completions").status_code == 405


@pytest.mark.parametrize("refusal", [*REFUSED, *LLAMA_REFUSED], ids=lambda refusal: refusal.name)
def test_what_is_refused_is_taken_where_it_says_nothing(client: httpx2.Client, refusal: Any) -> None:
    responses, llama = {"model": "nano", "input": "a"}, {"prompt": "Once", "n_predict": 2}
    bodies = {"completions": COMPLETION, "chat": CHAT, "responses": responses, "llama": llama}
    paths = {"completions": "/v1/completions", "chat": "/v1/chat/completions", "responses": "/v1/responses"}
    paths["llama"] = "/completion"
    for route in refusal.routes:
        error = refused(client, paths[route], bodies[route] | {refusal.name: "something else"})
        assert error["param"] == refusal.name
        assert error["code"] == "unsupported_parameter"
    route = refusal.routes[0]
    for off in refusal.off:
        limit = {"max_output_tokens": 2} if route == "responses" else {}
        assert client.post(paths[route], json=bodies[route] | limit | {refusal.name: off}).status_code == 200


def test_inert_names_are_documented_and_change_nothing(client: httpx2.Client) -> None:
    inert = {"user": "me", "metadata": {"a": 1}, "store": True, "service_tier": "auto", "prompt_cache_key": "k"}
    asked = COMPLETION | {"seed": 5}
    plain, with_them = (client.post("/v1/completions", json=body).json() for body in (asked, asked | inert))
    assert plain["choices"] == with_them["choices"]
    assert all(p.doc.startswith("Inert") for p in PARAMETERS if p.role == "inert")


def test_the_key_guards_every_route_but_health(serve: Any, nano: LanguageModel) -> None:
    guarded = ServerSettings(api_key=Secret("sk-right"), grace=1)
    with serve({"nano": nano}, guarded) as address, httpx2.Client(base_url=address) as client:
        paths = client.get("/openapi.json", headers={"Authorization": "Bearer sk-right"}).json()["paths"]
        assert client.get("/openapi.json").status_code == 401
        for path, operations in paths.items():
            for method in operations:
                status = client.request(method, path.replace("{name}", "nano")).status_code
                assert status == (200 if path == "/health" else 401), path
        assert client.get("/v1/models", headers={"Authorization": "Bearer sk-wrong"}).status_code == 401
        assert client.get("/v1/models", headers={"Authorization": "Bearer sk-right"}).status_code == 200


def fuzzed(address: str, examples: int) -> None:
    """Requests that the OpenAPI document allows: none may fail here, or be answered in a form it does not know."""
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    quiet = settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=QUIET,
        database=None,
    )
    for found in schema.get_all_operations():
        operation: Any = found
        case_of = operation.ok()

        @quiet
        @given(case=case_of.as_strategy())
        def run(case: Any) -> None:
            if isinstance(case.body, dict) and case.path == "/completion":
                case.body = {**case.body, "n_predict": 2}
            elif isinstance(case.body, dict):
                limit = "max_output_tokens" if case.path.endswith("responses") else "max_tokens"
                if case.path.startswith("/v1/") and not case.path.endswith("score"):
                    case.body = {**case.body, limit: 2}
            response = case.call()
            assert response.status_code < 500, response.text
            case.validate_response(response, checks=[not_a_server_error])
            if response.status_code == 400:
                assert set(json.loads(response.text)["error"]) == {"message", "type", "param", "code"}

        run()


def test_requests_that_the_document_allows_never_fail_here(address: str) -> None:
    fuzzed(address, 8)


@pytest.mark.slow
def test_two_thousand_requests_never_fail_here(address: str) -> None:
    fuzzed(address, 300)
