"""Answers of the Responses API, whole and as events: those of a chat in other words."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from decodelab.server.errors import ApiError
from decodelab.server.serving import Work


@dataclass
class ResponseAnswer:
    """The answer to one request of the Responses API.

    Attributes:
        asked: the parameters of the request.
        work: the chat that it is.
    """

    asked: Mapping[str, Any]
    work: Work
    id: str = field(default_factory=lambda: _id("resp"))
    number: int = 0

    async def document(self) -> dict[str, Any]:
        """The answer in one piece."""
        chat = await self.work.document()
        (choice, *_) = chat["choices"]
        message = choice["message"]
        output: list[dict[str, Any]] = []
        if message.get("reasoning_content"):
            output.append(_reasoning(_id("rs"), message["reasoning_content"]))
        if message["content"] or not message.get("tool_calls"):
            logprobs = (choice["logprobs"] or {}).get("content") or []
            output.append(_message(_id("msg"), message["content"] or "", logprobs, _status(choice["finish_reason"])))
        for call in message.get("tool_calls", []):
            output.append(_call(_id("fc"), call, _status(choice["finish_reason"])))
        return self._response(choice["finish_reason"], output, chat["usage"], chat["decodelab"])

    async def events(self) -> AsyncIterator[list[tuple[str, dict[str, Any]]]]:
        """The answer as events, each with its name: those that are known at a time together."""
        begun, output = self._response(None, [], None, None), _Output()
        yield self._numbered([(f"response.{kind}", {"response": begun}) for kind in ("created", "in_progress")])
        async for pieces in self.work.pieces():
            yield self._numbered(event for piece in pieces for event in output.take(piece))
        ending = self._numbered(output.end())
        done = self._response(output.reason, output.items, output.last["usage"], output.last["decodelab"])
        yield [*ending, *self._numbered([(f"response.{done['status']}", {"response": done})])]

    def _numbered(self, events: Iterable[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, dict[str, Any]]] = []
        for kind, data in events:
            found.append((kind, {"type": kind, "sequence_number": self.number, **data}))
            self.number += 1
        return found

    def failed(self, error: ApiError) -> tuple[str, dict[str, Any]]:
        """The last event of an answer that fails."""
        response = self._response(None, [], None, None) | {
            "status": "failed",
            "error": {"code": error.code or "server_error", "message": error.message},
        }
        return "response.failed", {"type": "response.failed", "sequence_number": self.number, "response": response}

    def _response(self, reason: str | None, output: list[dict[str, Any]], usage: Any, about: Any) -> dict[str, Any]:
        """The response object, with what was asked for."""
        asked, answer = self.asked, self.work.answer
        status = "in_progress" if reason is None else _status(reason)
        choice = asked.get("tool_choice", "auto")
        tools = [tool.model_dump() for tool in asked.get("tools", [])]
        details = {"reason": "max_output_tokens"} if status == "incomplete" else None
        used = None if usage is None else _usage(usage)
        return {
            "id": self.id, "object": "response", "created_at": answer.created,
            "completed_at": None if reason is None else answer.created, "status": status,
            "incomplete_details": details, "error": None, "model": answer.name, "output": output, "usage": used,
            "previous_response_id": None, "instructions": asked.get("instructions"), "tools": tools,
            "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
            "parallel_tool_calls": asked.get("parallel_tool_calls", True), "truncation": "disabled",
            "text": {"format": {"type": "text"}} | asked.get("text", {}),
            "temperature": asked.get("temperature", 1.0), "top_p": asked.get("top_p", 1.0),
            "presence_penalty": asked.get("presence_penalty", 0.0),
            "frequency_penalty": asked.get("frequency_penalty", 0.0),
            "top_logprobs": asked.get("top_logprobs", 0), "reasoning": {"effort": None, "summary": None},
            "max_output_tokens": asked.get("max_output_tokens"), "max_tool_calls": None, "store": False,
            "background": False, "service_tier": "default", "metadata": asked.get("metadata", {}),
            "safety_identifier": asked.get("safety_identifier"), "prompt_cache_key": asked.get("prompt_cache_key"),
            "user": asked.get("user"), **({} if about is None else {"decodelab": about}),
        }  # fmt: skip


def _id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(16)}"


def _status(reason: str) -> str:
    return "incomplete" if reason == "length" else "completed"


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": usage["prompt_tokens_details"],
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": usage["completion_tokens_details"],
        "total_tokens": usage["total_tokens"],
    }


def _text_part(text: str, logprobs: list[Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _message(item: str, text: str, logprobs: list[Any], status: str) -> dict[str, Any]:
    return {
        "type": "message",
        "id": item,
        "status": status,
        "role": "assistant",
        "content": [_text_part(text, logprobs)],
    }


def _reasoning(item: str, text: str) -> dict[str, Any]:
    return {"type": "reasoning", "id": item, "summary": [], "content": [{"type": "reasoning_text", "text": text}]}


def _call(item: str, call: Mapping[str, Any], status: str) -> dict[str, Any]:
    function = call["function"]
    return {"type": "function_call", "id": item, "call_id": call["id"], "status": status, **function}


_Events = Iterator[tuple[str, dict[str, Any]]]


@dataclass
class _Growing:
    """An item of the output whose text grows: a thought, or what is said.

    Attributes:
        key: under which the pieces of a chat have its text.
        index: its place in the output.
        output: where it goes when it is whole.
    """

    key: str
    index: int
    output: list[dict[str, Any]]
    item: str = ""
    text: str = ""
    logprobs: list[Any] = field(default_factory=list[Any])

    def __post_init__(self) -> None:
        """Give it a name."""
        self.item = _id("rs" if self.thought else "msg")

    @property
    def thought(self) -> bool:
        """Whether it is a thought."""
        return self.key == "reasoning_content"

    @property
    def at(self) -> dict[str, Any]:
        """Its place."""
        return {"item_id": self.item, "output_index": self.index, "content_index": 0}

    def begin(self) -> _Events:
        """The events before its text."""
        whole = self.whole("in_progress")
        part, whole["content"] = whole["content"][0], []
        yield "response.output_item.added", {"output_index": self.index, "item": whole}
        yield "response.content_part.added", {**self.at, "part": part}

    def more(self, text: str, logprobs: list[Any]) -> _Events:
        """The event of new text."""
        self.text += text
        self.logprobs += logprobs
        if self.thought:
            yield "response.reasoning_text.delta", {**self.at, "delta": text}
        else:
            yield "response.output_text.delta", {**self.at, "delta": text, "logprobs": logprobs}

    def end(self, status: str = "completed") -> _Events:
        """The events after its text."""
        whole = self.whole(status)
        if self.thought:
            yield "response.reasoning_text.done", {**self.at, "text": self.text}
        else:
            yield "response.output_text.done", {**self.at, "text": self.text, "logprobs": self.logprobs}
        yield "response.content_part.done", {**self.at, "part": whole["content"][0]}
        self.output.append(whole)
        yield "response.output_item.done", {"output_index": self.index, "item": whole}

    def whole(self, status: str) -> dict[str, Any]:
        """The item as it is now."""
        if self.thought:
            return _reasoning(self.item, self.text)
        return _message(self.item, self.text, self.logprobs, status)


@dataclass
class _Output:
    """The output as it grows, and the events that tell of it.

    Attributes:
        items: those that are whole.
        reason: why the text ended.
        last: the piece with the usage.
    """

    items: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    reason: str = "stop"
    last: dict[str, Any] = field(default_factory=dict[str, Any])
    _growing: _Growing | None = None

    def take(self, piece: dict[str, Any]) -> _Events:
        """The events of a piece of a chat."""
        if "usage" in piece:
            self.last = piece
        for choice in piece["choices"]:
            delta, self.reason = choice["delta"], choice["finish_reason"] or self.reason
            logprobs = (choice["logprobs"] or {}).get("content") or []
            for key in ("reasoning_content", "content"):
                if delta.get(key):
                    if self._growing is None or self._growing.key != key:
                        yield from self._begin(key)
                    assert self._growing is not None
                    yield from self._growing.more(delta[key], logprobs)
            for call in delta.get("tool_calls", []):
                yield from self._end("completed")
                yield from _calling(call, self.items, "completed")

    def end(self) -> _Events:
        """The events after the last piece; an answer that says nothing is an empty text."""
        if self._growing is None and not self.items:
            yield from self._begin("content")
        yield from self._end(_status(self.reason))

    def _begin(self, key: str) -> _Events:
        yield from self._end("completed")
        self._growing = _Growing(key, len(self.items), self.items)
        yield from self._growing.begin()

    def _end(self, status: str) -> _Events:
        if self._growing is not None:
            yield from self._growing.end(status)
            self._growing = None


def _calling(call: Mapping[str, Any], output: list[dict[str, Any]], status: str) -> _Events:
    """The events of a call."""
    whole = _call(_id("fc"), call, status)
    place = {"output_index": len(output)}
    item = {"item_id": whole["id"], **place}
    begun = whole | {"arguments": "", "status": "in_progress"}
    yield "response.output_item.added", {**place, "item": begun}
    yield "response.function_call_arguments.delta", {**item, "delta": whole["arguments"]}
    done = {"name": whole["name"], "arguments": whole["arguments"]}
    yield "response.function_call_arguments.done", {**item, **done}
    output.append(whole)
    yield "response.output_item.done", {**place, "item": whole}
