"""Multiple choice as MMLU asks it: answers generated and read by rules, or options scored by likelihood."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from decodelab.core.errors import InvalidData, RequestError
from decodelab.core.options import AMBIGUOUS, LETTERS, read_option
from decodelab.core.thoughts import without_thoughts
from decodelab.io.tabular import read_rows
from decodelab.io.text import file_name, is_unicode
from decodelab.tasks.choices import Choice
from decodelab.tasks.fields import Ids
from decodelab.tasks.task import Example, Verdict

COLUMNS = ("question", "choice0", "choice1", "choice2", "choice3", "answer")
"""Of a CSV file without a header, as Hendrycks et al. publish theirs."""
EXAMPLE = '{"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}'
_SPLIT = re.compile(r"_(?:test|dev|val|validation|train)$")
_BOXED = re.compile(r"\$\\boxed\{([A-Za-z])\}\$")
_ANSWER_IS = re.compile(r"answer is \(?([A-J])\)?")
_ANSWER = re.compile(r"[aA]nswer:\s*(?=([A-J]))")
_ALONE = re.compile(r"\b([A-J])\b")
_OPTION = re.compile(r"option \(?([A-J])\)?")
_FIRST = re.compile(r"\(?([A-J])(?:[).,:;]|\s*$)")


@dataclass(frozen=True)
class MMLU:
    """MMLU with generated answers, or with options scored by likelihood.

    Attributes:
        subject: how the prompt names the subject; None takes it from the item's own field, or else from the file's name
            (`college_medicine_test.csv`).
        form: "course" asks as the course does; "standard" as Hendrycks et al. and lm-evaluation-harness do, in which
            the answer follows as a letter.
        shots: how many answered questions stand before each one; they need the standard form.
        shots_file: where they come from, first to last; None takes them from `SUBJECT_dev.csv` beside the items, or in
            the folder `dev` beside their folder `test`.
        reader: "standard" reads which of the offered options an answer settles on, by letter or in the option's words
            (`decodelab.core.options.read_option`); "course" reads letters by the course's rules (`read_letter`), for
            numbers that are to be compared with the course's.

    >>> MMLU().judge(Example("1", "...", "B"), "So the answer is (B).").score
    1.0
    """

    subject: str | None = None
    form: str = "course"
    shots: int = 0
    shots_file: Path | None = None
    reader: str = "standard"

    name: ClassVar[str] = "mmlu"
    source: ClassVar[str] = "Hendrycks et al. 2021; prompt and rules of 11-763 LM inference, CMU, autumn 2025"

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.form not in ("course", "standard"):
            raise InvalidData(f"mmlu: form must be course or standard, got {self.form!r}")
        if self.reader not in ("standard", "course"):
            raise InvalidData(f"mmlu: reader must be standard or course, got {self.reader!r}")
        if not 0 <= self.shots <= 100:
            raise InvalidData(f"mmlu: shots must be in [0, 100], got {self.shots}; 5 is usual")
        if self.shots and self.form != "standard":
            raise InvalidData(
                f"mmlu: {self.shots} shots need the standard form, the course's has none; add form=standard"
            )
        if self.shots_file is not None and not self.shots:
            raise InvalidData("mmlu: shots_file is given, but shots is 0; set shots")

    def read(self, path: Path) -> list[Example]:
        """The examples of CSV (question, choice0, ..., answer) or JSONL (question, choices, answer, perhaps subject).

        Answers count from 0, or are letters. CSV without a header has four choices. Of a folder, all files
        `SUBJECT_test.csv` are read, by name.

        Raises:
            RequestError, InvalidData: for a file or a line that cannot be read, with its number; for too few shots.
        """
        if not path.is_dir():
            return self._read(path, "")
        files = sorted(path.glob("*_test.csv"))
        if not files:
            raise RequestError(f"{file_name(path)} has no files SUBJECT_test.csv; name a file")
        return [example for file in files for example in self._read(file, f"{_SPLIT.sub('', file.stem)}/")]

    def _read(self, path: Path, prefix: str) -> list[Example]:
        """The examples of one file."""
        shots = self._shots(path) if self.shots else []
        found, ids = [], Ids()
        for number, (where, row) in enumerate(read_rows(path, EXAMPLE, COLUMNS)):
            question, listed, right = _item(where, row)
            subject = self.subject or str(row.get("subject") or _SPLIT.sub("", path.stem)).replace("_", " ")
            if self.form == "course":
                prompt = prompt_of(question, listed, subject)
            else:
                answered = (f"{_asked(*shot[:2])} {LETTERS[shot[2]]}\n\n" for shot in shots)
                prompt = f"{header(subject)}{''.join(answered)}{_asked(question, listed)}"
            meta = {"choices": listed, "subject": subject}
            found.append(Example(f"{prefix}{ids.add(where, number, row.get('id'))}", prompt, LETTERS[right], meta))
        return found

    def _shots(self, path: Path) -> list[tuple[str, list[str], int]]:
        """The answered questions for the items of a file."""
        name = f"{_SPLIT.sub('', path.stem)}_dev.csv"
        published = path.parent.parent / "dev" / name  # beside the folder test, as Hendrycks et al. have it
        source = self.shots_file or (published if path.parent.name == "test" else path.with_name(name))
        found = [_item(where, row) for where, row in read_rows(source, EXAMPLE, COLUMNS)]
        if len(found) < self.shots:
            raise RequestError(
                f"{file_name(source)} has {len(found)} items, {self.shots} shots are asked for; ask for fewer"
            )
        return found[: self.shots]

    def choice(self, example: Example) -> Choice:
        """The letters as completions of the question: " A", " B" and so on."""
        letters = LETTERS[: len(example.meta["choices"])]
        return Choice(example.id, example.prompt, tuple(f" {x}" for x in letters), letters.index(example.reference))

    def judge(self, example: Example, text: str) -> Verdict:
        """Whether the option that the text settles on is the right one.

        In the standard form what its first line says counts, as a model that was shown answered questions goes on to
        ask more of them; without such questions, the whole text is read where the first line says nothing.
        """
        text = without_thoughts(text)
        line = text.lstrip().split("\n")[0]
        if self.reader == "course":
            first = _FIRST.match(line) if self.form == "standard" else None
            letter = first[1] if first else read_letter(line if self.form == "standard" else text)
            return Verdict(float(letter == example.reference), letter)
        choices = example.meta.get("choices")
        letter = read_option(line, choices) if self.form == "standard" else None
        if letter is None and not self.shots:
            letter = read_option(text, choices)
        if letter == AMBIGUOUS:
            return Verdict(0.0, None, AMBIGUOUS)
        return Verdict(float(letter == example.reference), letter)


def _item(where: str, row: dict[str, Any]) -> tuple[str, list[str], int]:
    """Question, options and the place of the right one, of a row of CSV or JSONL."""
    listed = row.get("choices")
    if listed is None:
        listed = [row.get(f"choice{i}") or "" for i in range(len(LETTERS))]
        while listed and not listed[-1]:
            listed.pop()
    right = str(row.get("answer", "")).strip()
    if len(right) == 1 and right in LETTERS:
        index = LETTERS.index(right)
    else:
        index = int(right) if right.isascii() and right.isdigit() and len(right) < 3 else -1
    question = row.get("question")
    if (
        not isinstance(question, str)
        or not isinstance(listed, list)
        or not 2 <= len(listed) <= len(LETTERS)
        or not all(isinstance(choice, str) and choice.strip() and is_unicode(choice) for choice in listed)
        or not is_unicode(question)
        or not 0 <= index < len(listed)
    ):
        raise InvalidData(f"{where}: is not a multiple-choice item with an answer number from 0; write {EXAMPLE}")
    return question, listed, index


def prompt_of(question: str, choices: Sequence[str], subject: str) -> str:
    """The question as the course writes it, its double spaces included."""
    return (
        f"The following is a multiple choice question (with answers) about  {subject}.  "
        'Output the answer in the format of "The answer is (X)" at the end.\n\n'
        f"Question: {question}\n Options:\n{_listed(choices)}\nAnswer:"
    )


def header(subject: str) -> str:
    """What stands above the questions in the standard form, with one space where Hendrycks et al. have two."""
    return f"The following are multiple choice questions (with answers) about {subject}.\n\n"


def _asked(question: str, choices: Sequence[str]) -> str:
    """A question in the standard form."""
    return f"{question.strip()}\n{_listed(choices)}\nAnswer:"


def _listed(choices: Sequence[str]) -> str:
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))


def read_letter(text: str) -> str | None:
    r"""The letter that an answer settles on by the course's rules, or None.

    They look for no word boundary after `answer is`, nor at what is offered: `The answer is Digoxin` gives D. Use
    `decodelab.core.options.read_option` unless numbers are to be compared with the course's.

    `**` is dropped and `$\boxed{X}$` unwrapped; then the first rule that finds a letter counts: `answer is (X)`, the
    last `Answer: X` of the first line that has one, the last letter A to J that stands alone (be it the word I or A),
    `option (X)`. Thoughts are no answer.

    >>> read_letter("**Answer: C**"), read_letter(r"so $\boxed{D}$"), read_letter("no idea")
    ('C', 'D', None)
    """
    text = _BOXED.sub(r"\1", without_thoughts(text).replace("**", ""))
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
