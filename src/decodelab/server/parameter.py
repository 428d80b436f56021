"""What the tables of parameters are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

Route = Literal["completions", "chat", "responses", "llama"]
"""The routes whose parameters are in the table."""

Role = Literal["prompt", "sampling", "constraint", "limit", "answer", "inert"]
"""What a parameter says: what is continued, how tokens are drawn, what texts are allowed, when they end, what of the
answer is shown; or nothing that matters here."""

Origin = Literal["OpenAI", "vLLM", "llama.cpp", "decodelab"]
"""Whose name it is."""

OPENAI: tuple[Route, ...] = ("completions", "chat", "responses")
TEXT: tuple[Route, ...] = ("completions", "chat")
MOST = 2**63 - 1
Text = Annotated[str, Field(max_length=2**20)]
Ids = list[Annotated[int, Field(ge=0, le=MOST)]]


@dataclass(frozen=True)
class Parameter:
    """A parameter that is honoured, or inert.

    Attributes:
        name: as requests write it.
        type: what pydantic checks.
        doc: what it does.
        role: what it says.
        routes: where it may stand.
        origin: whose name it is.
        required: whether it must be given.
    """

    name: str
    type: Any
    doc: str
    role: Role
    routes: tuple[Route, ...] = OPENAI
    origin: Origin = "OpenAI"
    required: bool = False


@dataclass(frozen=True)
class Refused:
    """A parameter that other servers have and this one does not honour.

    Attributes:
        name: as requests write it.
        why: what to do instead.
        off: the values that say nothing, and are taken.
        routes: where it is known.
        origin: whose name it is.
    """

    name: str
    why: str
    off: tuple[Any, ...] = ()
    routes: tuple[Route, ...] = OPENAI
    origin: Origin = "OpenAI"


def number(low: float, high: float, **more: Any) -> Any:
    """The type of numbers in a range."""
    return Annotated[float, Field(ge=low, le=high, **more)]


def integer(low: int, high: int = MOST) -> Any:
    """The type of integers in a range."""
    return Annotated[int, Field(ge=low, le=high)]
