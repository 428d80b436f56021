"""The input items of the Responses API, and the chat that they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from decodelab.server.errors import invalid
from decodelab.server.messages import (
    CalledFunction,
    Function,
    Message,
    NamedFunction,
    NamedTool,
    TextPart,
    Tool,
    ToolCall,
)

_STRICT = ConfigDict(strict=True, extra="forbid")
_Status = Literal["in_progress", "completed", "incomplete"]


class WrittenPart(TextPart):
    """A part of a message, as an answer had it."""

    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class MessageItem(BaseModel):
    """A message."""

    model_config = _STRICT
    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[WrittenPart]
    id: str | None = None
    status: _Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class CallItem(BaseModel):
    """A call of a function by the assistant."""

    model_config = _STRICT
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: _Status | None = None


class CallOutputItem(BaseModel):
    """What a function gave."""

    model_config = _STRICT
    type: Literal["function_call_output"]
    call_id: str
    output: str | list[WrittenPart]
    id: str | None = None
    status: _Status | None = None


class ReasoningPart(BaseModel):
    """A part of a thought."""

    model_config = _STRICT
    type: Literal["reasoning_text", "summary_text"]
    text: str


class ReasoningItem(BaseModel):
    """A thought of the assistant before what it said."""

    model_config = _STRICT
    type: Literal["reasoning"]
    summary: list[ReasoningPart] | None = None
    content: list[ReasoningPart] | None = None
    id: str | None = None
    status: _Status | None = None
    encrypted_content: None = None


Item = MessageItem | CallItem | CallOutputItem | ReasoningItem
Input = str | Annotated[list[Item], Field(min_length=1, max_length=10_000)]


class ResponseTool(BaseModel):
    """A function that may be called."""

    model_config = _STRICT
    type: Literal["function"]
    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseNamedTool(BaseModel):
    """The function that must be called."""

    model_config = _STRICT
    type: Literal["function"]
    name: str


ResponseToolChoice = Literal["none", "auto", "required"] | ResponseNamedTool

LOGPROBS = "message.output_text.logprobs"
"""What `include` names for the log-probabilities."""
_SAME = ("model", "stream", "stop", "stop_token_ids", "ignore_eos", "min_tokens", "priority", "logprobs_of")


def chat_parameters(asked: Mapping[str, Any], sampling: Sequence[str]) -> dict[str, Any]:
    """The parameters of a request of the Responses API as those of a chat.

    Args:
        asked: what the request gives.
        sampling: the names of parameters of sampling and constraints that both have.

    Raises:
        ApiError: 400, for an item out of place.
    """
    same = {name: asked[name] for name in (*_SAME, *sampling) if name in asked}
    found: dict[str, Any] = {**same, "messages": _messages(asked)}
    if "max_output_tokens" in asked:
        found["max_completion_tokens"] = asked["max_output_tokens"]
    text = asked.get("text", {})
    if wrong := next((name for name in text if name not in ("format", "verbosity")), None):
        raise invalid("text", f"text: format is known, got {wrong[:60]!r}")
    if text.get("verbosity") not in (None, "medium"):
        raise invalid("text", "text: verbosity is not supported; say it in the instructions", "unsupported_parameter")
    if text.get("format") is not None:
        found["response_format"] = text["format"]
    if "tools" in asked:
        found["tools"] = [
            Tool(
                type="function",
                function=Function(name=t.name, description=t.description, parameters=t.parameters, strict=t.strict),
            )
            for t in asked["tools"]
        ]
    if (choice := asked.get("tool_choice")) is not None:
        named = isinstance(choice, ResponseNamedTool)
        found["tool_choice"] = NamedTool(type="function", function=NamedFunction(name=choice.name)) if named else choice
    if LOGPROBS in asked.get("include", []):
        found |= {"logprobs": True, "top_logprobs": asked.get("top_logprobs", 0)}
    elif asked.get("top_logprobs"):
        raise invalid("top_logprobs", f"top_logprobs needs include=[{LOGPROBS!r}]")
    return found


def _messages(asked: Mapping[str, Any]) -> list[Message]:
    found: list[Message] = []
    if "instructions" in asked:
        found.append(Message(role="system", content=asked["instructions"]))
    given = asked["input"]
    if isinstance(given, str):
        return [*found, Message(role="user", content=given)]
    thought: str | None = None
    for item in given:
        if isinstance(item, ReasoningItem):
            thought = "".join(part.text for part in item.content or item.summary or ())
            continue
        if isinstance(item, CallOutputItem):
            found.append(Message(role="tool", content=_text(item.output), tool_call_id=item.call_id))
        elif isinstance(item, CallItem):
            call = ToolCall(id=item.call_id, function=CalledFunction(name=item.name, arguments=item.arguments))
            if found and found[-1].role == "assistant" and thought is None:
                found[-1].tool_calls = [*(found[-1].tool_calls or []), call]
                continue
            found.append(Message(role="assistant", content="", tool_calls=[call], reasoning_content=thought))
        else:
            own = thought if item.role == "assistant" else None
            found.append(Message(role=item.role, content=_text(item.content), reasoning_content=own))
        thought = None
    return found


def _text(content: str | Sequence[TextPart]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)
