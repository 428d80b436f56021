"""No task judges a model's thoughts, and each says whether nothing was answered or nothing could be read."""

from typing import ClassVar

import pytest

from decodelab.core.errors import InvalidData
from decodelab.tasks.response import Response
from decodelab.tasks.task import BatchScored, Example, Verdict, judged, task_named, verdicts_of

MMLU_ITEM = Example("1", "?", "B", {"choices": ["Aspirin", "Heparin", "Digoxin"]})
GRAPH = {"nodes": 3, "edges": [[0, 2, 5]], "count": 1}
ITEMS = {
    "mmlu": ({}, MMLU_ITEM, "The answer is (B).", "The answer is A?"),
    "mmlu course": ({"reader": "course"}, MMLU_ITEM, "The answer is (B).", "The answer is A."),
    "mmlu standard": ({"form": "standard"}, MMLU_ITEM, " B", "A"),
    "mnli": ({}, Example("1", "?", "neutral"), "neutral", "The answer is entailment."),
    "maths": ({}, Example("1", "?", 18), "#### 18", "#### 17"),
    "graph": (
        {},
        Example("1", "?", [{"path": [0, 2], "weight": 5}], GRAPH),
        "submit_paths(paths=[[0, 2]], weights=[5])",
        "submit_paths(paths=[[0, 1]], weights=[9])",
    ),
    "summaries": ({}, Example("1", "?", ["The fox swam."]), "The fox swam.", "A dog?\n\nNo."),
    "jsonl": ({}, Example("1", "?", ["Paris"]), "Paris", "London"),
    "jsonl integer": ({"scorer": "integer"}, Example("1", "?", ["4"]), "It is 4.", "It is 5."),
    "jsonl letter": ({"scorer": "letter"}, Example("1", "?", ["B"]), "The answer is (B)", "The answer is A?"),
    "jsonl regex": ({"scorer": "regex"}, Example("1", "?", ["^Paris$"]), "Paris", "London"),
    "pocket-sums": ({}, Example("1", "?", "", {"value": 18}), "The answer is 18.", "The answer is 17."),
    "pocket-choice": (
        {},
        Example("1", "?\nOptions: cat (A), dog (B)\nAnswer:", "", {"letter": "B"}),
        "The answer is (B).",
        "The answer is (A).",
    ),
}


@pytest.mark.parametrize("name", ITEMS)
@pytest.mark.parametrize(
    "form", ["<think>{}</think>{}", "{}</think>\n\n{}", "[THINK]{}[/THINK]{}", "<think>{}" * 2 + "</think>{}"]
)
def test_what_a_model_thinks_is_not_judged(name, form):
    parameters, example, right, thought = ITEMS[name]
    task = task_named(name.split()[0], parameters)
    text = form.format(*[thought] * (form.count("{}") - 1), right)
    assert judged(task, example, Response(text)).score == 1
    assert task.judge(example, text).score == 1


@pytest.mark.parametrize("name", [name for name in ITEMS if name != "mmlu standard"])
def test_an_answer_that_never_leaves_its_thoughts_is_none(name):
    parameters, example, right, _ = ITEMS[name]
    verdict = judged(task_named(name.split()[0], parameters), example, Response(f"<think>{right}"))
    assert (verdict.score, verdict.answer, verdict.lacks) == (0, None, "unfinished thought")


@pytest.mark.parametrize(
    ("name", "text", "lacks"),
    [
        ("mmlu", "", "empty"),
        ("mmlu", " \n", "empty"),
        ("mmlu", "I cannot say.", "unreadable"),
        ("mmlu", "It is A or B.", "ambiguous"),
        ("mmlu", "B. Digoxin", "ambiguous"),
        ("mmlu", "The answer is A.", None),
        ("mnli", "entailment or neutral", "ambiguous"),
        ("maths", "no idea", "unreadable"),
        ("maths", "It is 17.", None),
        ("graph", "none", "unreadable"),
        ("jsonl letter", "A or B", "ambiguous"),
        ("jsonl integer", "half", "unreadable"),
        ("summaries", "", "empty"),
        ("pocket-sums", "82", "unreadable"),
    ],
)
def test_no_answer_unreadable_and_wrong_are_told_apart(name, text, lacks):
    parameters, example, _, _ = ITEMS[name]
    verdict = judged(task_named(name.split()[0], parameters), example, Response(text))
    assert (verdict.score < 1, verdict.lacks, verdict.parsed) == (True, lacks, lacks is None)


@pytest.mark.parametrize("name", [name for name in ITEMS if name != "mmlu standard"])
def test_a_thought_that_the_prompt_opened_and_the_limit_cut_is_no_answer(name):
    parameters, example, right, thought = ITEMS[name]
    task, prompt = task_named(name.split()[0], parameters), "<|assistant|>\n<think>\n"
    cut = judged(task, example, Response(right, cut=True, prompt=prompt))
    assert (cut.score, cut.answer, cut.lacks) == (0, None, "unfinished thought")
    assert judged(task, example, Response(f"{thought}</think>{right}", cut=True, prompt=prompt)).score == 1
    # Closed by a token that texts leave out, perhaps; and a prompt that opens none.
    assert judged(task, example, Response(right, prompt=prompt)).score == 1
    assert judged(task, example, Response(right, cut=True, prompt=f"{prompt}</think>\n")).score == 1


def test_an_answer_that_the_limit_cut_before_it_could_be_read_is_told_from_one_that_cannot_be():
    task = task_named("maths")
    example = Example("1", "?", 18)
    assert [judged(task, example, Response(text, cut=True)).lacks for text in ("First, we", "It is 17", "")] == [
        "cut off", None, "empty",
    ]  # fmt: skip


def test_a_third_partys_task_gets_answers_without_thoughts_and_need_not_say_what_lacks():
    class Echo:
        name: ClassVar[str] = "echo"
        source: ClassVar[str] = "here"

        def read(self, path):
            return [MMLU_ITEM]

        def judge(self, example, text):
            return Verdict(float(text == "B"), text if len(text) == 1 else None)

    class Together(Echo):
        version = 1

        def judge_batch(self, answers):
            return (self.judge(*answer) for answer in answers)

    assert isinstance(Together(), BatchScored)
    texts = ["<think>A</think>B", "<think>A", "BB", ""]
    for task in (Echo(), Together()):
        found = verdicts_of(task, [(MMLU_ITEM, Response(text)) for text in texts])
        assert [(verdict.score, verdict.lacks) for verdict in found] == [
            (1, None), (0, "unfinished thought"), (0, "unreadable"), (0, "empty"),
        ]  # fmt: skip


def test_a_reason_that_no_table_knows_is_refused():
    with pytest.raises(InvalidData, match=r"lacks must be None or one of empty, .*, got 'several'; say 'unreadable'"):
        Verdict(0.0, None, "several")  # pyright: ignore[reportArgumentType]
