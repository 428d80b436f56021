"""Open-ended writing: continuations of a prompt, measured by their variety, fluency or perplexity."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from decodelab.core.errors import InvalidData, RequestError, UnknownToken
from decodelab.core.words import words
from decodelab.io.tabular import read_objects
from decodelab.io.text import file_name, read_text
from decodelab.metrics.diversity import unique_n_grams
from decodelab.metrics.repetition import ends_in_loop, seq_rep_n
from decodelab.pocket.stories import generate, opening
from decodelab.tasks.fields import Row, Text, read_items
from decodelab.tasks.task import Example, Verdict

if TYPE_CHECKING:
    from decodelab.core.protocols import LanguageModel
    from decodelab.metrics.classifier import Classifier

EXAMPLE = '{"prompt": "Once upon a time,"}'
MEASURES = ("distinct", "probability", "acceptability")
_LONGEST = 20_000
_N = 4
_FIGURES = {
    "words": "words",
    "distinct": "distinct",
    "unique_4_grams": "unique 4-grams",
    "loop": "ends in a loop",
    "acceptability": "acceptable",
}


class _Row(Row):
    prompt: Text


@dataclass(frozen=True)
class Stories:
    """Continuations of a prompt, each scored by one measure; the answer has all measures.

    No measure is quality: gibberish is varied, and what a model finds probable may say one thing again and again.
    Compare strategies by two of them at least.

    Attributes:
        measure: what the score is. "distinct": the share of runs of 4 words that are new in the text, 0 for fewer than
            4 words. "probability": the geometric mean probability of a token under the judge, 1 / perplexity.
            "acceptability": the classifier's probability that the text is acceptable.
        judge_model: a language model, better not the one that writes, for the perplexity; None leaves it out.
        classifier: a sequence classifier trained on CoLA, a directory or hub id; None leaves it out.

    >>> task = Stories()
    >>> round(task.judge(task.generate(0), " A dog ran and a dog ran and a dog ran.").score, 3)
    0.625
    """

    measure: str = "distinct"
    judge_model: str | None = None
    classifier: str | None = None

    name: ClassVar[str] = "stories"
    source: ClassVar[str] = "open-ended generation, Holtzman et al. 2020; 1 - seq-rep-4 of Welleck et al. 2020"
    open_ended: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.measure not in MEASURES:
            raise InvalidData(f"stories: measure must be one of {', '.join(MEASURES)}, got {self.measure!r}")
        if self.measure == "probability" and self.judge_model is None:
            raise InvalidData(
                "stories: measure=probability needs a language model; add judge_model, such as pocket-small"
            )
        if self.measure == "acceptability" and self.classifier is None:
            raise InvalidData("stories: measure=acceptability needs a classifier; add one trained on CoLA")

    def read(self, path: Path) -> list[Example]:
        """The prompts of a text file, one a line, or of JSONL (prompt, perhaps id).

        Raises:
            RequestError, InvalidData: for a file or a line that cannot be read, with its number.
        """
        text = read_text(path)
        if path.suffix == ".jsonl":
            rows = read_items(read_objects(path, text, EXAMPLE), _Row, EXAMPLE)
            found = [Example(name, row.prompt, None) for name, row in rows]
        else:
            lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
            found = [Example(str(number), line, None) for number, line in enumerate(lines)]
        if not found:
            raise RequestError(f"{file_name(path)} has no prompts; write one a line")
        return found

    def generate(self, seed: int) -> Example:
        """The first sentence of a story of the pocket language that no shipped model has seen."""
        return Example(f"made-{seed}", opening(generate(seed, "test")).prompt, None)

    def judge(self, example: Example, text: str) -> Verdict:
        """Measure a text."""
        text = text[:_LONGEST]
        found = words(text)
        if not found:
            return Verdict(0.0, None)
        distinct = 1 - seq_rep_n([found], _N) if len(found) >= _N else 0.0
        measured = {
            "words": len(found),
            "distinct": distinct,
            "unique_4_grams": unique_n_grams([found], _N),
            "loop": ends_in_loop(found),
            "perplexity": self._perplexity(example, text),
            "acceptability": self._acceptability(text),
        }
        score = measured.get(self.measure) if self.measure != "probability" else _inverse(measured["perplexity"])
        return Verdict(float(score or 0.0), {name: value for name, value in measured.items() if value is not None})

    def aggregate(self, judged: Iterable[tuple[Any, Verdict]]) -> dict[str, float]:
        """Means of what was measured, over the texts that have words; of the perplexities the geometric one."""
        found = [verdict.answer for _, verdict in judged if verdict.parsed]
        columns = {name: [answer[name] for answer in found if name in answer] for name in _FIGURES}
        means = {_FIGURES[name]: math.fsum(values) / len(values) for name, values in columns.items() if values}
        logs = [math.log(answer["perplexity"]) for answer in found if "perplexity" in answer]
        return means | ({"perplexity": math.exp(math.fsum(logs) / len(logs))} if logs else {})

    def _perplexity(self, example: Example, text: str) -> float | None:
        """Of the text after its prompt, under the judge; None without one, or where it cannot write the text."""
        if self.judge_model is None:
            return None
        from decodelab.engine.job import encode_prompt
        from decodelab.engine.scoring import score

        model = self._judge
        stride = model.context_length and max(1, model.context_length // 2)
        try:
            # In tokens, as nobody is to be told how a judge reads what a model wrote.
            _, given = encode_prompt(model, example.prompt)
            found = score(model, given, model.vocab.encode_completion(given, text), stride=stride).perplexity
        except UnknownToken:
            return None
        return found if math.isfinite(found) else None

    def _acceptability(self, text: str) -> float | None:
        if self.classifier is None:
            return None
        from decodelab.metrics.fluency import acceptability

        return float(acceptability(self._classifier, [text])[0])

    @cached_property
    def _judge(self) -> LanguageModel:
        from decodelab.models.loading import load

        return load(str(self.judge_model))

    @cached_property
    def _classifier(self) -> Classifier:
        from decodelab.metrics.classifier import Classifier

        return Classifier(str(self.classifier))


def _inverse(perplexity: float | None) -> float | None:
    return None if perplexity is None else 1 / perplexity
