"""InfoBench: the judge is asked in the published words, one conversation an answer, and read as the graders read."""

from hashlib import sha256

import pytest

from decodelab.core.errors import InvalidData, RequestError
from decodelab.tasks.infobench import RULES, InfoBench, following_ratio
from decodelab.tasks.task import Example, ModelGraded, Verdict

TITLE = Example("1", "...", {"questions": ["Is it a title?", "Is it short?", "Is it apt?"], "subset": "Easy_set"},
                {"input": "An avocado."})  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "digest"),
    [
        # of SYS_MSG in neubig/lminference-fall2025-code@fb3b319d, final-project/example_code/eval/grader.py
        ("course", "bd3de53394adcf4de34958a53a4e0d93d10b339c51fbe5ede3c3441932e776c0"),
        # of SYS_MSG in qinyiwei/InfoBench@557fba02, evaluation.py
        ("paper", "affc3d3d12c62f9ead389d36c5e696b8f425b3f5a0eb97a68249adb7618a8cc0"),
    ],
)
def test_the_judge_is_told_what_was_published_to_the_letter(rules, digest):
    assert sha256(RULES[rules].encode()).hexdigest() == digest


def test_one_conversation_asks_the_questions_of_an_answer_in_turn():
    task = InfoBench()
    assert isinstance(task, ModelGraded)
    rules = RULES["course"]
    first = f'{rules}\n\nInput:\n"An avocado."\n\nGenerated Text:\n"Green Gold"\n\nQuestion:\nIs it a title?\n'
    assert task.question(TITLE, "Green Gold", []) == first
    assert task.question(TITLE, "Green Gold", ["YES"]) == "Is it short?\n"
    assert task.question(TITLE, "Green Gold", ["YES", "NO"]) == "Is it apt?\n"
    assert task.question(TITLE, "Green Gold", ["YES", "NO", "YES"]) is None
    without_input = Example("1", "...", TITLE.reference, {"input": ""})
    first = f'{rules}\n\nGenerated Text:\n"Green Gold"\n\nQuestion:\nIs it a title?\n'
    assert task.question(without_input, "Green Gold", []) == first


@pytest.mark.parametrize(
    ("reply", "course", "paper"),
    [
        ("YES", True, True),
        ("yes, it is", True, True),
        ("NO.", False, False),
        ("Not sure", False, False),  # it begins with no, and both graders count it so
        ("The answer is YES", True, True),
        ("The answer is NO", False, False),
        ("The answer is yes", None, None),
        ("YES or NO? I say YES", True, True),
        ("Either YES or NO", None, None),
        ("", None, None),
        ("  \n", None, None),
        ("\n yes", True, None),
        ("\n YES", True, True),
        ("\0\x1b[31mYES", True, True),
        ("Perhaps " * 100_000, None, None),
    ],
)
def test_a_reply_is_read_as_the_graders_read_it(reply, course, paper):
    for rules, said in (("course", course), ("paper", paper)):
        verdict = InfoBench(rules).verdict(TITLE, "x", [reply])
        assert verdict.answer["results"][0] is said


def test_an_ambiguous_reply_ends_the_conversation_and_is_told_apart_from_no():
    replies = ["YES", "Well \x1b[31m" + "..." * 100]
    assert InfoBench().question(TITLE, "x", replies) is None
    verdict = InfoBench().verdict(TITLE, "x", replies)
    assert verdict.score == 1 / 3  # as the course: of all questions
    assert verdict.answer == {"results": [True, None, None], "ambiguous": replies[1][:200]}
    verdict = InfoBench("paper").verdict(TITLE, "x", replies)
    assert verdict.score == 1 / 2  # as InfoBench's own script: of those that were asked
    assert verdict.answer["results"] == [True, None]


def test_an_empty_answer_scores_nothing_and_nobody_is_asked():
    assert InfoBench().question(TITLE, "", []) is None
    assert InfoBench().verdict(TITLE, "", []) == Verdict(0.0, None)


def test_the_ratio_is_over_all_questions_and_beside_it_stands_the_mean_of_the_items():
    def item(subset, *said):
        replies = [{True: "YES", False: "NO", None: "?"}[s] for s in said]
        reference = {"questions": ["?"] * 4 if None in said else ["?"] * len(said), "subset": subset}
        example = Example("1", "...", reference, {"input": ""})
        return reference, InfoBench().verdict(example, "x", replies)

    judged = [
        item("Easy_set", True),
        item("Easy_set", True, False),
        item("Hard_set", True, True, False, False, False),
        item("Hard_set", True, None),
        ({"questions": ["?"] * 3, "subset": "Hard_set"}, Verdict(0.0, None)),
    ]
    ratio = following_ratio(judged)
    assert ratio.overall.value == pytest.approx(5 / 15)
    assert (ratio.overall.n, ratio.overall.clusters) == (15, 5)
    assert {s: e.value for s, e in ratio.subsets.items()} == pytest.approx({"Easy_set": 2 / 3, "Hard_set": 3 / 12})
    assert ratio.per_item.value == pytest.approx((1 + 1 / 2 + 2 / 5 + 1 / 4 + 0) / 5)
    assert (ratio.ambiguous, ratio.unasked, ratio.empty) == (1, 2, 1)
    assert InfoBench().aggregate(judged) == pytest.approx(
        {"DRFR": 5 / 15, "DRFR easy": 2 / 3, "DRFR hard": 3 / 12, "ambiguous": 1}
    )
    with pytest.raises(InvalidData, match="no answer is judged yet"):
        following_ratio([])


def test_it_takes_a_judge():
    with pytest.raises(RequestError, match="judged by a model; set judge"):
        InfoBench().judge(TITLE, "x")
    with pytest.raises(InvalidData, match="rules must be course or paper, got 'papers'"):
        InfoBench("papers")


def test_the_published_items_are_read(data_dir):
    examples = InfoBench().read(data_dir / "infobench" / "infobench_500.jsonl")
    assert len(examples) == len({e.id for e in examples}) == 500
    questions = {"Easy_set": 0, "Hard_set": 0}
    for example in examples:
        questions[example.reference["subset"]] += len(example.reference["questions"])
    assert questions == {"Easy_set": 690, "Hard_set": 1560}
    assert examples[0].id == "user_oriented_task_167"
    assert str(examples[0].prompt).startswith(
        "Instruction: Choose an appealing title for your post.\nQuestion: The typical avocado"
    )
    assert str(examples[0].prompt).endswith("sparingly.\nGeneration:")
    assert sum(example.meta["input"] == "" for example in examples) == 275


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        '{"instruction": 1, "decomposed_questions": ["?"]}',
        '{"instruction": "x", "decomposed_questions": []}',
        '{"instruction": "x", "decomposed_questions": "?"}',
        '{"instruction": "x", "decomposed_questions": [" "]}',
        '{"instruction": "x", "input": ["y"], "decomposed_questions": ["?"]}',
        '{"instruction": "\\ud800", "decomposed_questions": ["?"]}',
        '{"id": [], "instruction": "x", "decomposed_questions": ["?"]}',
        '{"id": "0", "instruction": "x", "decomposed_questions": ["?"]}',
    ],
)
def test_a_line_that_is_no_item_is_refused_with_its_number(tmp_path, line):
    file = tmp_path / "items.jsonl"
    file.write_text('{"id": "0", "instruction": "x", "decomposed_questions": ["?"]}\n' + line)
    with pytest.raises(InvalidData, match="line 2: "):
        InfoBench().read(file)
