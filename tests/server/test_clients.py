"""Clients that nobody here wrote: the SDK of OpenAI, and suites of tests for servers of its API."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import openai
import pytest
from pydantic import BaseModel

import decodelab as dl
from decodelab.core.protocols import LanguageModel
from decodelab.server.settings import ServerSettings

ASKED: list[Any] = [{"role": "user", "content": "What is 27 + 35?"}]
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "submit",
            "parameters": {
                "type": "object",
                "properties": {"answer": {"type": "integer", "minimum": 0, "maximum": 99}},
                "required": ["answer"],
            },
        },
    },
    {"type": "function", "function": {"name": "give_up", "parameters": {"type": "object", "properties": {}}}},
]


@pytest.fixture(scope="module")
def sdk(address: str) -> openai.OpenAI:
    """OpenAI's own client."""
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def test_models_are_listed_and_retrieved(sdk: openai.OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == ["nano"]
    assert sdk.models.retrieve("nano").owned_by == "decodelab"


def test_a_chat_is_what_generate_gives(sdk: openai.OpenAI, nano: LanguageModel) -> None:
    answer = sdk.chat.completions.create(model="nano", messages=ASKED, temperature=0, max_completion_tokens=20)
    (made,) = dl.generate(nano, dl.Chat.of("What is 27 + 35?"), "greedy", max_new_tokens=20)
    assert answer.choices[0].message.content == made.best.text
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(made.best.tokens)


def test_a_stream_joins_to_the_answer(sdk: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "nano", "messages": ASKED, "seed": 3, "max_tokens": 24, "n": 2, "logprobs": True}
    whole = sdk.chat.completions.create(**asked)
    texts, tokens = ["", ""], [list[str](), list[str]()]
    usage = None
    for piece in sdk.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usage = piece.usage or usage
        for choice in piece.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.logprobs and choice.logprobs.content:
                tokens[choice.index] += [place.token for place in choice.logprobs.content]
    assert texts == [choice.message.content for choice in whole.choices]
    assert tokens == [[p.token for p in c.logprobs.content or []] for c in whole.choices if c.logprobs]
    assert usage == whole.usage


def test_the_asynchronous_client_asks_many_at_once(address: str) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none") as client:
            answers = await asyncio.gather(
                *(
                    client.completions.create(model="nano", prompt="Once upon a time", max_tokens=8, seed=seed)
                    for seed in (1, 2, 1, 2, 1)
                )
            )
        return [answer.choices[0].text for answer in answers]

    one, two, *others = asyncio.run(ask())
    assert others == [one, two, one]
    assert one != two


def test_an_answer_parsed_by_pydantic_is_always_valid(sdk: openai.OpenAI) -> None:
    class Sum(BaseModel):
        left: bool
        answer: bool | None

    for seed in range(4):
        answer = sdk.chat.completions.parse(
            model="nano", messages=ASKED, response_format=Sum, seed=seed, max_completion_tokens=80
        )
        assert isinstance(answer.choices[0].message.parsed, Sum)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "submit"}}])
def test_a_call_that_is_required_is_made_and_valid(sdk: openai.OpenAI, choice: Any) -> None:
    for seed in range(3):
        asked: dict[str, Any] = {"model": "nano", "messages": ASKED, "tools": TOOLS, "seed": seed, "max_tokens": 60}
        answer = sdk.chat.completions.create(**asked, tool_choice=choice)
        (call,) = answer.choices[0].message.tool_calls or []
        assert answer.choices[0].finish_reason == "tool_calls"
        assert call.type == "function"
        arguments = json.loads(call.function.arguments)
        if call.function.name == "submit":
            assert 0 <= arguments["answer"] <= 99
        else:
            assert (call.function.name, arguments) == ("give_up", {})
            assert choice == "required"
        told = [
            piece.choices[0].delta.tool_calls[0]
            for piece in sdk.chat.completions.create(**asked, tool_choice=choice, stream=True)
            if piece.choices and piece.choices[0].delta.tool_calls
        ]
        assert [t.function.arguments for t in told if t.function] == [call.function.arguments]


def test_errors_are_the_sdks_own(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="unknown parameter 'topp'; did you mean 'top_p'") as wrong:
        sdk.completions.create(model="nano", prompt="a", extra_body={"topp": 0.9})
    assert wrong.value.param == "topp"
    with pytest.raises(openai.NotFoundError, match="no model 'other'; served are nano"):
        sdk.completions.create(model="other", prompt="a")
    with pytest.raises(openai.BadRequestError, match="context length 512") as long:
        sdk.completions.create(model="nano", prompt=[5] * 600)
    assert long.value.code == "context_length_exceeded"


def test_responses_are_streamed_and_whole(sdk: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "nano", "input": "What is 27 + 35?", "temperature": 0}
    asked["extra_body"] = {"stop": [","]}
    whole = sdk.responses.create(**asked)
    with sdk.responses.stream(**asked) as events:
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        last = events.get_final_response()
    assert whole.output_text == text == last.output_text
    assert whole.usage == last.usage


def test_responses_remember_what_the_conversation_says(sdk: openai.OpenAI, nano: LanguageModel) -> None:
    turns: list[Any] = [
        {"role": "user", "content": "What is 1 + 1?"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "easy"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "2", "annotations": []}]},
        {"type": "function_call", "call_id": "a", "name": "submit", "arguments": '{"answer": 2}'},
        {"type": "function_call_output", "call_id": "a", "output": "right"},
        {"role": "user", "content": "What is 27 + 35?"},
    ]
    answer = sdk.responses.create(
        model="nano", input=turns, instructions="Be brief.", temperature=0, max_output_tokens=12
    )
    call = {"id": "a", "type": "function", "function": {"name": "submit", "arguments": {"answer": 2}}}
    chat = dl.Chat(
        (
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is 1 + 1?"},
            {"role": "assistant", "content": "2", "reasoning_content": "easy", "tool_calls": [call]},
            {"role": "tool", "content": "right", "tool_call_id": "a"},
            {"role": "user", "content": "What is 27 + 35?"},
        )
    )
    (made,) = dl.generate(nano, chat, "greedy", max_new_tokens=12)
    assert answer.output_text == made.best.text


@pytest.mark.parametrize("api", ["openai-chat", "open-responses"])
def test_llm_comply_finds_no_fault_but_that_there_are_no_images(serve: Any, nano: LanguageModel, api: str) -> None:
    with serve({"nano": nano}, ServerSettings(defaults={"seed": 1})) as address:
        run = _comply(address, api)
    results = json.loads(run.stdout)
    failed = [one["id"] for one in results["results"] if one["status"] == "failed"]
    assert [name for name in failed if "image" not in name] == []
    assert sum(one["status"] == "passed" for one in results["results"]) >= 7


def _comply(address: str, api: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llm_comply.cli", "-u", f"{address}/v1", "-k", "none", "-m", "nano"]
    return subprocess.run([*command, "--format", api, "--json"], capture_output=True, text=True, timeout=120)
