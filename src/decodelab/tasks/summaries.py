"""Summaries of documents, scored by ROUGE against a reference."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AliasChoices, BeforeValidator, Field

from decodelab.core.errors import InvalidData
from decodelab.core.thoughts import without_thoughts
from decodelab.io.tabular import read_rows
from decodelab.metrics.overlap import rouge
from decodelab.tasks.fields import Row, Text, read_items
from decodelab.tasks.task import Example, Verdict

EXAMPLE = '{"document": "A long text.", "summary": "A text."}'
MEASURES = ("rouge1", "rouge2", "rouge_l", "rouge_lsum")
_LONGEST = 20_000


def _listed(given: Any) -> Any:
    return given if isinstance(given, list) else [given]


class _Row(Row):
    document: Text = Field(validation_alias=AliasChoices("document", "article"))
    summary: Annotated[list[Text], BeforeValidator(_listed), Field(min_length=1)] = Field(
        validation_alias=AliasChoices("summary", "highlights")
    )


@dataclass(frozen=True)
class Summaries:
    """Summaries asked for by a line after the document; ROUGE F1 against the best of the references.

    Attributes:
        measure: which ROUGE is the score: "rouge_l", "rouge_lsum", "rouge1" or "rouge2"; the answer has all of them.
        request: what follows the document in the prompt.

    >>> task = Summaries()
    >>> example = Example("1", "...", ["The fox learned to swim."])
    >>> round(task.judge(example, " A fox learned to swim.").score, 2)
    0.8
    """

    measure: str = "rouge_l"
    request: str = "\n\nTL;DR:"

    name: ClassVar[str] = "summaries"
    source: ClassVar[str] = "ROUGE, Lin 2004; the request of Radford et al. 2019 (GPT-2)"
    open_ended: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.measure not in MEASURES:
            raise InvalidData(f"summaries: measure must be one of {', '.join(MEASURES)}, got {self.measure!r}")

    def read(self, path: Path) -> list[Example]:
        """The examples of JSONL or CSV: document, summary (a text, or a list of several), perhaps id.

        CNN/DailyMail's names (article, highlights) are read too.

        Raises:
            RequestError, InvalidData: for a file or a line that cannot be read, with its number.
        """
        rows = read_items(read_rows(path, EXAMPLE), _Row, EXAMPLE)
        return [Example(name, f"{row.document}{self.request}", row.summary) for name, row in rows]

    def judge(self, example: Example, text: str) -> Verdict:
        """Compare the first paragraph of a text with the references."""
        summary = without_thoughts(text).strip()[:_LONGEST].split("\n\n")[0]
        found = asdict(rouge(summary, example.reference))
        return Verdict(found[self.measure], {"summary": summary, **found} if summary else None)

    def aggregate(self, judged: Iterable[tuple[Any, Verdict]]) -> dict[str, float]:
        """The means of all of them; an answer without words counts as 0."""
        found = [verdict.answer or dict.fromkeys(MEASURES, 0.0) for _, verdict in judged]
        return {name: math.fsum(answer[name] for answer in found) / len(found) for name in MEASURES if found}
