"""The OpenAPI document: the routes' requests from the table of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from decodelab.server.parameters import request_model
from decodelab.server.text_routes import DetokenizeRequest, ScoreRequest, TokenizeRequest

_REF = "#/components/schemas/{model}"


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    """OpenAI's error object."""

    error: ErrorDetail


def describe(app: FastAPI, models: Sequence[str]) -> None:
    """Give an application its OpenAPI document, with the names of the models that it serves."""
    requests: dict[str, type[BaseModel]] = {
        "/v1/completions": request_model("completions"),
        "/v1/chat/completions": request_model("chat"),
        "/v1/responses": request_model("responses"),
        "/completion": request_model("llama"),
        "/tokenize": TokenizeRequest,
        "/detokenize": DetokenizeRequest,
        "/v1/score": ScoreRequest,
    }

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        bodies = [*requests.values(), Error]
        names, schemas = models_json_schema([(body, "validation") for body in bodies], ref_template=_REF)
        for schema in schemas["$defs"].values():
            if "model" in schema.get("properties", {}):
                schema["properties"]["model"] |= {"enum": list(models)}
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        for path, operations in document["paths"].items():
            for operation in operations.values():
                operation["responses"] = {"200": {"description": "The answer."}}
                for status, what in _ERRORS.items():
                    operation["responses"][status] = _response(what, names[Error, "validation"])
                if "{name}" in path:
                    schema = {"type": "string", "enum": list(models)}
                    operation["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": schema}]
                if path in requests:
                    schema = names[requests[path], "validation"]
                    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        app.openapi_schema = document
        return document

    app.openapi = openapi  # pyright: ignore[reportAttributeAccessIssue]  (how FastAPI has it replaced)


_ERRORS = {
    "400": "The request is wrong; `param` says where.",
    "401": "The key is missing or wrong.",
    "404": "There is no such model.",
    "413": "The body is too large.",
    "429": "Too many requests wait.",
    "500": "The model failed.",
    "503": "The server is shutting down.",
    "504": "The deadline has passed.",
}


def _response(what: str, schema: Any) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}
