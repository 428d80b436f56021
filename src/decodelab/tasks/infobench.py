"""InfoBench: instructions whose fulfilment is asked of a judge, one decomposed question after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from decodelab.core.errors import InvalidData, RequestError
from decodelab.core.thoughts import without_thoughts
from decodelab.io.tabular import read_rows
from decodelab.metrics.bounded import bounded_mean
from decodelab.metrics.estimate import Estimate
from decodelab.tasks.fields import Row, Text, Words, read_items
from decodelab.tasks.task import Details, Example, Verdict

EXAMPLE = '{"id": "1", "instruction": "...", "input": "", "decomposed_questions": ["...?"], "subset": "Easy_set"}'

_RULES = (
    "Based on the provided Input (if any) and Generated Text, answer the ensuing Questions with either a YES or NO "
    "choice. Your selection should be based on your judgment as well as the following rules:\n\n"
    "- YES: Select 'YES' if the generated text entirely fulfills the condition specified in the question. However, "
    "note that even minor inaccuracies exclude the text from receiving a 'YES' rating. As an illustration. consider a "
    'question that asks. "Does each sentence in the generated text use a second person?{quote} If even one sentence '
    "does not use the second person, the answer should NOT be 'YES'. To qualify for a 'YES' rating, the generated text "
    "must be entirely accurate and relevant to the question\n\n"
    "- NO: Opt for 'NO' if the generated text fails to meet the question's requirements or provides no information "
    'that could be utilized to answer the question. For instance, if the question asks. "Is the second sentence in the '
    'generated text a compound sentence?" and the generated text only has one sentence. it offers no relevant '
    "information to answer the question. Consequently, the answer should be 'NO'.{end}"
)
RULES = {
    "course": _RULES.format(quote='"', end="''"),
    "paper": _RULES.format(quote="\N{RIGHT DOUBLE QUOTATION MARK}", end="'''"),
}
"""What the judge is told, to the letter, slips included: comparable numbers need the same words."""


class _Row(Row):
    instruction: Words
    input: Words | None = None
    decomposed_questions: Annotated[list[Text], Field(min_length=1)]
    subset: Words | None = None


@dataclass(frozen=True)
class InfoBench:
    """InfoBench: score = questions answered YES / questions, in one conversation with a judge for each answer.

    The first question comes with the rules, the input and the answer, each later one alone. A reply that says neither
    YES nor NO is ambiguous and ends the conversation, as in both published graders: it and the questions that are not
    asked any more count as not fulfilled, and differ from NO in the verdict. An empty answer scores 0 unasked.

    Attributes:
        rules: "course" words, reads and divides as the grader of the course's final project, by all questions of the
            item; "paper" as InfoBench's own `evaluation.py` (and the course's first homework), by those that were
            asked, and without passing over white space before YES or NO.

    >>> example = Example("1", "...", {"questions": ["Is it a title?", "Is it short?"], "subset": "Easy_set"})
    >>> InfoBench().verdict(example, "A Title", ["YES", "No, it is not."]).score
    0.5
    """

    rules: str = "course"

    name: ClassVar[str] = "infobench"
    source: ClassVar[str] = "Qin et al. 2024 (arXiv 2401.03601); 11-763 LM inference, CMU, autumn 2025"
    open_ended: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.rules not in RULES:
            raise InvalidData(f"infobench: rules must be course or paper, got {self.rules!r:.60}")

    def read(self, path: Path) -> list[Example]:
        """The examples of JSONL in InfoBench's own format; id and subset may be left out.

        Raises:
            RequestError, InvalidData: for a file or a line that cannot be read, with its number.
        """
        return [
            Example(
                name,
                f"Instruction: {row.instruction}\nQuestion: {row.input or ''}\nGeneration:",
                {"questions": row.decomposed_questions, "subset": row.subset or ""},
                {"input": row.input or ""},
            )
            for name, row in read_items(read_rows(path, EXAMPLE), _Row, EXAMPLE)
        ]

    def judge(self, example: Example, text: str) -> Verdict:
        """Refuse: it takes a judge.

        Raises:
            RequestError: always.
        """
        raise RequestError("infobench: answers are judged by a model; set judge")

    def question(self, example: Example, text: str, replies: Sequence[str]) -> str | None:
        """What the judge is asked next, after these replies; None when there is nothing more to ask."""
        questions = example.reference["questions"]
        text = without_thoughts(text)
        if not text.strip() or len(replies) == len(questions) or (replies and self._read(replies[-1]) is None):
            return None
        question = questions[len(replies)]
        if replies:
            return f"{question}\n"
        given = f'Input:\n"{example.meta["input"]}"\n\n' if example.meta["input"] else ""
        return f'{RULES[self.rules]}\n\n{given}Generated Text:\n"{text}"\n\nQuestion:\n{question}\n'

    def verdict(self, example: Example, text: str, replies: Sequence[str]) -> Verdict:
        """The share of YES; the answer read is a list of true, false and, from an ambiguous reply on, null."""
        if not without_thoughts(text).strip():
            return Verdict(0.0, None)
        results = [self._read(reply) for reply in replies]
        answer: dict[str, Any] = {"results": results}
        if None in results:
            answer["ambiguous"] = replies[results.index(None)][:200]
            if self.rules == "course":
                results += [None] * (len(example.reference["questions"]) - len(results))
        return Verdict(results.count(True) / len(results), answer)

    def aggregate(self, judged: Iterable[tuple[Any, Verdict]]) -> dict[str, float]:
        """The following ratio over all questions and by subset, and how many answers the judge was ambiguous about."""
        ratio = following_ratio(judged)
        parts = {f"DRFR {short(name)}": part.value for name, part in ratio.subsets.items()}
        return {"DRFR": ratio.overall.value, **parts, "ambiguous": float(ratio.ambiguous)}

    def details(self, judged: Sequence[tuple[Any, Verdict]]) -> Details:
        """The following ratio with its intervals, and the judge's replies about each answer in brief."""
        answers = [_brief(verdict) for _, verdict in judged]
        if not judged:
            unknown = {"drfr": None, "subsets": {}, "mean": None, "interval": None}
            return Details(unknown | dict.fromkeys(("ambiguous", "unasked", "unread"), 0), answers, ())
        ratio = following_ratio(judged)
        data = {
            "drfr": _data(ratio.overall),
            "subsets": {name: _data(part) for name, part in ratio.subsets.items()},
            "mean": ratio.per_item.value,
            "interval": [ratio.per_item.low, ratio.per_item.high],
            "ambiguous": ratio.ambiguous,
            "unasked": ratio.unasked,
            "unread": ratio.empty,
        }
        parts = "".join(f", {short(name)} {_shown(part)}" for name, part in ratio.subsets.items())
        lines = (
            f"DRFR {_shown(ratio.overall)} of {ratio.overall.n:,} questions{parts}",
            f"score {_shown(ratio.per_item)}, {len(judged)} items, {ratio.empty} without an answer; "
            f"ambiguous replies: {ratio.ambiguous}; questions left unasked after them: {ratio.unasked}",
        )
        return Details(data, answers, lines)

    def _read(self, reply: str) -> bool | None:
        """Whether a reply says YES; None where neither can be told.

        It is what the published graders do: `Not sure` begins with no, and counts as NO.
        """
        reply = without_thoughts(reply)
        reply = reply.strip() if self.rules == "course" else reply
        for word, said in (("yes", True), ("no", False)):
            if reply.lower().startswith(word):
                return said
        yes, no = "YES" in reply, "NO" in reply
        return yes if yes != no else None


def _brief(verdict: Verdict) -> str:
    """A word for each question: yes, no, ? for an ambiguous reply and - for those not asked after it."""
    if verdict.answer is None:
        return "no answer"
    results = verdict.answer["results"]
    said = ["yes" if result else "no" for result in results if result is not None]
    marks = said + ["?", *"-" * (len(results) - len(said) - 1)][: len(results) - len(said)]
    unclear = verdict.answer.get("ambiguous")
    return " ".join(marks) + (f" (ambiguous reply: {unclear})" if unclear is not None else "")


def _data(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "interval": [estimate.low, estimate.high], "questions": estimate.n}


def _shown(estimate: Estimate) -> str:
    known = estimate.clusters > 1
    return f"{estimate.value:.3f}" + (f" (95 %: {estimate.low:.3f} to {estimate.high:.3f})" if known else "")


def short(subset: str) -> str:
    """What tables call a subset.

    >>> short("Easy_set")
    'easy'
    """
    return subset.removesuffix("_set").lower()


@dataclass(frozen=True)
class FollowingRatio:
    """The decomposed requirements following ratio: of all questions about all answers, how many were answered YES.

    Intervals are clustered by item, as its questions are about one text.

    Attributes:
        overall: over all questions, as the paper has it.
        subsets: over the questions of each subset, by its name (`Easy_set`, `Hard_set`).
        per_item: the mean of the items' own shares, as the course scores.
        ambiguous: answers about which the judge said neither YES nor NO.
        unasked: questions that were not asked for that reason.
        empty: answers that are empty and were not judged.
    """

    overall: Estimate
    subsets: Mapping[str, Estimate]
    per_item: Estimate
    ambiguous: int
    unasked: int
    empty: int


def following_ratio(judged: Iterable[tuple[Any, Verdict]]) -> FollowingRatio:
    """The ratio of verdicts, each beside the reference of its item; an empty answer fulfils nothing.

    Raises:
        InvalidData: for no verdicts.

    >>> reference = {"questions": ["a?", "b?", "c?"], "subset": "Hard_set"}
    >>> verdicts = [Verdict(1 / 3, {"results": [True, None, None], "ambiguous": "Perhaps."}), Verdict(0.0, None)]
    >>> ratio = following_ratio([(reference, verdict) for verdict in verdicts])
    >>> print(round(ratio.overall.value, 3), ratio.ambiguous, ratio.unasked, ratio.empty)
    0.167 1 1 1
    """
    pairs = list(judged)
    if not pairs:
        raise InvalidData("infobench: no answer is judged yet; judge some first")
    values: dict[str, list[bool]] = {}
    items: dict[str, list[int]] = {}
    undecided = 0
    for number, (reference, verdict) in enumerate(pairs):
        results = verdict.answer["results"] if verdict.parsed else [False] * len(reference["questions"])
        undecided += sum(result is None for result in results)
        for subset in {"", reference["subset"]}:
            values.setdefault(subset, []).extend(result is True for result in results)
            items.setdefault(subset, []).extend([number] * len(results))
    ambiguous = sum("ambiguous" in verdict.answer for _, verdict in pairs if verdict.parsed)
    ratios = {subset: bounded_mean(values[subset], items[subset]) for subset in sorted(values)}
    return FollowingRatio(
        ratios.pop(""),
        ratios,
        bounded_mean([verdict.score for _, verdict in pairs]),
        ambiguous,
        undecided - ambiguous,
        sum(not verdict.parsed for _, verdict in pairs),
    )
