"""GSM8K: sums in words, whose answers are integers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from decodelab.core.errors import InvalidData, RequestError
from decodelab.core.integers import NEXT_QUESTION, read_integer
from decodelab.io.tabular import read_rows
from decodelab.io.text import file_name
from decodelab.tasks.fields import Row, Text, read_items
from decodelab.tasks.task import Example, Verdict

EXAMPLE = '{"question": "What is 2 times 9?", "answer": "2 times 9 is 18.\\n#### 18"}'


@dataclass(frozen=True)
class GSM8K:
    """GSM8K, or any data in its format: 1 if the integer that the answer settles on is the right one, else 0.

    Attributes:
        instruct: ask for the answer in words, as chats want it; otherwise the prompt is to be continued.
        shots: how many answered questions stand before each one; 5 is usual for models that are not chats.
        shots_file: where they come from, first to last; None takes the first of the items, which are then not asked.

    >>> GSM8K().judge(Example("0", "...", 1200), "So it is $1,200.00.").score
    1.0
    """

    instruct: bool = False
    shots: int = 0
    shots_file: Path | None = None

    name: ClassVar[str] = "maths"
    source: ClassVar[str] = "Cobbe et al. 2021; prompt of lm-evaluation-harness's gsm8k"

    def __post_init__(self) -> None:
        """Check the parameters."""
        if not 0 <= self.shots <= 100:
            raise InvalidData(f"maths: shots must be in [0, 100], got {self.shots}; 5 is usual")
        if self.shots and self.instruct:
            raise InvalidData(
                f"maths: {self.shots} shots are continued as text and cannot be combined with instruct; leave one out"
            )
        if self.shots_file is not None and not self.shots:
            raise InvalidData("maths: shots_file is given, but shots is 0; set shots")

    @property
    def stop(self) -> tuple[str, ...]:
        """Where a model goes on to the next question."""
        return () if self.instruct else (NEXT_QUESTION,)

    def read(self, path: Path) -> list[Example]:
        """The examples of JSONL in the published format: question, and an answer that ends in `#### 18`.

        Raises:
            RequestError, InvalidData: for a file or a line that cannot be read, with its number; for too few shots.
        """
        rows = _rows(path)
        source, shown, asked = self.shots_file or path, rows, rows[self.shots :]
        if self.shots_file is not None:
            shown, asked = _rows(self.shots_file), rows
        if len(shown) < self.shots or not asked:
            fault = f"has {len(shown)} items, too few for {self.shots} shots"
            raise RequestError(f"{file_name(source)} {fault} and an item to ask; ask for fewer")
        before = "".join(f"{_asked(question)} {answer}\n\n" for _, question, answer, _ in shown[: self.shots])
        return [
            Example(name, instruction(question) if self.instruct else before + _asked(question), right)
            for name, question, _, right in asked
        ]

    def judge(self, example: Example, text: str) -> Verdict:
        """Whether the integer that the text settles on is the right one."""
        answer = read_integer(text)
        return Verdict(float(answer is not None and answer == example.reference), answer)


def instruction(question: str) -> str:
    """How a chat is asked, in the words of the Qwen models' cards."""
    return f"{question}\nPlease reason step by step, and put your final answer within \\boxed{{}}."


def _asked(question: str) -> str:
    return f"Question: {question}\nAnswer:"


def _settled(answer: str) -> str:
    if "####" not in answer or read_integer(answer) is None:
        raise ValueError(f"the answer must end in #### and an integer; write {EXAMPLE}")
    return answer


class _Row(Row):
    question: Text
    answer: Annotated[Text, AfterValidator(_settled)]


def _rows(path: Path) -> list[tuple[str, str, str, int]]:
    """Id, question, answer and the integer it ends in, of each row."""
    rows = read_items(read_rows(path, EXAMPLE), _Row, EXAMPLE)
    return [(name, row.question, row.answer, read_integer(row.answer) or 0) for name, row in rows]
