"""The tasks of the pocket language, as items of a benchmark: every real task in miniature."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from decodelab.core.errors import InvalidData, RequestError
from decodelab.pocket.item import Item
from decodelab.pocket.language import TASKS
from decodelab.tasks.choices import Choice
from decodelab.tasks.task import Example, Verdict

_OPTION = re.compile(r"(?:^|, )(.+?) \(([A-Z])\)")


@dataclass(frozen=True)
class Pocket:
    """A task of the pocket language on its held-out items, which no shipped model has seen.

    Attributes:
        task: which.
        likelihood: of pocket-choice, whether a sweep also scores the options by likelihood, in a cell of its own beside
            the strategies.
    """

    task: str
    likelihood: bool = False

    name: ClassVar[str] = "pocket"
    source: ClassVar[str] = "decodelab's own generators; see the models' cards"

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.likelihood and self.task != "choice":
            raise InvalidData(
                f"pocket-{self.task} has no options whose likelihood could be scored; leave likelihood out"
            )

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

    def choice(self, example: Example) -> Choice:
        """The options of a question of pocket-choice, each as the sentence in which the models give it.

        Raises:
            InvalidData: for an item of another task.
        """
        if self.task != "choice":
            raise InvalidData(f"pocket-{self.task} has no options")
        listing = str(example.prompt).split("\nOptions: ")[1].split("\n")[0]
        options = _OPTION.findall(listing)
        completions = tuple(f" It is {option} ({letter})." for option, letter in options)
        right = [letter for _, letter in options].index(example.meta["letter"])
        return Choice(f"pocket-{example.id}", example.prompt, completions, right)

    def judge(self, example: Example, text: str) -> Verdict:
        """Grade a text as the model's card does."""
        item = Item(self.task, str(example.prompt), example.reference, example.meta)
        return Verdict(TASKS[self.task].grade(item, text), text)
