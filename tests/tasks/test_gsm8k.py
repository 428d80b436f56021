"""GSM8K: one integer is read from an answer, as the published graders read it and better."""

import json
import re

import pytest

from decodelab.core.errors import DecodelabError, InvalidData
from decodelab.tasks.gsm8k import EXAMPLE, GSM8K
from decodelab.tasks.task import Example, Verdict, task_named


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("She sells 9 * 2 = 18.\n#### 18", 18),
        ("#### 18\n\nQuestion: What is 2 + 2?\nAnswer: 4\n#### 4", 18),
        (r"So it is \boxed{\$1{,}200}", 1200),
    ],
)
def test_the_integer_that_an_answer_settles_on_is_graded(text, right):
    """What is read of numbers in every form is specified by `tests/core/test_integers.py`."""
    assert GSM8K().judge(Example("0", "", right), text) == Verdict(1.0, right)
    assert GSM8K().judge(Example("0", "", right + 1), text) == Verdict(0.0, right)
    assert GSM8K().judge(Example("0", "", right), "no idea") == Verdict(0.0, None)


def test_the_published_answers_are_read_as_lm_evaluation_harness_reads_them(data_dir):
    file = data_dir / "gsm8k" / "test.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    examples = GSM8K().read(file)
    assert len(examples) == 1319
    for example, row in zip(examples, rows, strict=True):
        strict = re.findall(r"#### (\-?[0-9\.\,]+)", row["answer"])[0]
        flexible = ["".join(pair) for pair in re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", row["answer"])][-1]
        assert {str(example.reference)} == {re.sub(r"[,$]|\.$", "", found) for found in (strict, flexible)}
        assert GSM8K().judge(example, row["answer"]).score == 1
        assert GSM8K().judge(example, row["answer"].replace("####", "The answer is")).score == 1
        assert GSM8K().judge(example, row["answer"].replace("#### ", "")).score == 1


@pytest.fixture
def items(tmp_path):
    file = tmp_path / "test.jsonl"
    rows = [{"question": f"What is {n} + 1?", "answer": f"It is {n + 1}.\n#### {n + 1}"} for n in range(4)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_items_are_asked_as_published(items):
    asked = GSM8K().read(items)
    assert asked[3] == Example("3", "Question: What is 3 + 1?\nAnswer:", 4)
    shown = "".join(f"Question: What is {n} + 1?\nAnswer: It is {n + 1}.\n#### {n + 1}\n\n" for n in range(2))
    assert [e.prompt for e in GSM8K(shots=2).read(items)] == [f"{shown}{e.prompt}" for e in asked[2:]]
    assert r"\boxed{}" in str(GSM8K(instruct=True).read(items)[0].prompt)


def test_what_is_shown_is_not_asked_unless_it_is_of_another_file(items, tmp_path):
    assert [e.id for e in GSM8K(shots=2).read(items)] == ["2", "3"]
    other = tmp_path / "train.jsonl"
    other.write_text(EXAMPLE)
    apart = GSM8K(shots=1, shots_file=other).read(items)
    assert [e.id for e in apart] == ["0", "1", "2", "3"]
    assert str(apart[0].prompt).startswith(
        "Question: What is 2 times 9?\nAnswer: 2 times 9 is 18.\n#### 18\n\nQuestion"
    )


@pytest.mark.parametrize("parameters", [{"shots": -1}, {"shots": 1, "instruct": True}, {"shots_file": "x.jsonl"}])
def test_parameters_that_make_no_sense_are_refused(parameters):
    with pytest.raises(InvalidData, match=r"^maths: "):
        task_named("maths", parameters)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "2 + 2?", "answer": "4"}', "line 1: the answer must end in #### and an integer"),
        ('{"question": "2 + 2?", "answer": "#### four"}', "line 1: the answer must end in #### and an integer"),
        ('{"question": "2 + 2?"}', "line 1: needs the field 'answer'"),
        ('{"question": "\\ud800", "answer": "#### 4"}', "line 1: 'question' has a lone surrogate"),
        ("", "has no items"),
    ],
)
def test_a_line_that_is_no_sum_is_refused(tmp_path, line, message):
    file = tmp_path / "test.jsonl"
    file.write_text(line)
    with pytest.raises(DecodelabError) as error:
        GSM8K().read(file)
    assert message in str(error.value)


def test_too_few_items_for_the_shots_are_refused(items):
    with pytest.raises(DecodelabError, match="has 4 items, too few for 4 shots and an item to ask"):
        GSM8K(shots=4).read(items)
