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


def item_id(value: Any) -> str:
    """What a row calls itself, as text.

    Raises:
        ValueError: for what is neither a text, which may not be empty, nor a whole number.
    """
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
Id = Annotated[str | None, BeforeValidator(item_id)]
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
    ids = Ids()
    for number, (where, row) in enumerate(rows):
        item = checked(where, row, kind, example)
        yield ids.add(where, number, item.id), item


class Ids:
    """The ids of the items of a file, which may not repeat: an item is known by its id in journals and outputs."""

    def __init__(self) -> None:
        """Know none yet."""
        self._where: dict[str, str] = {}

    def add(self, where: str, number: int, given: Any) -> str:
        """The id of a row: the one that it has, or else its number.

        Raises:
            InvalidData: for an id of another kind, or that of a row before it, with where both stand.
        """
        try:
            name = str(number) if given is None else item_id(given)
        except UnicodeEncodeError:
            raise InvalidData(f"{where}: 'id' has a lone surrogate; fix it") from None
        except ValueError as error:
            raise InvalidData(f"{where}: {error}") from None
        if name in self._where:
            before = self._where[name].rpartition(", ")[2]
            raise InvalidData(f"{where}: id {name[:60]!r} appears twice (first on {before}); remove one")
        self._where[name] = where
        return name


def answer_text(answer: str | int | float) -> str:
    """An answer as text: a number as it is written by hand, so that 62.0 in a file is the text 62.

    >>> answer_text(62.0), answer_text(0.5), answer_text("062")
    ('62', '0.5', '062')
    """
    return str(int(answer)) if isinstance(answer, float) and answer.is_integer() else str(answer)


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
