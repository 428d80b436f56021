"""MMLU: the course's prompt, and its rules for reading a letter, in their order."""

import pytest

from decodelab.core.errors import InvalidData, RequestError
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
        (r"The answer is $\boxed{ B }$, not A", "A"),
        ("Answer: Answer: C or D", "C"),
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
    assert read_letter("answer: " * 200_000 + "B") == "B"
    assert read_letter("A " * 500_000) == "A"


def test_the_courses_files_are_read_with_its_prompt(data_dir):
    examples = MMLU().read(data_dir / "mmlu_med" / "college_medicine_test.csv")
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
        "question,choice0,choice1,answer\nq,a,b,AB",
        "question,choice0,answer\nq,a,0",
        "choice0,choice1,answer\na,b,1",
    ],
)
def test_a_row_that_is_no_question_is_refused_with_its_line(tmp_path, row):
    file = tmp_path / "x_test.csv"
    file.write_text(row)
    with pytest.raises(InvalidData, match="line 2: is not a multiple-choice item"):
        MMLU().read(file)


HEADER = "question,choice0,choice1,answer\n"


@pytest.fixture
def folder(tmp_path):
    """Two subjects with a question each, and two answered ones of the first."""
    (tmp_path / "hard_sums_test.csv").write_text(HEADER + " 2+2?,3,4,1\n")
    (tmp_path / "hard_sums_dev.csv").write_text(HEADER + "1+1?,2,3,0\n1+2?,2,3,B\n")
    (tmp_path / "easy_test.csv").write_text(HEADER + "0?,0,1,0\n")
    return tmp_path


def test_answered_questions_stand_before_each_one_in_the_standard_form(folder):
    (example,) = MMLU(form="standard", shots=2).read(folder / "hard_sums_test.csv")
    assert example.prompt == (
        "The following are multiple choice questions (with answers) about hard sums.\n\n"
        "1+1?\nA. 2\nB. 3\nAnswer: A\n\n1+2?\nA. 2\nB. 3\nAnswer: B\n\n2+2?\nA. 3\nB. 4\nAnswer:"
    )
    assert example.reference == "B"


def test_a_folder_has_its_subjects_one_after_the_other(folder):
    examples = MMLU().read(folder)
    assert [example.id for example in examples] == ["easy/0", "hard_sums/0"]
    assert [example.meta["subject"] for example in examples] == ["easy", "hard sums"]


def test_the_published_files_have_no_header_and_their_shots_in_another_folder(tmp_path):
    for split in ("test", "dev"):
        (tmp_path / split).mkdir()
        (tmp_path / split / f"law_{split}.csv").write_text(
            f'"Which, in\n {split}\u2028?",a,b,c,d,C\nIs it?,1,2,3,4,A\n'
        )
    first, second = MMLU(form="standard", shots=1).read(tmp_path / "test")
    assert (first.id, first.reference, second.reference) == ("law/0", "C", "A")
    assert "Which, in\n dev\u2028?\nA. a" in str(first.prompt)
    assert str(second.prompt).endswith("Is it?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:")


def test_a_row_may_say_its_subject(tmp_path):
    file = tmp_path / "items.jsonl"
    file.write_text('{"question": "q", "choices": ["a", "b"], "answer": 0, "subject": "college_medicine"}')
    (example,) = MMLU(form="standard").read(file)
    assert "about college medicine.\n" in str(example.prompt)


def test_shots_may_come_from_a_file_that_is_named(folder):
    task = MMLU(form="standard", shots=1, shots_file=folder / "hard_sums_dev.csv")
    (example,) = task.read(folder / "easy_test.csv")
    assert "1+1?" in str(example.prompt)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"shots": 5}, "5 shots need the standard form"),
        ({"form": "other"}, "form must be course or standard, got 'other'"),
        ({"form": "standard", "shots": -1}, r"shots must be in \[0, 100\], got -1"),
        ({"shots_file": "x.csv"}, "shots_file is given, but shots is 0"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(parameters, message):
    with pytest.raises(InvalidData, match=message):
        MMLU(**parameters)


def test_too_few_shots_are_refused(folder):
    with pytest.raises(RequestError, match=r"hard_sums_dev\.csv' has 2 items, 3 shots are asked for"):
        MMLU(form="standard", shots=3).read(folder / "hard_sums_test.csv")
    with pytest.raises(RequestError, match=r"easy_dev\.csv"):
        MMLU(form="standard", shots=1).read(folder / "easy_test.csv")


def test_a_folder_without_questions_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"has no files SUBJECT_test\.csv"):
        MMLU().read(tmp_path)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        (" B\n\nWhat is 3 + 3?\nA. 5\nB. 6\nAnswer: A", "B"),
        (" (B).", "B"),
        ("B. 4", "B"),
        ("The answer is B.\nA", "B"),
        ("\n\n B", "B"),
        ("\n", None),
    ],
)
def test_in_the_standard_form_the_answer_is_how_the_text_begins(folder, text, letter):
    (example,) = MMLU().read(folder / "hard_sums_test.csv")
    assert MMLU(form="standard").judge(example, text).answer == letter


def test_the_letters_are_the_options(folder):
    task = MMLU(form="standard")
    choice = task.choice(task.read(folder / "hard_sums_test.csv")[0])
    assert (choice.options, choice.answer) == ((" A", " B"), 1)
