"""Multiple choice as MMLU asks it, with the course's prompt and its rules for reading an answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from decodelab.core.errors import InvalidData
from decodelab.core.rows import read_rows
from decodelab.tasks.task import Example, Verdict

LETTERS = "ABCDEFGHIJ"
EXAMPLE = '{"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}'
_LONGEST = 200_000
_BOXED = re.compile(r"\$\\boxed\{\s{0,9}([^{}]{0,200}?)\s{0,9}\}\$")
_ANSWER_IS = re.compile(r"answer is \(?([A-J])\)?")
_ANSWER = re.compile(r"[aA]nswer:\s*([A-J])")
_ALONE = re.compile(r"\b([A-J])\b")
_OPTION = re.compile(r"option \(?([A-J])\)?")


@dataclass(frozen=True)
class MMLU:
    """MMLU with generated answers, read by the course's rules in their order.

    Attributes:
        subject: how the prompt names the subject; None takes it from the file's name (`college_medicine_test.csv`).

    >>> MMLU().judge(Example("1", "...", "B"), "So the answer is (B).").score
    1.0
    """

    subject: str | None = None

    name: ClassVar[str] = "mmlu"
    source: ClassVar[str] = "Hendrycks et al. 2021; prompt and rules of 11-763 LM inference, CMU, autumn 2025"

    def read(self, path: Path) -> list[Example]:
        """The examples of CSV (question, choice0, ..., answer) or JSONL (question, choices, answer).

        Answers count from 0, or are letters.

        Raises:
            RequestError, InvalidData: for a file or a line that cannot be read, with its number.
        """
        subject = self.subject or re.sub(r"_(?:test|dev|val|validation|train)$", "", path.stem).replace("_", " ")
        found = []
        for number, (where, row) in enumerate(read_rows(path, EXAMPLE)):
            listed = row.get("choices")
            if listed is None:
                listed = [row[f"choice{i}"] for i in range(len(LETTERS)) if row.get(f"choice{i}") is not None]
            right = str(row.get("answer", "")).strip()
            index = int(right) if right.isascii() and right.isdigit() and len(right) < 3 else LETTERS.find(right or "?")
            question = row.get("question")
            if (
                not isinstance(question, str)
                or not isinstance(listed, list)
                or not 2 <= len(listed) <= len(LETTERS)
                or not all(isinstance(choice, str) for choice in listed)
                or not 0 <= index < len(listed)
            ):
                raise InvalidData(f"{where}: is no multiple choice item, its answer a number from 0; write {EXAMPLE}")
            meta = {"choices": listed, "subject": subject}
            found.append(
                Example(str(row.get("id", number)), prompt_of(question, listed, subject), LETTERS[index], meta)
            )
        return found

    def judge(self, example: Example, text: str) -> Verdict:
        """Whether the letter that the text gives is the right one."""
        letter = read_letter(text)
        return Verdict(float(letter == example.reference), letter)


def prompt_of(question: str, choices: list[str], subject: str) -> str:
    """The question as the course writes it, its double spaces included."""
    options = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    return (
        f"The following is a multiple choice question (with answers) about  {subject}.  "
        'Output the answer in the format of "The answer is (X)" at the end.\n\n'
        f"Question: {question}\n Options:\n{options}\nAnswer:"
    )


def read_letter(text: str) -> str | None:
    r"""The letter an answer settles on, or None.

    `**` is dropped and `$\boxed{X}$` unwrapped; then the first rule that finds a letter counts: `answer is (X)`, the
    last `Answer: X` of the first line that has one, the last letter A to J that stands alone (be it the word I or A),
    `option (X)`.

    >>> read_letter("**Answer: C**"), read_letter(r"so $\boxed{D}$"), read_letter("no idea")
    ('C', 'D', None)
    """
    text = _BOXED.sub(r"\1", text[:_LONGEST].replace("**", ""))
    found = _ANSWER_IS.search(text)
    if found:
        return found[1]
    named = list(_ANSWER.finditer(text))
    if named:
        line_end = text.find("\n", named[0].start())
        return [m for m in named if line_end < 0 or m.start() < line_end][-1][1]
    alone = _ALONE.findall(text)
    if alone:
        return alone[-1]
    found = _OPTION.search(text)
    return found[1] if found else None
