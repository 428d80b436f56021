"""Natural language inference: labels of every release are read, and what a model says of them."""

import pytest

from decodelab.core.errors import InvalidData
from decodelab.tasks.mnli import LABELS, MNLI
from decodelab.tasks.task import Example


@pytest.fixture
def file(tmp_path):
    def write(text: str):
        path = tmp_path / "mnli.jsonl"
        path.write_text(text)
        return path

    return write


def test_the_rows_of_each_release_are_read(file):
    examples = MNLI().read(
        file(
            '{"premise": "a", "hypothesis": "b", "label": 2}\n'
            '{"sentence1": "a", "sentence2": "b", "gold_label": "neutral", "pairID": "x7"}\n'
            '{"sentence1": "a", "sentence2": "b", "gold_label": "-"}\n'
            '{"premise": "a", "hypothesis": "b", "label": -1}\n'
        )
    )
    assert [(e.id, e.reference) for e in examples] == [("0", "contradiction"), ("x7", "neutral")]
    assert str(examples[0].prompt).startswith("Premise: a\nHypothesis: b\n")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (" neutral", "neutral"),
        ("Contradiction.", "contradiction"),
        ("It could be entailment, but the answer is **neutral**.", "neutral"),
        ("Label: contradiction, not entailment", "contradiction"),
        ("entailment? no: neutral", "neutral"),
        ("The premise entails it.", None),
        ("", None),
    ],
)
def test_the_label_that_a_text_settles_on_is_read(text, label):
    assert MNLI().judge(Example("1", "", "neutral"), text).answer == label


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"premise": "a", "hypothesis": "b", "label": "maybe"}', "line 1: label must be entailment, .* got 'maybe'"),
        ('{"premise": "a", "label": 0}', "line 1: needs the field 'hypothesis'"),
        ('{"premise": "a", "hypothesis": "b"}', "needs the field 'label'"),
        ('{"premise": "a", "hypothesis": "b", "label": -1}', "no item has a label that its annotators agreed on"),
    ],
)
def test_a_row_that_is_no_item_is_named(file, line, message):
    with pytest.raises(InvalidData, match=message):
        MNLI().read(file(line))


def test_made_items_follow_from_their_seed_and_have_all_labels():
    made = [MNLI().generate(seed) for seed in range(60)]
    assert made == [MNLI().generate(seed) for seed in range(60)]
    assert {example.reference for example in made} == set(LABELS)
    for example in made:
        premise, hypothesis = (line.split(": ")[1] for line in str(example.prompt).split("\n")[:2])
        order = premise.replace(".", "").split()
        first, second, third = order[0], order[3], order[-1]
        one, other = hypothesis.strip(".").split()[0], hypothesis.strip(".").split()[-1]
        assert order[4] == second or order[3] == second
        expected = {(first, third): "entailment", (third, first): "contradiction"}.get((one, other), "neutral")
        assert example.reference == expected


def test_the_labels_are_the_options():
    choice = MNLI().choice(Example("1", "?", "neutral"))
    assert (choice.options, choice.answer) == ((" entailment", " neutral", " contradiction"), 1)
