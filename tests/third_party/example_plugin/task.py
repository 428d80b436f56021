"""A task: is a number even or odd?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from decodelab.io.tabular import read_rows
from decodelab.tasks.task import Example, Verdict

EXAMPLE = '{"number": 4}'


@dataclass(frozen=True)
class Parity:
    """Whether a number is even or odd, in one word: 1 if the answer's first word is right, else 0."""

    name: ClassVar[str] = "parity"
    source: ClassVar[str] = "docs/extending.md"

    def read(self, path: Path) -> Sequence[Example]:
        """The examples of JSONL, one number a line."""
        return [self._example(str(at), int(row["number"])) for at, (_, row) in enumerate(read_rows(path, EXAMPLE))]

    def generate(self, seed: int) -> Example:
        """The example of a seed, so that the task needs no file."""
        return self._example(str(seed), seed)

    def judge(self, example: Example, text: str) -> Verdict:
        """Judge what a model wrote, which may be anything."""
        words = text.split()
        answer = words[0].strip(".,!").casefold() if words else None
        return Verdict(float(answer == example.reference), answer)

    def _example(self, name: str, number: int) -> Example:
        return Example(name, f"Is {number} even or odd?", ("even", "odd")[number % 2])
