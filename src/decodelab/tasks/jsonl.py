"""Tasks of your own: prompts and answers in JSONL, scored by a named scorer or a Python file of yours."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from decodelab.core.errors import InvalidData, RequestError, ScorerFailed, did_you_mean
from decodelab.core.options import AMBIGUOUS, offered_in
from decodelab.core.thoughts import without_thoughts
from decodelab.core.values import Chat, Prompt
from decodelab.io.tabular import read_rows
from decodelab.io.text import expanded, file_name, is_unicode
from decodelab.tasks.fields import Row, Text, answer_text, read_items
from decodelab.tasks.task import Example, Verdict
from decodelab.tasks.text_scorers import SCORERS, fault, scored

EXAMPLE = '{"prompt": "2 + 2 =", "answer": "4"}'


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Text
    content: Text


class _Row(Row):
    prompt: Text | None = None
    messages: Annotated[list[_Message], Field(min_length=1)] | None = None
    answer: Any = None

    @model_validator(mode="after")
    def _either(self) -> _Row:
        if self.prompt is not None and self.messages is not None:
            raise ValueError("has both prompt and messages; remove one")
        if self.prompt is None and self.messages is None:
            raise ValueError(f"needs the field 'prompt' as non-empty text, or 'messages'; write {EXAMPLE}")
        return self

    @property
    def asked(self) -> Prompt:
        """The prompt, as text or as a chat."""
        return self.prompt or Chat(tuple(message.model_dump() for message in self.messages or ()))


@dataclass(frozen=True)
class JSONL:
    """Items of your own, scored by the best of their answers.

    A Python file is named with a function, `my_scorer.py:score`, and is looked for beside the items. It is your own
    code and runs as such: `score(example, text)` gives a number from 0 to 1. The `reference` of the example is the
    answer as it stands in the row, its `meta` has the row's other fields.

    Attributes:
        scorer: one of `decodelab.tasks.text_scorers.SCORERS`, or a Python file and its function.

    >>> JSONL(scorer="contains").judge(Example("1", "Capital of France?", "Paris"), "It is Paris.").score
    1.0
    """

    scorer: str = "exact_match"

    name: ClassVar[str] = "jsonl"
    source: ClassVar[str] = "your own"

    def __post_init__(self) -> None:
        """Check the scorer's name; a file is looked at when the items are read."""
        if self.scorer not in SCORERS and ".py:" not in self.scorer:
            hint = did_you_mean(self.scorer, SCORERS) or f"; there are {', '.join(SCORERS)}, or my_scorer.py:score"
            raise InvalidData(f"jsonl: unknown scorer {self.scorer[:60]!r}{hint}")

    @cached_property
    def _loaded(self) -> dict[str, Callable[[Example, str], Any]]:
        """Functions of Python files, by file and name."""
        return {}

    def read(self, path: Path) -> list[Example]:
        """The examples of JSONL or CSV: prompt (or messages of a chat), answer (one or a list), perhaps id.

        Raises:
            RequestError, InvalidData: for a file or a line that cannot be read, with its number, an answer that the
                scorer can make nothing of, or a Python file that cannot be loaded.
        """
        own, written = None, ""
        if self.scorer not in SCORERS:
            file, _, function = self.scorer.rpartition(":")
            own = f"{path.parent / expanded(file)}:{function}"
            self._loaded[own] = _load(own)
            # Part of the item, so that a journal knows which text of the file a score is of.
            written = blake2b((path.parent / expanded(file)).read_bytes(), digest_size=8).hexdigest()
        found = []
        rows = read_rows(path, EXAMPLE)
        for (where, _), (name, row) in zip(rows, read_items(rows, _Row, EXAMPLE), strict=True):
            meta, answer = dict(row.model_extra or {}), row.answer
            if own is None:
                answer = self._answers(where, answer)
            else:
                meta |= {"scorer": own, "scorer_digest": written}
            found.append(Example(name, row.asked, answer, meta))
        return found

    def _answers(self, where: str, given: Any) -> list[str]:
        """The answers of a row, each of use to the scorer."""
        answers: list[Any] = given if isinstance(given, list) and given else [given]
        for answer in answers:
            finite = not isinstance(answer, float) or math.isfinite(answer)
            if isinstance(answer, bool) or not isinstance(answer, str | int | float) or not finite:
                raise InvalidData(f"{where}: answer must be a text, a number or a list of them; write {EXAMPLE}")
            if not is_unicode(str(answer)):
                raise InvalidData(f"{where}: 'answer' has a lone surrogate; fix it")
            wrong = fault(self.scorer, answer_text(answer))
            if wrong is not None:
                raise InvalidData(f"{where}: answer {answer_text(answer)[:60]!r} {wrong}, which {self.scorer} needs")
        return [answer_text(answer) for answer in answers]

    def judge(self, example: Example, text: str) -> Verdict:
        """Score a text.

        Raises:
            ScorerFailed: if the scorer raises, or gives something else than a number from 0 to 1; the item is named.
        """
        if self.scorer in SCORERS:
            references = example.reference if isinstance(example.reference, list) else [str(example.reference)]
            try:
                score, read = scored(self.scorer, text, references, _options_of(example))
            except ScorerFailed as error:
                raise ScorerFailed(f"item {example.id}: {error}") from None
            return (
                Verdict(0.0, None, AMBIGUOUS) if read == AMBIGUOUS and self.scorer == "letter" else Verdict(score, read)
            )
        text = without_thoughts(text)
        own = str(example.meta["scorer"])
        if own not in self._loaded:
            self._loaded[own] = _load(own)
        try:
            value = self._loaded[own](example, text)
        except Exception as error:  # whatever their code raises
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
            raise ScorerFailed(f"item {example.id}: {self.scorer} raised {reason}; fix it") from error
        if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= 1:
            raise ScorerFailed(
                f"item {example.id}: {self.scorer} must give a number from 0 to 1, got {repr(value)[:60]}; scale it"
            )
        return Verdict(float(value), text.strip()[:20_000] or None)


def _options_of(example: Example) -> list[str] | None:
    """The options that a row or its prompt lists, or None."""
    listed = example.meta.get("choices", example.meta.get("options"))
    if isinstance(listed, list) and len(listed) > 1 and all(isinstance(each, str) for each in listed):
        return listed
    return offered_in(example.prompt if isinstance(example.prompt, str) else str(example.prompt))


def _load(named: str) -> Callable[[Example, str], Any]:
    """The function of a Python file, `path.py:function`.

    Raises:
        RequestError: if there is no such file or function, or the file raises.
    """
    name, _, function = named.rpartition(":")
    file = Path(name)
    if not file.is_file():
        raise RequestError(f"scorer: there is no file {file_name(file)}; it must be in the folder of the items")
    spec = importlib.util.spec_from_file_location(f"decodelab_own_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise RequestError(f"scorer: {file_name(file)} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever their code raises
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        raise RequestError(f"scorer: {file_name(file)} cannot be loaded ({reason}); fix it") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise RequestError(
            f"scorer: {file_name(file)} has no function {function[:60]!r}; define {function[:60]}(example, text)"
        )
    return found
