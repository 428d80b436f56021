"""Files that would lose, shift or invent something without a word are refused, with line and field."""

import json

import pytest

from decodelab.core.errors import DecodelabError
from decodelab.io.json import parse_json
from decodelab.io.tabular import read_rows
from decodelab.io.yaml import parse_yaml
from decodelab.models.table import TableModel
from decodelab.strategy.strategy import Strategy
from decodelab.tasks.confidences import read_answers
from decodelab.tasks.task import task_named

MMLU = {"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}
GRAPH = {"id": 1, "graph_params": {"N": 3, "P": 1}, "edges": [[0, 2, 5]], "prompt": "?", "solution": {"paths": []}}


def written(folder, *rows, name="items.jsonl"):
    file = folder / name
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


@pytest.mark.parametrize(
    ("task", "rows", "message"),
    [
        ("mmlu", [MMLU | {"id": 7}, MMLU | {"id": "7"}], r"line 2: id '7' appears twice \(first on line 1\)"),
        ("mmlu", [MMLU, MMLU | {"id": 0}], "line 2: id '0' appears twice"),
        ("mmlu", [MMLU | {"id": [1]}], r"line 1: id must be a text or a whole number, got \[1\]"),
        ("mmlu", [MMLU | {"id": True}], "line 1: id must be a text or a whole number, got True"),
        ("mmlu", [MMLU | {"choices": ["3", " "]}], "line 1: is not a multiple-choice item"),
        ("graph", [GRAPH, GRAPH], "line 2: id '1' appears twice"),
        ("graph", [GRAPH, GRAPH | {"id": "1"}], "line 2: id '1' appears twice"),
        ("mnli", [{"premise": "a", "hypothesis": "b", "label": 0, "id": 1}] * 2, "line 2: id '1' appears twice"),
        ("maths", [{"question": "?", "answer": "#### 4", "id": 1}] * 2, "line 2: id '1' appears twice"),
        ("jsonl", [{"prompt": "?", "answer": "4", "id": 1}] * 2, "line 2: id '1' appears twice"),
        ("jsonl", ['{"prompt": "?", "answer": NaN}'], "line 1: not JSON .NaN is no number"),
        ("jsonl", ['{"prompt": "?", "answer": -Infinity}'], "line 1: not JSON .-Infinity is no number"),
        ("jsonl", ['{"prompt": "?", "answer": 1e999}'], "line 1: not JSON .the number 1e999 is too large"),
        ("jsonl", ['{"prompt": "?", "answer": "4", "answer": "5"}'], "line 1: not JSON .key 'answer' appears twice"),
        ("graph", [json.dumps(GRAPH).replace('"P": 1', '"P": 1, "P": 2')], "line 1: not JSON .key 'P' appears twice"),
    ],
)
def test_a_file_that_says_something_twice_or_no_number_is_refused(tmp_path, task, rows, message):
    with pytest.raises(DecodelabError, match=message) as error:
        task_named(task).read(written(tmp_path, *rows))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["prompt,answer", "2 + 2, really?,4"], r"line 2: has 3 fields, the header has 2 \(prompt, answer\)"),
        (["prompt,answer", "?"], "line 2: has 1 fields, the header has 2"),
        (["prompt,answer,answer", "?,4,5"], "line 1: column 'answer' appears twice"),
        (["prompt, prompt,answer", "?,?,4"], "line 1: column 'prompt' appears twice"),
    ],
)
def test_csv_rows_have_a_field_for_each_column(tmp_path, lines, message):
    with pytest.raises(DecodelabError, match=message):
        task_named("jsonl").read(written(tmp_path, *lines, name="items.csv"))


def test_csv_is_read_as_it_stands(tmp_path):
    file = written(tmp_path, "prompt, answer", '"2 + 2, really?",4', "", '"two\nlines","a ""b"""', name="items.csv")
    assert [(where[-6:], row) for where, row in read_rows(file, "")] == [
        ("line 2", {"prompt": "2 + 2, really?", "answer": "4"}),
        ("line 5", {"prompt": "two\nlines", "answer": 'a "b"'}),
    ]


def test_a_csv_row_may_have_fewer_options_at_its_end_but_none_in_the_middle(tmp_path):
    header = "question,choice0,choice1,choice2,answer"
    (example,) = task_named("mmlu").read(written(tmp_path, header, "?,yes,no,,1", name="a.csv"))
    assert (example.meta["choices"], example.reference) == (["yes", "no"], "B")
    with pytest.raises(DecodelabError, match="line 2: is not a multiple-choice item"):
        task_named("mmlu").read(written(tmp_path, header, "?,yes,,no,1", name="b.csv"))


def test_a_headerless_file_has_a_field_for_each_column_too(tmp_path):
    with pytest.raises(DecodelabError, match="line 2: has 7 fields, the header has 6"):
        task_named("mmlu").read(written(tmp_path, "?,a,b,c,d,A", "?, well,a,b,c,d,A", name="law_test.csv"))


@pytest.mark.parametrize(
    "text", ["{greedy: greedy, greedy: temperature=1.5}", "a: {b: 1, b: 1}", "- {1: a, 0x1: b}", "'a': 1\na: 2"]
)
def test_a_repeated_yaml_key_is_refused_with_its_line(text):
    with pytest.raises(DecodelabError, match=r"plan: line \d: key '.*' appears twice"):
        parse_yaml(text, "plan")


def test_yaml_merges_and_equal_keys_of_different_mappings_are_fine():
    assert parse_yaml("a: &x {b: 1}\nc: {<<: *x, b: 2}", "plan") == {"a": {"b": 1}, "c": {"b": 2}}


def test_strategies_and_tables_refuse_repeated_keys_too():
    with pytest.raises(DecodelabError, match="line 1: key 'n' appears twice"):
        Strategy.from_yaml("[sample: {n: 4, n: 5}]")
    with pytest.raises(DecodelabError, match="key 'n' appears twice"):
        Strategy.from_json('[{"sample": {"n": 4, "n": 5}}]')
    with pytest.raises(DecodelabError, match="line 2: key 'a' appears twice"):
        TableModel.from_yaml("otherwise:\n  {a: 0.5, a: 0.5}\n")


@pytest.mark.parametrize(
    ("samples", "answer", "right"),
    [
        (["12", "12", "7"], 12, 1),
        ([12, 12.0, "7"], "12", 1),
        (["12.0", " 12 ", "7"], 12, 1),
        (["a", "a"], "a", 1),
        (["12a", "12a"], 12, 0),
        ([1, "1.0"], 1.0, 1),
    ],
)
def test_numbers_and_their_texts_are_one_answer(tmp_path, samples, answer, right):
    found = read_answers(written(tmp_path, {"samples": samples, "answer": answer}), None)
    assert found.items.labels.tolist() == [right]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("answer", ["true", "null", "[1]"])
def test_an_answer_that_is_none_is_refused(tmp_path, answer):
    with pytest.raises(DecodelabError, match="line 1: needs the right answer in 'answer'"):
        read_answers(written(tmp_path, f'{{"samples": ["1"], "answer": {answer}}}'), None)


def test_a_number_is_the_answer_as_it_is_written_by_hand(tmp_path):
    task = task_named("jsonl")
    (example,) = task.read(written(tmp_path, '{"prompt": "?", "answer": 62.0}'))
    assert task.judge(example, "62").score == 1


def test_json_that_python_alone_reads_is_refused_in_one_line():
    for text in ("{", "[1, NaN]", '{"a": {"b": 1, "b": 1}}', "[" * 100_000):
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            parse_json(text)
