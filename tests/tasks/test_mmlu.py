"""MMLU: the course's prompt, and its rules for reading a letter, in their order."""

import pytest

from decodelab.core.errors import InvalidData
from decodelab.tasks.mmlu import MMLU, read_letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is (B)", "B"),
        ("I first thought the answer is A; no, the answer is (C).", "A"),
        ("**Answer: D**", "D"),
        ("Answer: A or rather answer: C\nAnswer: B", "C"),
        ("Answer:\n  E", "E"),
        (r"We get $\boxed{B}$", "B"),
        (r"The answer is $\boxed{B}$", "B"),
        (r"The answer is \boxed{C}", "C"),
        ("A is out, B is out, so C", "C"),
        ("choose option (D)", "D"),
        ("choose option_D or optionD", None),
        ("the answer is (B", "B"),
        ("K is not a letter here", None),
        ("", None),
        ("We cannot say.", None),
        ("I cannot say.", "I"),
    ],
)
def test_the_rules_are_tried_in_their_order(text, letter):
    assert read_letter(text) == letter


def test_texts_of_any_size_are_read_in_linear_time():
    assert read_letter("answer: " * 200_000 + "B") is None
    assert read_letter("A " * 500_000) == "A"


def test_the_courses_files_are_read_with_its_prompt(data):
    examples = MMLU().read(data / "mmlu_med" / "college_medicine_test.csv")
    assert len(examples) == 173
    first = examples[0]
    assert first.reference == "B"
    assert str(first.prompt).startswith(
        "The following is a multiple choice question (with answers) about  college medicine.  Output the answer in the "
        'format of "The answer is (X)" at the end.\n\nQuestion: A police officer'
    )
    assert str(first.prompt).endswith(
        "\n Options:\nA. Behaviorist\nB. Psychoanalytic\nC. Cognitive behavioral\nD. Humanistic\nAnswer:"
    )
    assert MMLU().judge(first, "The answer is (B)").score == 1


@pytest.mark.parametrize(
    "row",
    [
        "question,choice0,choice1,answer\nq,a,b,2",
        "question,choice0,choice1,answer\nq,a,b,",
        "question,choice0,choice1,answer\nq,a,b,-1",
        "question,choice0,answer\nq,a,0",
        "choice0,choice1,answer\na,b,1",
    ],
)
def test_a_row_that_is_no_question_is_refused_with_its_line(tmp_path, row):
    file = tmp_path / "x_test.csv"
    file.write_text(row)
    with pytest.raises(InvalidData, match="line 2: is no multiple choice item"):
        MMLU().read(file)
