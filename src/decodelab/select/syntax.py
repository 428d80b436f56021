"""Selection by a checker: what is whole first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.checkers.catalogue import check_checker
from decodelab.checkers.reading import begin_reading
from decodelab.core.capabilities import Need
from decodelab.core.protocols import AnyChecker, Question, Ranker
from decodelab.core.stage import check_choice
from decodelab.core.thoughts import without_thoughts
from decodelab.core.values import Candidate
from decodelab.programs.code_answers import blocks_of
from decodelab.programs.completion import program
from decodelab.programs.examples import asked_function
from decodelab.select._prepared import PreparedSelection
from decodelab.select.ratings import mean_logprob

COMPLETE, PREFIX, INVALID = 2.0, 1.0, 0.0
"""Scores."""


@dataclass(frozen=True)
class Syntax(PreparedSelection):
    """Rank the candidates that a checker accepts first (score 2), then those that are a valid beginning (1), then the
    invalid ones (0); within each by mean log-probability.

    Checked is what stands in the blocks of code of a text, or else the whole text; thoughts are left out. With
    `prompt`, a text completes the prompt: the two are checked together, as the program that a task for code would run
    where the prompt begins a Python function. An empty text is invalid. Unlike `check`, which lets only valid texts be
    written, it costs nothing while generating and cannot lead a model where it would not go.

    Raises:
        InvalidParameter: if there is no such checker.
        CheckerFailed: while ranking, if a checker that is a function raises or gives no verdict.

    >>> str(Syntax(checker="python"))
    'syntax(checker=python)'
    """

    checker: Annotated[AnyChecker, "python, linted_python, or a function of a text"]
    prompt: Annotated[bool, "whether the texts complete the prompt, as code does"] = False

    name: ClassVar[str] = "syntax"
    needs: ClassVar[Need] = "text"
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = "Chen et al. 2021 (Codex), section 3.3, ranks by mean log-probability; checkers are ours"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_checker(self, "checker")
        check_choice(self, "prompt", (False, True), fix="true for completions of code")

    def reads_logprobs(self) -> bool:
        """Only to break ties, where they are known."""
        return False

    def asks_model(self) -> bool:
        """It reads texts."""
        return False

    def prepare(self, candidates: Sequence[Candidate], question: Question) -> Ranker:
        """Ranks by verdict, then by mean log-probability; each different text is checked once."""
        code = self._code(question.prompt)
        texts = {c.text for c in candidates}
        answers = {text: without_thoughts(text) for text in texts}
        verdicts = {t: self._verdict(code(answer)) if answer.strip() else INVALID for t, answer in answers.items()}
        scores = [verdicts[c.text] for c in candidates]
        return lambda places: [
            (i, scores[i]) for i in sorted(places, key=lambda i: (-scores[i], -mean_logprob(candidates[i])))
        ]

    def _code(self, prompt: str) -> Callable[[str], str]:
        """What of an answer is checked."""
        asked = asked_function(prompt) if self.prompt else None
        if asked is not None:
            # A line end that the text does not have would end what may go on.
            return lambda answer: program(asked.code, asked.name, answer).removesuffix("\n")

        def code(answer: str) -> str:
            blocks = blocks_of(answer)
            return "\n".join(blocks) if blocks else f"{prompt}{answer}" if self.prompt else answer

        return code

    def _verdict(self, code: str) -> float:
        reading = begin_reading(self.checker).read(code)
        return INVALID if reading.invalid else COMPLETE if reading.complete else PREFIX
