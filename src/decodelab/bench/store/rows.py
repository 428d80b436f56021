"""How answers are laid out in the journal's tables: texts that may not be Unicode, and lists of numbers."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from decodelab.bench.records import Answer
from decodelab.core.values import Confidences
from decodelab.metrics.repetition import seq_rep_n

COLUMNS = tuple(name for name in Answer.__dataclass_fields__ if name != "confidences")
ROW = (*COLUMNS, "length", "logprob", "repetition")
"""What `row_of` gives."""
_PACKED = {"tokens": "i", "token_logprobs": "d", "processed_logprobs": "d"}
"""Lists and the type of their entries, little-endian: half the size of JSON, and ten times as fast."""


def row_of(answer: Answer) -> tuple[Any, ...]:
    """An answer as its row holds it, with what tables need of its tokens: length, log-probability, repetition."""
    repetition = seq_rep_n([answer.tokens])
    # An estimate where a server shows no tokens: 4 bytes each, as it is an answer's own length that is wanted.
    length = len(answer.tokens) or len(answer.token_logprobs) or -(-len(encoded(answer.text)) // 4)
    logprob = sum(answer.token_logprobs) if answer.token_logprobs or not answer.text else math.nan
    figures = length, logprob, 0.0 if math.isnan(repetition) else repetition
    return (*(_cell(getattr(answer, column), column) for column in COLUMNS), *figures)


def answer_of(row: Sequence[Any]) -> Answer:
    """An answer from its row, the columns in the order of `COLUMNS`."""
    values: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    for column, kind in _PACKED.items():
        values[column] = unpacked(values[column], kind)
    return Answer(**values)


def confidences_row(answer: Answer) -> tuple[Any, ...]:
    """The confidences of an answer as their row holds them: a few digits are enough."""
    known = answer.confidences
    columns = ((), (), ()) if known is None else (known.entropy, known.self_certainty, known.top)
    return (answer.key, *(struct.pack(f"<{len(column)}f", *column) for column in columns))


def confidences_of(row: Sequence[bytes | None], tokens: int) -> Confidences | None:
    """Confidences of so many tokens from their row without its key.

    None where there are none, or those of a text that came out another time.
    """
    columns = [() if packed is None else unpacked(packed, "f") for packed in row]
    return Confidences(*columns) if tokens and all(len(column) == tokens for column in columns) else None


def encoded(text: str) -> bytes:
    """Text as SQLite keeps it; half a surrogate pair, which is not Unicode but occurs in strings, is kept as it is."""
    return text.encode("utf-8", "surrogatepass")


def decoded(text: bytes) -> str:
    """Text as it was before `encoded`."""
    return text.decode("utf-8", "surrogatepass")


def _cell(value: Any, column: str) -> Any:
    if column in _PACKED:
        return struct.pack(f"<{len(value)}{_PACKED[column]}", *value)
    return value


def unpacked(packed: bytes, kind: str = "d") -> tuple[Any, ...]:
    """A list of numbers that a column holds."""
    return struct.unpack(f"<{len(packed) // struct.calcsize(kind)}{kind}", packed)
