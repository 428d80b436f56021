"""Constraints on texts, as requests write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from decodelab.core.errors import DecodelabError
from decodelab.core.stage import Stage, brief
from decodelab.processors.grammar import Grammar
from decodelab.processors.json_schema import JSONSchema
from decodelab.processors.regex import Regex
from decodelab.server.errors import invalid, naming
from decodelab.server.literal import literal


def constraint_stages(asked: Mapping[str, Any], longest: int) -> list[Stage]:
    """The stages that `response_format`, `structured_outputs` and its older names stand for; at most one.

    Args:
        asked: the parameters of a request.
        longest: characters of either as JSON, at most.

    Raises:
        ApiError: 400, for what is no constraint that can be enforced.
    """
    found: list[Stage] = []
    given: list[str] = []
    reads = {"response_format": _response_format, "structured_outputs": _structured_outputs}
    reads |= {f"guided_{kind}": partial(_structured, kind, f"guided_{kind}") for kind in _KINDS[:-1]}
    for name, read in reads.items():
        if name not in asked:
            continue
        written = len(json.dumps(asked[name]))
        if written > longest:
            raise invalid(name, f"{name} must have at most {longest} characters as JSON, got {written}", "too_large")
        try:
            stages = read(asked[name])
        except DecodelabError as error:
            raise naming(error, name) from error
        found += stages
        given += [name] * bool(stages)
    if len(found) > 1:
        raise invalid(given[0], f"{' and '.join(given[:2])} are both given; give one")
    return found


def _response_format(asked: Mapping[str, Any]) -> list[Stage]:
    """JSON without white space between its parts, in which small models get lost."""
    kind = asked.get("type")
    if kind == "text":
        return []
    if kind == "json_object":
        return [JSONSchema({"type": "object"}, whitespace=False)]
    if kind != "json_schema":
        raise invalid(
            "response_format", f"response_format: type must be text, json_object or json_schema, got {brief(kind)}"
        )
    # The Responses API has the schema beside its type, chat completions have it one level deeper.
    held = asked.get("json_schema", asked)
    schema = held.get("schema") if isinstance(held, Mapping) else None
    if not isinstance(schema, Mapping):
        raise invalid(
            "response_format",
            'response_format: json_schema must be an object with a schema; write {"name": ..., "schema": {...}}',
        )
    return [JSONSchema(schema, whitespace=False)]


_KINDS = ("json", "regex", "choice", "grammar", "json_object")


def _structured_outputs(asked: Mapping[str, Any]) -> list[Stage]:
    given = {name: value for name, value in asked.items() if value is not None and value is not False}
    whitespace = not given.pop("disable_any_whitespace", False)
    if len(given) != 1 or next(iter(given)) not in _KINDS:
        raise invalid(
            "structured_outputs",
            f"structured_outputs must hold one of {', '.join(_KINDS)}, got {brief(list(given))}",
        )
    ((kind, value),) = given.items()
    return _structured(kind, f"structured_outputs: {kind}", value, whitespace=whitespace)


def _structured(kind: str, what: str, value: Any, *, whitespace: bool = True) -> list[Stage]:
    """The stage of one kind of structured output; errors call it `what`."""
    param = what.partition(":")[0]
    if kind == "json_object":
        return [JSONSchema({"type": "object"}, whitespace)]
    if kind == "json":
        schema = json.loads(value) if isinstance(value, str) and _is_json(value) else value
        if not isinstance(schema, Mapping):
            raise invalid(param, f"{what} must be a schema, got {brief(value)}")
        return [JSONSchema(schema, whitespace)]
    if kind == "choice":
        if not isinstance(value, list) or not value or not all(isinstance(text, str) and text for text in value):
            raise invalid(param, f"{what} must be texts, got {brief(value)}")
        return [Regex("|".join(f"(?:{literal(text)})" for text in value))]
    if not isinstance(value, str) or (kind == "grammar" and value.endswith(".lark")):
        raise invalid(param, f"{what} must be text, got {brief(value)}")
    return [Regex(value) if kind == "regex" else Grammar(value)]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
