"""The messages, tools and choices of a chat, as OpenAI's API writes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from decodelab.core.errors import RequestError
from decodelab.core.values import Chat
from decodelab.io.json import parse_json

_STRICT = ConfigDict(strict=True, extra="forbid")


class TextPart(BaseModel):
    """A part of a message that is text."""

    model_config = _STRICT
    type: Literal["text", "input_text", "output_text"]
    text: str


class CalledFunction(BaseModel):
    """A function with the arguments it was called with."""

    model_config = _STRICT
    name: str
    arguments: str


class ToolCall(BaseModel):
    """A call in a message of the assistant."""

    model_config = _STRICT
    id: str = ""
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(BaseModel):
    """One message."""

    model_config = _STRICT
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None


class Function(BaseModel):
    """A function that may be called; the schema of its arguments may be any JSON schema."""

    model_config = _STRICT
    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(BaseModel):
    """A tool: a function."""

    model_config = _STRICT
    type: Literal["function"]
    function: Function


class NamedFunction(BaseModel):
    """A function by its name."""

    model_config = _STRICT
    name: str


class NamedTool(BaseModel):
    """The function that must be called."""

    model_config = _STRICT
    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["none", "auto", "required"] | NamedTool


def chat_of(messages: list[Message], tools: list[Tool], tool_choice: str | None = None, **asked: Any) -> Chat:
    """A conversation as chat templates take it; `tool_choice` is a function whose call the answer begins with.

    `asked` are further fields of `Chat`.

    Raises:
        RequestError: for a call whose arguments are no JSON object.
    """
    told = tuple(tool.model_dump(exclude_none=True) for tool in tools)
    return Chat(tuple(map(_plain, messages)), told, tool_choice, **asked)


def _plain(message: Message) -> dict[str, Any]:
    """A message as templates take it: its content one text, arguments of calls as objects."""
    plain: dict[str, Any] = {
        "role": "system" if message.role == "developer" else message.role,
        "content": _text(message.content),
    }
    if message.tool_calls:
        plain["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": _arguments(call)}}
            for call in message.tool_calls
        ]
    for name in ("name", "tool_call_id", "reasoning_content"):
        if (value := getattr(message, name)) is not None:
            plain[name] = value
    return plain


def _text(content: str | list[TextPart] | None) -> str:
    if isinstance(content, list):
        return "".join(part.text for part in content)
    return content or ""


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = parse_json(call.function.arguments or "{}")
    except ValueError as error:
        raise RequestError(f"messages: the arguments of {call.function.name} are no JSON ({error})") from None
    if not isinstance(arguments, dict):
        raise RequestError(f"messages: the arguments of {call.function.name} must be a JSON object")
    return arguments
