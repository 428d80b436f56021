"""Natural language inference: whether a premise entails a hypothesis, contradicts it, or neither."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from decodelab.core.errors import InvalidData
from decodelab.io.tabular import read_rows
from decodelab.tasks.choices import Choice
from decodelab.tasks.fields import item_id, text_field
from decodelab.tasks.task import Example, Verdict

LABELS = ("entailment", "neutral", "contradiction")
EXAMPLE = '{"premise": "A cat sleeps.", "hypothesis": "An animal sleeps.", "label": "entailment"}'
_LONGEST = 20_000
_LABEL = re.compile(rf"\b({'|'.join(LABELS)})\b", re.IGNORECASE)
_STATED = re.compile(rf"(?:answer|label)(?: is|:)\s{{0,9}}\W{{0,3}}({'|'.join(LABELS)})\b", re.IGNORECASE)
_NAMES = ("Tom", "Ann", "Ben", "Mia", "Sam", "Zoe", "Leo", "Eva")


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
        found: dict[str, Example] = {}
        for number, (where, row) in enumerate(read_rows(path, EXAMPLE)):
            given = str(row.get("label", row.get("gold_label"))).strip()
            if given in ("-", "-1"):
                continue
            label = LABELS[int(given)] if given in ("0", "1", "2") else given
            if label not in LABELS:
                raise InvalidData(f"{where}: label must be {', '.join(LABELS)} or 0 to 2, got {given[:60]!r}")
            premise = text_field(where, row, ("premise", "sentence1"), EXAMPLE)
            hypothesis = text_field(where, row, ("hypothesis", "sentence2"), EXAMPLE)
            name = item_id(where, {"id": row.get("pairID", number), **row}, number, found)
            found[name] = Example(name, prompt_of(premise, hypothesis), label)
        if not found:
            raise InvalidData(f"{str(path)!r}: no item has a label that its annotators agreed on; choose another split")
        return list(found.values())

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

        That is the label of `answer is ...`, `answer: ...` or `label: ...`, or else the first that is named.
        """
        found = _STATED.search(text[:_LONGEST]) or _LABEL.search(text[:_LONGEST])
        label: Any = found[1].lower() if found else None
        return Verdict(float(label == example.reference), label)


def prompt_of(premise: str, hypothesis: str) -> str:
    """The question as a model is asked it."""
    return (
        f"Premise: {premise}\nHypothesis: {hypothesis}\n"
        "Does the premise entail the hypothesis, contradict it, or neither? "
        "Answer with entailment, contradiction or neutral.\nAnswer:"
    )
