"""The tasks of the pocket language, as items of a benchmark: every real task in miniature."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from decodelab.core.errors import RequestError
from decodelab.core.options import AMBIGUOUS
from decodelab.core.thoughts import without_thoughts
from decodelab.pocket import choice as pocket_choice
from decodelab.pocket import sums
from decodelab.pocket.item import Item, Split
from decodelab.pocket.language import TASKS
from decodelab.pocket.stories import opening
from decodelab.tasks.choices import Choice
from decodelab.tasks.task import Example, Verdict

_OPTION = re.compile(r"(?:^|, )(.+?) \(([A-Z])\)")


@dataclass(frozen=True)
class Pocket:
    """A task of the pocket language, by default on its held-out items, which no shipped model has seen.

    Attributes:
        task: which.
        split: whose items: `test`; `dev`, held out as well, for tuning; or `train`, for learning.
    """

    task: str
    split: Split = "test"

    name: ClassVar[str] = "pocket"
    source: ClassVar[str] = "decodelab's own generators; see the models' cards"
    open_ended: ClassVar[frozenset[str]] = frozenset({"stories", "summaries", "code", "instructions"})

    def read(self, path: Path) -> list[Example]:
        """There are no files of it.

        Raises:
            RequestError: always.
        """
        raise RequestError(
            f"pocket-{self.task} generates its own items and reads no file, got {str(path)!r}; leave it out"
        )

    def generate(self, seed: int) -> Example:
        """The item of a seed; a story is asked for by its first sentence, as all begin with the same words."""
        item = TASKS[self.task].generate(seed, self.split)
        if self.task == "stories":
            item = opening(item)
        return Example(str(seed), item.prompt, item.reference, item.meta)

    def judge(self, example: Example, text: str) -> Verdict:
        """Grade a text as the model's card does; of a sum the integer is what is read, else the whole text."""
        text = without_thoughts(text)
        item = Item(self.task, str(example.prompt), example.reference, example.meta)
        answer = sums.read(text) if self.task == sums.TASK else text if text.strip() else None
        return Verdict(TASKS[self.task].grade(item, text), answer)


@dataclass(frozen=True)
class PocketChoice(Pocket):
    """Multiple choice of the pocket language on its held-out items, whose options can also be scored by likelihood."""

    task: str = "choice"

    def choice(self, example: Example) -> Choice:
        """The options of a question, each as the sentence in which the models give it."""
        listing = str(example.prompt).split("\nOptions: ")[1].split("\n")[0]
        options = _OPTION.findall(listing)
        completions = tuple(f" It is {option} ({letter})." for option, letter in options)
        right = [letter for _, letter in options].index(example.meta["letter"])
        return Choice(f"pocket-{example.id}", example.prompt, completions, right)

    def judge(self, example: Example, text: str) -> Verdict:
        """Grade a text as the model's card does, and an option that was chosen by whether it is the right one."""
        choice = self.choice(example)
        if text in choice.options:
            return Verdict(float(text == choice.options[choice.answer]), text)
        letter = pocket_choice.read(str(example.prompt), text)
        if letter == AMBIGUOUS:
            return Verdict(0.0, None, AMBIGUOUS)
        return Verdict(float(letter == example.meta["letter"]), letter)
