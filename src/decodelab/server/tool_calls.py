"""Calls of functions in what a model wrote, in the form in which its own chat template writes them."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from decodelab.core.errors import RequestError
from decodelab.core.protocols import Vocab
from decodelab.core.values import Chat

_NAME, _KEY, _VALUE = "probe_function", "probe_key", 27182
_SAID = "probe said"
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "A probe.",
        "parameters": {"type": "object", "properties": {_KEY: {"type": "integer"}}},
    },
}
_READS = json.JSONDecoder()


@dataclass(frozen=True)
class Call:
    """A call: the function's name, and its arguments as JSON."""

    name: str
    arguments: str

    def to_json(self) -> dict[str, Any]:
        """The call as OpenAI's API has it, under an id of its own."""
        return {
            "id": f"call_{secrets.token_hex(12)}",
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }


@dataclass(frozen=True)
class CallSyntax:
    r"""How a chat template writes calls.

    Attributes:
        opens: what stands before the name.
        middle: between the name and the arguments.
        closes: after the arguments.
        keywords: whether arguments are `key=value` pairs, joined by commas; otherwise they are a JSON object.

    >>> syntax = CallSyntax("<call>", "(", ")</call>", keywords=True)
    >>> syntax.read('I see. <call>add(a=1, b="x, y")</call>', ["add"])
    ('I see. ', [Call(name='add', arguments='{"a": 1, "b": "x, y"}')])
    >>> syntax = CallSyntax('{"name": "', '", "arguments": ', "}", keywords=False)
    >>> syntax.read('{"name": "add", "arguments": {}}', ["add"])
    ('', [Call(name='add', arguments='{}')])
    """

    opens: str
    middle: str
    closes: str
    keywords: bool

    def read(self, text: str, names: Collection[str]) -> tuple[str, list[Call]]:
        """The text before the first call, and the calls of known functions; what is no whole call stays text."""
        listed = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        begins = re.compile(rf"(?<!\w){re.escape(self.opens)}(?P<name>{listed}){re.escape(self.middle)}")
        calls: list[Call] = []
        at, content = 0, text
        while (found := begins.search(text, at)) is not None:
            read = self._arguments(text, found.end())
            if read is None:
                at = found.end()
                continue
            arguments, at = read
            if not calls:
                content = text[: found.start()]
            calls.append(Call(found["name"], json.dumps(arguments, ensure_ascii=False)))
        return content, calls

    def _arguments(self, text: str, at: int) -> tuple[dict[str, Any], int] | None:
        """The arguments from a place on, and where the call ends."""
        if not self.keywords:
            value = _value(text, at)
            if value is None or not isinstance(value[0], dict):
                return None
            arguments, at = value
        else:
            arguments = {}
            while not text.startswith(self.closes, at):
                key = _KEY_OF.match(text, at)
                value = None if key is None else _value(text, key.end())
                if key is None or value is None:
                    return None
                arguments[key["key"]], at = value
        closes = self.closes.rstrip()
        return (arguments, at + len(closes)) if text.startswith(closes, at) else None


_KEY_OF = re.compile(r"[,\s]*(?P<key>[\w.-]+)\s*=\s*")


def _value(text: str, at: int) -> tuple[Any, int] | None:
    try:
        return _READS.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class Functions:
    """The functions that an answer may call, and whether it must.

    Attributes:
        names: of the functions.
        forced: the one whose arguments the text is, as the prompt ends with the opening of its call; None for none.
        as_object: whether the text is one object with a name and arguments.
        parallel: whether there may be several calls.
        syntax: how the model's template writes calls.
    """

    names: tuple[str, ...] = ()
    forced: str | None = None
    as_object: bool = False
    parallel: bool = True
    syntax: CallSyntax | None = None

    def read(self, text: str) -> tuple[str, list[Call]]:
        """What is said besides, and the calls, of the text of an answer."""
        if self.forced is not None:
            return "", [Call(self.forced, text)]
        if self.as_object:
            value = _value(text, 0)
            if value is None or not isinstance(value[0], dict):  # cut off
                return text, []
            return "", [Call(value[0]["name"], json.dumps(value[0]["arguments"], ensure_ascii=False))]
        if not self.names or self.syntax is None:
            return text, []
        content, calls = self.syntax.read(text, self.names)
        return content, calls if self.parallel else calls[:1]


def call_syntax(vocab: Vocab) -> CallSyntax | None:
    """How the chat template of a model writes calls; None if it does not tell.

    Two turns are put through the template, one that says something and one that calls a function: what they have in
    common is not the call.

    >>> import decodelab as dl
    >>> call_syntax(dl.load("pocket-nano").vocab)
    CallSyntax(opens='', middle='(', closes=')', keywords=True)
    """
    asked = {"role": "user", "content": "?"}
    call = {"id": "call00000", "type": "function", "function": {"name": _NAME, "arguments": {_KEY: _VALUE}}}
    try:
        before, _ = vocab.render_chat(Chat((asked,), (_TOOL,)))
        said, _ = vocab.render_chat(Chat((asked, {"role": "assistant", "content": _SAID}), (_TOOL,)))
        turn = {"role": "assistant", "content": "", "tool_calls": [call]}
        called, _ = vocab.render_chat(Chat((asked, turn), (_TOOL,)))
    except RequestError:
        return None
    start = len(before)
    if not said.startswith(before + _SAID) or not called.startswith(before):
        return None
    tail = said[start + len(_SAID) :]
    written = called[start:].removesuffix(tail)
    opens, found, rest = written.partition(_NAME)
    if not found:
        return None
    for keywords, arguments in _WRITTEN:
        middle, found, closes = rest.partition(arguments)
        if found:
            return CallSyntax(opens.lstrip(), middle, closes, keywords)
    return None


_WRITTEN: Sequence[tuple[bool, str]] = (
    (False, json.dumps({_KEY: _VALUE})),
    (False, json.dumps({_KEY: _VALUE}, separators=(",", ":"))),
    (True, f"{_KEY}={_VALUE}"),
)


def arguments_schema(tools: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """The JSON schema of the arguments of a function: an object of those it names, unless it says otherwise."""
    function = next(tool["function"] for tool in tools if tool["function"]["name"] == name)
    return {"type": "object", "additionalProperties": False} | dict(function.get("parameters") or {})


def any_call_schema(tools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The JSON schema of an object that names one of several functions and has its arguments."""
    calls: list[dict[str, Any]] = []
    for tool in tools:
        name = tool["function"]["name"]
        properties = {"name": {"const": name}, "arguments": arguments_schema(tools, name)}
        calls.append(
            {
                "type": "object",
                "properties": properties,
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": calls}
