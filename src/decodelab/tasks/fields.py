"""The rows of a task's file, checked by pydantic; what is wrong is said in one line with where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from decodelab.core.errors import InvalidData

_TEXT = "needs the field {field!r} as non-empty text; write {example}"
_SAYS = {
    "missing": "needs the field {field!r}; write {example}",
    "string_type": _TEXT,
    "string_pattern_mismatch": _TEXT,
    "too_short": "needs the field {field!r} with at least one entry; write {example}",
}


def _id(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError(f"id must be a text or a whole number, got {value!r:.60}")
    return _unicode(str(value))


def _unicode(text: str) -> str:
    text.encode()
    return text


Words = Annotated[str, Strict(), AfterValidator(_unicode)]
"""Text, which may be empty, without the half characters (lone surrogates) that JSON can hold and UTF-8 cannot."""
Text = Annotated[Words, Field(pattern=r"\S")]
"""Text that is not empty."""
Id = Annotated[str | None, BeforeValidator(_id)]
"""What a row calls itself: a text or a whole number."""


class Row(BaseModel):
    """A row of a task's file. A task adds the fields that it reads; others are allowed."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: Id = None


R = TypeVar("R", bound=Row)


def read_items(rows: Iterable[tuple[str, Mapping[str, Any]]], kind: type[R], example: str) -> Iterator[tuple[str, R]]:
    """The rows of a file, each with its id, or else its number from 0.

    Args:
        rows: each with where it stands, as `decodelab.io.tabular` reads them.
        kind: what a row must be.
        example: a line as it should be, for errors.

    Raises:
        InvalidData: for a row that is not of that kind, or has the id of one before it.
    """
    seen: set[str] = set()
    for number, (where, row) in enumerate(rows):
        item = checked(where, row, kind, example)
        name = str(number) if item.id is None else item.id
        if name in seen:
            raise InvalidData(f"{where}: id {name[:60]!r} appears twice; remove one")
        seen.add(name)
        yield name, item


M = TypeVar("M", bound=BaseModel)


def checked(where: str, row: Mapping[str, Any], kind: type[M], example: str) -> M:
    """A row as what it must be.

    Raises:
        InvalidData: naming where it stands, the field, and what is wrong with it.

    >>> class Question(Row):
    ...     question: Text
    >>> checked("line 1", {"question": "2 + 2?"}, Question, "...").question
    '2 + 2?'
    """
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in fault["loc"])
        refusal = fault.get("ctx", {}).get("error")
        if isinstance(refusal, UnicodeEncodeError):
            says = f"{field!r} has a lone surrogate; fix it"
        elif refusal is not None:  # a validator's own words
            says = str(refusal)
        elif fault["type"] in _SAYS:
            says = _SAYS[fault["type"]].format(field=field, example=example)
        else:
            says = f"{field}: {fault['msg'].lower()}, got {repr(fault['input'])[:60]}; write {example}"
        raise InvalidData(f"{where}: {says}") from None
