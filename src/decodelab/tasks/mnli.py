"""Natural language inference: whether a premise entails a hypothesis, contradicts it, or neither."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AliasChoices, BeforeValidator, Field

from decodelab.core.errors import InvalidData
from decodelab.core.options import AMBIGUOUS, OptionReader
from decodelab.io.tabular import read_rows
from decodelab.tasks.choices import Choice
from decodelab.tasks.fields import Id, Row, Text, read_items
from decodelab.tasks.task import Example, Verdict

LABELS = ("entailment", "neutral", "contradiction")
EXAMPLE = '{"premise": "A cat sleeps.", "hypothesis": "An animal sleeps.", "label": "entailment"}'
_DISAGREED = ""
_READER = OptionReader({label: label for label in LABELS}, lettered=False)
_NAMES = ("Tom", "Ann", "Ben", "Mia", "Sam", "Zoe", "Leo", "Eva")


def _label(given: Any) -> str:
    """A label by its name or number; `_DISAGREED` where the annotators did not agree."""
    label = str(given).strip()
    if label in ("-", "-1"):
        return _DISAGREED
    label = LABELS[int(label)] if label in ("0", "1", "2") else label
    if label not in LABELS:
        raise ValueError(f"label must be {', '.join(LABELS)} or 0 to 2, got {label[:60]!r}")
    return label


class _Row(Row):
    id: Id = Field(None, validation_alias=AliasChoices("id", "pairID"))
    premise: Text = Field(validation_alias=AliasChoices("premise", "sentence1"))
    hypothesis: Text = Field(validation_alias=AliasChoices("hypothesis", "sentence2"))
    label: Annotated[str, BeforeValidator(_label)] = Field(validation_alias=AliasChoices("label", "gold_label"))


@dataclass(frozen=True)
class MNLI:
    """Premise and hypothesis, answered by a label that is generated, or scored by likelihood.

    >>> MNLI().judge(Example("1", "...", "neutral"), "The answer is **Neutral**.").score
    1.0
    """

    name: ClassVar[str] = "mnli"
    source: ClassVar[str] = "Williams et al. 2018; the prompt is ours"

    def read(self, path: Path) -> list[Example]:
        """The examples of JSONL or CSV: premise, hypothesis, label (a name, or 0, 1, 2 in the order above).

        The names of the original release are read too (sentence1, sentence2, gold_label, pairID). Items on which its
        annotators did not agree (label "-" or -1) are left out, as everybody leaves them out.

        Raises:
            RequestError, InvalidData: for a file or a line that cannot be read, with its number.
        """
        rows = read_items(read_rows(path, EXAMPLE), _Row, EXAMPLE)
        found = [
            Example(name, prompt_of(row.premise, row.hypothesis), row.label)
            for name, row in rows
            if row.label != _DISAGREED
        ]
        if not found:
            raise InvalidData(f"{str(path)!r}: no item has a label that its annotators agreed on; choose another split")
        return found

    def generate(self, seed: int) -> Example:
        """A miniature: two comparisons of three people, and a third that follows, cannot be, or is of somebody else."""
        rng = random.Random(f"decodelab mnli {seed}")
        first, second, third, other = rng.sample(_NAMES, 4)
        word = rng.choice(("taller", "older", "faster"))
        label = rng.choice(LABELS)
        pair = {
            "entailment": (first, third),
            "neutral": rng.choice(((other, first), (third, other))),
            "contradiction": (third, first),
        }[label]
        premise = f"{first} is {word} than {second}. {second} is {word} than {third}."
        return Example(f"made-{seed}", prompt_of(premise, f"{pair[0]} is {word} than {pair[1]}."), label)

    def choice(self, example: Example) -> Choice:
        """The labels as completions of the prompt."""
        options = tuple(f" {label}" for label in LABELS)
        return Choice(example.id, example.prompt, options, LABELS.index(example.reference))

    def judge(self, example: Example, text: str) -> Verdict:
        """Whether the label that the text gives is the right one.

        It is read as the options of multiple choice are (`decodelab.core.options.read_option`), by its name.
        """
        label = _READER.read(text)
        if label == AMBIGUOUS:
            return Verdict(0.0, None, AMBIGUOUS)
        return Verdict(float(label == example.reference), label)


def prompt_of(premise: str, hypothesis: str) -> str:
    """The question as a model is asked it."""
    return (
        f"Premise: {premise}\nHypothesis: {hypothesis}\n"
        "Does the premise entail the hypothesis, contradict it, or neither? "
        "Answer with entailment, contradiction or neutral.\nAnswer:"
    )
