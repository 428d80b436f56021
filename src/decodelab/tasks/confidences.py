"""Answers to be calibrated: read from JSONL, or asked of a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from decodelab.core.errors import InvalidData, RequestError
from decodelab.io.tabular import read_objects
from decodelab.io.text import read_text
from decodelab.metrics.confidence import (
    agreement_confidence,
    likelihood_confidence,
    option_probabilities,
    stated_confidence,
)
from decodelab.metrics.long_form import Criterion
from decodelab.metrics.recalibration import Labelled
from decodelab.tasks.fields import answer_text

if TYPE_CHECKING:
    from decodelab.core.protocols import LanguageModel
    from decodelab.tasks.choices import Choice

EXAMPLE = '{"confidence": 0.8, "correct": 1}'
POCKET = "pocket-choice"
_LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers with their confidences.

    Attributes:
        items: confidences and outcomes, or logits of options and the right option.
        left_out: how many answers had no confidence and are not among them.
        kind: where the confidences come from, in words.
    """

    items: Labelled
    left_out: int
    kind: str

    @property
    def clustered(self) -> bool:
        """Whether some items belong together."""
        return len(set(self.items.clusters)) < len(self.items)


@dataclass(frozen=True)
class LongForm:
    """Long answers judged criterion by criterion."""

    answers: tuple[tuple[Criterion, ...], ...]


def confidence_of(items: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and outcome of each item; of options, the most probable one is the answer."""
    if items.scores.ndim == 1:
        return items.scores, items.labels.astype(np.float64)
    p = option_probabilities(items.scores)
    return p.max(axis=1), (p.argmax(axis=1) == items.labels).astype(np.float64)


def read_answers(file: Path, cluster: str | None) -> Answers | LongForm:
    """Read answers from JSONL.

    Each line has one of: `confidence` and `correct`; `statement` (a text that says how sure it is) and `correct`;
    `logprob`, `tokens` and `correct`; `samples` (answers of several samples) and `answer`; `logprobs` (of each option)
    and `answer` (the right one, from 0); or `criteria` (a list of `verdict`, `confidence` and perhaps `weight`). A line
    may have an `id` of its own and the field named `cluster`.

    Raises:
        RequestError: for a line that is none of these, with its number.
    """
    rows = read_objects(file, read_text(file), EXAMPLE, finite=False)  # numbers are checked with their fields
    if not rows:
        raise RequestError(f"calibrate: {str(file)!r} has no answers; write {EXAMPLE}, one per line")
    form = _form(*rows[0])
    if form == "criteria":
        return LongForm(tuple(_criteria(where, row) for where, row in rows))
    read, kind = _FORMS[form]
    ids, owners, scores, labels = [], [], [], []
    left_out = 0
    names: set[str] = set()
    for number, (where, row) in enumerate(rows):
        if form not in row:
            raise RequestError(f"{where}: needs {form!r} like the first line; use one form per file")
        name = str(row.get("id", number))
        if name in names:
            raise RequestError(f"{where}: id {name[:60]!r} appears twice; ids must all differ, each sample has its own")
        names.add(name)
        try:
            found = read(where, row)
        except InvalidData as error:
            raise RequestError(f"{where}: {error}") from None
        if found is None:
            left_out += 1
            continue
        ids.append(name)
        owners.append(_owner(where, row, cluster, name))
        scores.append(found[0])
        labels.append(found[1])
    if not ids:
        raise RequestError(f"calibrate: none of the {len(rows)} answers of {str(file)!r} states a confidence")
    if form == "logprobs":
        if len({len(s) for s in scores}) > 1:
            raise RequestError(
                f"calibrate: {str(file)!r} has questions with different numbers of options; split the file"
            )
        return Answers(Labelled.options(ids, scores, np.array(labels, dtype=np.int64), owners), left_out, kind)
    return Answers(Labelled.confidences(ids, scores, labels, owners), left_out, kind)


def _form(where: str, row: dict[str, Any]) -> str:
    found = [form for form in (*_FORMS, "criteria") if form in row]
    if len(found) != 1:
        raise RequestError(
            f"{where}: needs one of {', '.join(map(repr, (*_FORMS, 'criteria')))}, "
            f"got {', '.join(map(repr, found)) or 'none'}; write {EXAMPLE}"
        )
    return found[0]


def _owner(where: str, row: dict[str, Any], cluster: str | None, name: str) -> str:
    if cluster is None:
        return name
    if not isinstance(row.get(cluster), str | int):
        raise RequestError(f"{where}: needs the field {cluster!r} (--cluster) as text or whole number")
    return f"{cluster}={row[cluster]}"


def _number(where: str, row: dict[str, Any], field: str) -> float:
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RequestError(f"{where}: {field} must be a finite number, got {_shown(value)}; write {EXAMPLE}")
    return float(value)


def _confidence(where: str, row: dict[str, Any]) -> float:
    value = _number(where, row, "confidence")
    if not 0 <= value <= 1:
        raise RequestError(f"{where}: confidence must be in [0, 1], got {value:g}; divide percentages by 100")
    return value


def _correct(where: str, row: dict[str, Any]) -> int:
    value = row.get("correct")
    if not isinstance(value, int | float) or value not in (0, 1):
        raise RequestError(f"{where}: correct must be 0, 1, true or false, got {_shown(value)}; write {EXAMPLE}")
    return int(value)


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)[:40]


def _stated(where: str, row: dict[str, Any]) -> tuple[float, int] | None:
    if not isinstance(row["statement"], str):
        raise RequestError(f"{where}: statement must be text")
    found = stated_confidence(row["statement"])
    outcome = _correct(where, row)
    return None if found is None else (found, outcome)


def _plain(where: str, row: dict[str, Any]) -> tuple[float, int]:
    return _confidence(where, row), _correct(where, row)


def _likely(where: str, row: dict[str, Any]) -> tuple[float, int]:
    tokens = int(_number(where, row, "tokens"))
    return likelihood_confidence(_number(where, row, "logprob"), tokens), _correct(where, row)


def _agreed(where: str, row: dict[str, Any]) -> tuple[float, int]:
    samples, gold = row["samples"], row.get("answer")
    if not isinstance(samples, list) or not all(s is None or _is_answer(s) for s in samples):
        raise RequestError(f"{where}: samples must be a list of texts and numbers (null for none)")
    if not _is_answer(gold):
        raise RequestError(f"{where}: needs the right answer in 'answer', a text or a number, got {_shown(gold)}")
    answer, share = agreement_confidence([None if s is None else _same(s) for s in samples])
    return share, int(answer == _same(gold))


def _is_answer(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _same(answer: Any) -> str:
    """An answer as the text by which it is compared: 12, 12.0, "12" and " 12.0 " are one answer."""
    text = str(answer).strip()
    try:
        value = float(text)
    except ValueError:
        return text
    return answer_text(int(text) if text.lstrip("-").isdecimal() else value) if math.isfinite(value) else text


def _optional(where: str, row: dict[str, Any]) -> tuple[list[float], int]:
    values, answer = row["logprobs"], row.get("answer")
    if not isinstance(values, list) or len(values) < 2:
        raise RequestError(f"{where}: logprobs must be a list of at least 2 numbers, one per option")
    numbers = [_number(where, {"logprobs": v}, "logprobs") for v in values]
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(numbers):
        raise RequestError(f"{where}: answer must be an option from 0 to {len(numbers) - 1}, got {_shown(answer)}")
    return numbers, answer


_FORMS: dict[str, tuple[Callable[[str, dict[str, Any]], Any], str]] = {
    "confidence": (_plain, "stated in the file"),
    "statement": (_stated, "read from what the answers say"),
    "logprob": (_likely, "from likelihood, a token"),
    "samples": (_agreed, "from agreement of samples"),
    "logprobs": (_optional, "from option probabilities"),
}


def _criteria(where: str, row: dict[str, Any]) -> tuple[Criterion, ...]:
    listed = row.get("criteria")
    if not isinstance(listed, list) or not listed or not all(isinstance(c, dict) for c in listed):
        raise RequestError(f"{where}: criteria must be a list of objects with verdict, confidence and perhaps weight")
    found = []
    for c in listed:
        confidence = _confidence(where, c)
        verdict = _correct(where, {"correct": c.get("verdict")})
        found.append(Criterion(verdict, confidence, _number(where, {"weight": 1} | c, "weight")))
    return tuple(found)


def read_choices(task: str, count: int | None) -> list[Choice]:
    """The questions of a task: `pocket-choice`, or JSONL.

    A line has `prompt`, `options` (texts to score as completions) and `answer` (from 0), or as MMLU on the hub
    `question`, `choices` and `answer` (from 0, or a letter), whose letters are scored after question and options.

    Raises:
        RequestError: for a line that is neither, with its number, or no questions.
    """
    if task == POCKET:
        return _pocket(200 if count is None else count)
    file = Path(task)
    rows = read_objects(file, read_text(file), '{"prompt": "...", "options": ["...", "..."], "answer": 0}')
    found = [_choice(where, row, i) for i, (where, row) in enumerate(rows[:count])]
    if not found:
        raise RequestError(f"calibrate: {task!r} has no questions")
    if len({len(c.options) for c in found}) > 1:
        raise RequestError(f"calibrate: the questions of {task!r} differ in their number of options; split it")
    return found


def _pocket(count: int) -> list[Choice]:
    from decodelab.tasks.pocket import PocketChoice

    if count < 1:
        raise RequestError(f"-n must be at least 1, got {count}")
    task = PocketChoice()
    return [task.choice(task.generate(seed)) for seed in range(count)]


def _choice(where: str, row: dict[str, Any], number: int) -> Choice:
    from decodelab.tasks.choices import Choice

    mmlu = "question" in row
    listed = row.get("choices" if mmlu else "options")
    text = row.get("question" if mmlu else "prompt")
    if not isinstance(text, str) or not isinstance(listed, list) or not all(isinstance(o, str) for o in listed):
        raise RequestError(f"{where}: needs 'prompt' and 'options' (or 'question' and 'choices') as texts")
    if not 2 <= len(listed) <= len(_LETTERS) or any(not o for o in listed):
        raise RequestError(f"{where}: needs 2 to {len(_LETTERS)} non-empty options, got {len(listed)}")
    answer = row.get("answer")
    if isinstance(answer, str) and len(answer) == 1 and answer in _LETTERS[: len(listed)]:
        answer = _LETTERS.index(answer)
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(listed):
        raise RequestError(f"{where}: answer must be an option from 0 to {len(listed) - 1}, got {_shown(answer)}")
    name = str(row.get("id", number))
    if not mmlu:
        return Choice(name, text, tuple(listed), answer)
    lines = "\n".join(f"{letter}. {option}" for letter, option in zip(_LETTERS, listed, strict=False))
    prompt = f"The following is a multiple choice question.\n\nQuestion: {text}\nOptions:\n{lines}\nAnswer:"
    return Choice(name, prompt, tuple(f" {letter}" for letter in _LETTERS[: len(listed)]), answer)


def ask(model: LanguageModel, choices: Sequence[Choice], report: Callable[[int], None]) -> Answers:
    """Score the options of each question as completions of its prompt; their log-probabilities are the logits.

    Raises:
        RequestError: for a model that rules out an option, or questions that do not fit its context.
    """
    from decodelab.tasks.choices import prefer

    logits = [found.logprobs for found in prefer(model, choices, report=report)]
    if not np.isfinite(logits).all():
        raise RequestError(f"calibrate: {model.name} gives an option probability 0, which no temperature can change")
    items = Labelled.options([c.name for c in choices], logits, np.array([c.answer for c in choices]))
    return Answers(items, 0, "from option probabilities")
