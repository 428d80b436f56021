"""Chat templates of models: jinja2 programs in a sandbox, given what transformers gives them.

Source: `apply_chat_template` of transformers 5.23, whose texts these are.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

_REASONING = ("reasoning_content", "thinking", "reasoning")
"""Names of a message's field for its reasoning; templates look for the first, some for the second."""


def render_chat_template(
    source: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    variables: Mapping[str, Any],
    *,
    add_generation_prompt: bool,
) -> str:
    """What a chat template writes.

    Args:
        source: the template.
        messages: those of the chat, at least one; fields that are None are left out.
        tools: the functions that may be called, as JSON schemas.
        variables: what else it may read: special tokens by their role, such as `bos_token`, and values of its own.
        add_generation_prompt: whether to begin the assistant's turn.

    Raises:
        ValueError: for a chat without messages.
        TemplateError: when the template is no jinja2, or refuses the messages; it may raise anything else, too.

    >>> chat = [{"role": "user", "content": "hi"}]
    >>> render_chat_template("{{ bos_token }}{{ messages[0].content }}", chat, None, {"bos_token": "<s>"},
    ...                      add_generation_prompt=False)
    '<s>hi'
    """
    if not messages:
        raise ValueError("Cannot apply chat template to an empty conversation. Provide at least one message.")
    said = [_reasoned(_plain({key: v for key, v in message.items() if v is not None})) for message in messages]
    return _compiled(source).render(
        messages=said,
        tools=None if tools is None else [_plain(tool) for tool in tools],
        documents=None,
        add_generation_prompt=add_generation_prompt,
        **{name: _plain(value) for name, value in variables.items()},
    )


_GIVEN = frozenset({"messages", "tools", "documents", "add_generation_prompt"})
"""What templates read that is no variable of their own."""


@lru_cache(maxsize=8)
def own_variables(source: str) -> frozenset[str]:
    """The names of the variables that a template reads besides the chat and what its sandbox defines.

    Raises:
        TemplateError: when the template is no jinja2.

    >>> sorted(own_variables("{% if enable_thinking %}{{ messages }}{{ namespace(a=style) }}{% endif %}"))
    ['enable_thinking', 'style']
    """
    sandbox = _sandbox()
    return frozenset(find_undeclared_variables(sandbox.parse(source)) - _GIVEN - sandbox.globals.keys())


@lru_cache(maxsize=8)
def _compiled(source: str) -> Template:
    """A template, ready to run."""
    return _sandbox().from_string(source)


def _sandbox() -> ImmutableSandboxedEnvironment:
    """Where templates run: it changes nothing that they are given."""
    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols]
    )
    sandbox.filters["tojson"] = _tojson
    sandbox.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
        "dict": _Dict(),
        "namespace": _Namespace,
    }
    return sandbox


class _GenerationBlock(Extension):
    """`{% generation %} ... {% endgeneration %}`, around what the assistant writes: its body, in a scope of its own."""

    tags = {"generation"}  # noqa: RUF012  (declared as a set by jinja2)

    def parse(self, parser: Parser) -> nodes.Node:
        """The block as a call with its body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_written"), [], [], body).set_lineno(line)

    def _written(self, caller: Macro) -> str:
        return caller()


class _Dict:
    """`dict` without the attributes of a type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """As `dict.fromkeys`."""
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """jinja2's `namespace` without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # a template may well write namespace(self=...)
        self, *given = args
        attributes = dict(*given, **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(
            f"Chat templates cannot store underscore-prefixed attributes on a namespace, but got {name!r}. "
            "Please rename the attribute."
        )


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is, where jinja2's own filter escapes HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _plain(value: Any) -> Any:
    """A value made of plain JSON types alone: methods of others would be open to the template."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):  # of a subclass, the bare text; numbers likewise
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = map(_plain, value)
        return tuple(items) if isinstance(value, tuple) else list(items)
    if isinstance(value, np.generic):
        return _plain(value.item())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if callable(dump := getattr(value, "model_dump", None)):  # of pydantic
        return _plain(dump())
    return f"<{type(value).__name__}>"


def _reasoned(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose reasoning stands under each name that templates read it by."""
    found = next((message[name] for name in _REASONING if message.get(name) is not None), None)
    return message if found is None else {"thinking": found, **message, "reasoning_content": found}
