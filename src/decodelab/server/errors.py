"""Errors as OpenAI's API gives them."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from decodelab.core.errors import (
    DecodelabError,
    EmptySupport,
    PromptTooLong,
    RequestError,
    StrategyError,
    TooLarge,
    VocabularyMismatch,
)


class ApiError(Exception):
    """A request that gets an error instead of an answer.

    Attributes:
        status: of HTTP.
        message: one line: what, got, allowed, fix.
        param: the parameter at fault, if one is.
        code: a word for programs.
        retry_after: seconds after which it is worth trying again; None for never.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """What goes with it."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def invalid(param: str, message: str, code: str = "invalid_value") -> ApiError:
    """The error of a parameter; the message begins with its name."""
    return ApiError(400, message, param=param, code=code)


_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 504: "timeout_error"}


def api_error(error: DecodelabError) -> ApiError:
    """What a client is told of an error of ours.

    What the request is to blame for is said in full. Of what is wrong here (a model that raises, a stage, a scorer) the
    client hears only that it failed: the text may hold paths and parts of others' requests, and goes to the log.
    """
    if isinstance(error, PromptTooLong):
        return ApiError(400, str(error), code="context_length_exceeded")
    if isinstance(error, TooLarge):
        return ApiError(400, str(error), code="too_large")
    if isinstance(error, StrategyError | RequestError):
        return ApiError(400, str(error), code="invalid_strategy" if isinstance(error, StrategyError) else None)
    if isinstance(error, VocabularyMismatch):
        return ApiError(400, str(error), code="vocabulary_mismatch")
    if isinstance(error, EmptySupport):
        return ApiError(400, str(error), code="empty_support")
    return ApiError(500, f"the model failed ({type(error).__name__}); the server's log says why", code="failed")


def naming(error: DecodelabError, param: str | None, names: Collection[str] = ()) -> ApiError:
    """The error with the parameter at fault: the one given, or the first of these names that it says."""
    told = api_error(error)
    told.message = told.message.removeprefix("openai: ").removeprefix("llama.cpp: ")
    told.param = param or next((word for word in re.findall(r"[a-z_]+", told.message) if word in names), None)
    return told
