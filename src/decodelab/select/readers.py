"""Answer readers by name: what a text gives as its answer, in a form in which equal answers are equal texts.

A third party adds one with an entry point in the group `decodelab.readers` that names a function of a text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

from decodelab.core.errors import UnsupportedStrategy
from decodelab.core.integers import read_integer, read_number
from decodelab.core.options import AMBIGUOUS, read_option
from decodelab.core.protocols import Question, Reader
from decodelab.core.registry import Registry
from decodelab.core.stage import Stage
from decodelab.core.thoughts import ends_in_thought, opens_thought, without_thoughts
from decodelab.core.values import Candidate

READERS: Registry[Reader] = Registry(
    "answer reader",
    "decodelab.readers",
    {
        "integer": "decodelab.select.readers:integer",
        "number": "decodelab.select.readers:number",
        "letter": "decodelab.select.readers:letter",
        "line": "decodelab.select.readers:last_line",
        "text": "decodelab.select.readers:whole_text",
    },
)

TASK = "task"
"""Stands for the reader of the task that asks."""
JSON = "json."
"""Before the name of a field of a JSON object."""

Answer = Annotated[
    str | Reader,
    "what counts as the answer: integer, number, letter, line, text, json.FIELD, task, or a function of a text",
]

_LONGEST = 100_000
_MOST_OBJECTS = 1_000
"""Characters, and opening braces, that are looked at for JSON objects."""


def check_answer(stage: Stage) -> None:
    """Refuse a parameter `answer` that names no reader.

    Raises:
        InvalidParameter: with the nearest name.
    """
    value = getattr(stage, "answer")  # noqa: B009  (a stage in general has none)
    if isinstance(value, str) and (value == TASK or (value.startswith(JSON) and len(value) > len(JSON))):
        return
    READERS.check_parameter(
        stage,
        "answer",
        accepts=callable,
        accepted="a function of a text",
        fix="integer takes the number that the text settles on",
        others=(TASK, f"{JSON}FIELD"),
    )


def read_answers(
    stage: Stage, answer: str | Reader, candidates: Sequence[Candidate], question: Question
) -> list[str | None]:
    """What a stage counts as the answer of each candidate; None where there is none.

    A candidate that the limit cut within a thought which the prompt opened has none.

    Raises:
        UnsupportedStrategy: if answers are to be read as a task does, and no task asks.
    """
    read = _reader(stage, answer, question)  # once: a third party's means reading every package's metadata
    begun = opens_thought(question.prompt)
    texts = {c.text for c in candidates}  # equal samples are common, and are read once
    answers = dict(zip(texts, map(read, texts), strict=True))
    return [None if begun and _only_thinks(candidate) else answers[candidate.text] for candidate in candidates]


def _only_thinks(candidate: Candidate) -> bool:
    """Whether a candidate that begins within a thought was cut before its end."""
    return candidate.finish_reason == "length" and ends_in_thought(candidate.text, begun=True)


def _reader(stage: Stage, answer: str | Reader, question: Question) -> Reader:
    """The reader that a stage names, or is given.

    Raises:
        UnsupportedStrategy: if it is that of a task, and no task asks.
    """
    if not isinstance(answer, str):
        return answer
    if answer == TASK:
        if question.read is None:
            raise UnsupportedStrategy(
                f"{stage}: no task asks here, whose reader it could take; use it in bench, or answer=integer"
            )
        return question.read
    if answer.startswith(JSON):
        return lambda text: json_field(text, answer.removeprefix(JSON))
    return READERS.load(answer)


def integer(text: str) -> str | None:
    """The integer that a text settles on, as tasks read it (`decodelab.core.integers.read_integer`).

    >>> integer("7 + 1,005 is 1,012."), integer("2.5")
    ('1012', None)
    """
    found = read_integer(text)
    return None if found is None else str(found)


def number(text: str) -> str | None:
    r"""The number that a text settles on, exactly: decimals, fractions and integers that are equal are one answer.

    >>> number("It is 0.50."), number(r"\boxed{\frac{1}{2}}"), number("1,200.0")
    ('1/2', '1/2', '1200')
    """
    found = read_number(text)
    return None if found is None else str(found)


def letter(text: str) -> str | None:
    """The choice letter that a text settles on, as tasks read it (`decodelab.core.options.read_option`).

    >>> letter("The answer is (b)."), letter("A or B")
    ('B', None)
    """
    found = read_option(text)
    return None if found == AMBIGUOUS else found


def last_line(text: str) -> str | None:
    """The last line that is not empty, stripped; thoughts are no answer.

    >>> last_line("So: 12  ")
    'So: 12'
    """
    lines = [line.strip() for line in without_thoughts(text).splitlines() if line.strip()]
    return lines[-1] if lines else None


def whole_text(text: str) -> str | None:
    """The whole text but for thoughts, stripped."""
    return without_thoughts(text).strip() or None


def json_field(text: str, field: str) -> str | None:
    """The value of a field of the last JSON object in a text that has it, as JSON; thoughts are no answer.

    Equal numbers are equal, however they are written.

    >>> json_field('Sure: {"answer": 4.0, "why": "2 + 2"}', "answer")
    '4'
    """
    answer = without_thoughts(text)[-_LONGEST:]
    decoder = json.JSONDecoder(parse_float=_number, parse_constant=_refused)
    found, at = None, 0
    for _ in range(_MOST_OBJECTS):
        at = answer.find("{", at)
        if at < 0:
            break
        try:
            value, at = decoder.raw_decode(answer, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        if isinstance(value, dict) and field in value:
            found = json.dumps(value[field], sort_keys=True, ensure_ascii=False)
    return found


def _number(digits: str) -> int | float:
    value = float(digits)
    return int(value) if value.is_integer() else value


def _refused(name: str) -> None:
    raise ValueError(name)
