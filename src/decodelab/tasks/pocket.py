"""The tasks of the pocket language, as items of a benchmark: every real task in miniature."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from decodelab.core.errors import RequestError
from decodelab.pocket.item import Item
from decodelab.pocket.language import TASKS
from decodelab.tasks.task import Example, Verdict


@dataclass(frozen=True)
class Pocket:
    """A task of the pocket language on its held-out items, which no shipped model has seen."""

    task: str

    name: ClassVar[str] = "pocket"
    source: ClassVar[str] = "decodelab's own generators; see the models' cards"

    def read(self, path: Path) -> list[Example]:
        """There are no files of it.

        Raises:
            RequestError: always.
        """
        raise RequestError(f"pocket-{self.task} makes its own items and reads no file, got {str(path)!r}; leave it out")

    def made(self, seed: int) -> Example:
        """The held-out item of a seed."""
        item = TASKS[self.task].generate(seed, "test")
        return Example(str(seed), item.prompt, item.reference, item.meta)

    def judge(self, example: Example, text: str) -> Verdict:
        """Grade a text as the model's card does."""
        item = Item(self.task, str(example.prompt), example.reference, example.meta)
        return Verdict(TASKS[self.task].grade(item, text), text)
