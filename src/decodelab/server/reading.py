"""From the bytes of a request to its parameters, or an error that names the one at fault."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from decodelab.core.errors import RequestError, did_you_mean
from decodelab.core.stage import brief
from decodelab.io.text import printable
from decodelab.server.errors import ApiError
from decodelab.server.parameters import PARAMETERS, Parameter, Route, given, parameters, refused, request_model

_LABEL = re.compile(r"\w+")
"""What is a name or an index in the place of a fault; the others are pydantic's names of the types of a union."""


def read_request(route: Route, body: bytes, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters that a request gives, and the server's defaults for those that it does not.

    Raises:
        ApiError: 400, naming the parameter at fault.
    """
    request = validated(request_model(route), body)
    asked = dict(given(request))
    known, off = parameters(route), refused(route)
    for name in list(asked):
        if name in known:
            continue
        if name in off:
            if not any(type(asked[name]) is type(value) and asked[name] == value for value in off[name].off):
                raise ApiError(
                    400,
                    f"{name}={brief(asked[name])} is not supported; {off[name].why}",
                    param=name,
                    code="unsupported_parameter",
                )
            del asked[name]
            continue
        raise unknown(name, [*known, *off])
    return _filled(asked, defaults, known)


def unknown(name: str, known: Iterable[str]) -> ApiError:
    """The error of a parameter that a route does not know."""
    shown = printable(name)[:60]
    message = f"unknown parameter {shown!r}{did_you_mean(name, known)}"
    return ApiError(400, message, param=shown, code="unknown_parameter")


def _filled(asked: dict[str, Any], defaults: Mapping[str, Any], known: Mapping[str, Parameter]) -> dict[str, Any]:
    """With the defaults; a strategy and sampling parameters never stand beside each other because of one."""
    other = [name for name, p in known.items() if p.role == "sampling" and name not in ("strategy", "n", "seed")]
    gives = "strategy" if "strategy" in asked else "parameters" if any(name in asked for name in other) else None
    for name, value in defaults.items():
        clashes = (gives == "strategy" and name in other) or (gives == "parameters" and name == "strategy")
        if name in known and name not in asked and not clashes:
            asked[name] = value
    return asked


def checked_defaults(written: Mapping[str, Any]) -> Mapping[str, Any]:
    """Defaults for parameters of requests, checked as requests are.

    Raises:
        RequestError: for a name or value that no route takes.
    """
    found: dict[str, Any] = {}
    for name, value in written.items():
        known = [p for p in PARAMETERS if p.name == name and p.role != "prompt"]
        if not known:
            names = {p.name for p in PARAMETERS if p.role != "prompt"}
            raise RequestError(f"serve: there is no parameter {name[:60]!r} to set{did_you_mean(name, names)}")
        fault = ""
        for parameter in known:
            try:
                found[name] = TypeAdapter[Any](parameter.type).validate_python(value, strict=True)
                break
            except ValidationError as error:
                fault = error.errors(include_url=False)[0]["msg"]
        else:
            raise RequestError(f"serve: {name}: {fault}, got {brief(value)}")
    return found


def validated(model: type[BaseModel], body: bytes) -> BaseModel:
    """The body of a request as an object of a pydantic model.

    Raises:
        ApiError: 400, with the place of the first fault.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        fault = _first(error)
        place = ".".join(str(part) for part in fault["loc"] if _LABEL.fullmatch(str(part)))
        if not place:
            raise ApiError(400, f"the body is no JSON object: {printable(fault['msg'])}", code="invalid_json") from None
        name = str(fault["loc"][0])
        what = printable(f"{fault['msg'][0].lower()}{fault['msg'][1:]}")
        got = "" if fault["type"] == "missing" else f", got {brief(fault['input'])}"
        raise ApiError(400, f"{printable(place)[:100]}: {what}{got}", param=name, code="invalid_value") from None


def _first(error: ValidationError) -> Any:
    """The fault to tell of: of those of a union, the one of the alternative that was meant: the deepest."""
    faults = error.errors(include_url=False, include_context=False)
    name = cast(Any, faults[0]["loc"][:1])
    return max((f for f in faults if f["loc"][:1] == name), key=lambda fault: len(fault["loc"]))
