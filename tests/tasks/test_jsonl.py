"""Items of your own: prompts and answers in JSONL, scored by name or by a Python file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.core.errors import InvalidData, RequestError, ScorerFailed
from decodelab.core.values import Chat
from decodelab.tasks.jsonl import JSONL
from decodelab.tasks.task import Example
from decodelab.tasks.text_scorers import SCORERS, scored


@pytest.fixture
def file(tmp_path):
    def write(*rows: object):
        path = tmp_path / "my.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


@pytest.mark.parametrize(
    ("scorer", "reference", "text", "score"),
    [
        ("exact_match", "Paris", " paris\n", 1),
        ("exact_match", "Paris", "Paris.", 0),
        ("contains", "Paris", "It is PARIS, of course.", 1),
        ("contains", "4", "14", 0),
        ("contains", "4", "14 and 4", 1),
        ("contains", "C++", "I like c++.", 1),
        ("integer", "1200", "So 7 and 1,200", 1),
        ("integer", "-3", "It is 3", 0),
        ("letter", "B", "The answer is (B).", 1),
        ("letter", "B", "The answer is (C).", 0),
        ("f1", "A cat sat down.", "the cat sat", 0.8),
        ("rouge1", "the cat sat down", "the cat sat", 6 / 7),
        ("rouge2", "the cat sat down", "the cat sat", 0.8),
        ("rouge_l", "the cat sat down", "the cat sat", 6 / 7),
        ("bleu", "the cat sat on a mat", "the cat sat on the mat", 0.537),
        ("chrf", "the cat", "the cat", 1),
        ("regex", r"\bcolou?r\b", "What color!", 1),
        ("regex", r"^\d+$", "12a", 0),
    ],
)
def test_a_text_is_scored_by_name(file, scorer, reference, text, score):
    task = JSONL(scorer)
    (example,) = task.read(file({"prompt": "?", "answer": reference}))
    assert task.judge(example, text).score == pytest.approx(score, abs=1e-3)


def test_of_several_answers_the_best_counts(file):
    (example,) = JSONL("exact_match").read(file({"prompt": "?", "answer": ["four", 4]}))
    assert example.reference == ["four", "4"]
    assert JSONL("exact_match").judge(example, "4").score == 1


@pytest.mark.parametrize("name", [name for name in SCORERS if name != "regex"])
@given(text=st.text(max_size=60))
def test_every_scorer_gives_a_number_from_0_to_1_for_any_text(name, text):
    reference = {"integer": "4", "letter": "B"}.get(name, "four cats sat")
    score, _ = scored(name, text, [reference])
    assert 0 <= score <= 1


def test_rows_may_be_chats_and_keep_their_other_fields(file):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
    (example,) = JSONL("integer").read(file({"messages": messages, "answer": 4, "id": "sum", "level": "easy"}))
    assert example.prompt == Chat(tuple(messages))
    assert (example.id, example.meta["level"]) == ("sum", "easy")


@pytest.mark.parametrize(
    ("scorer", "row", "message"),
    [
        ("exact_match", {"prompt": "?"}, "answer must be a text, a number or a list of them"),
        ("exact_match", {"prompt": "?", "answer": True}, "answer must be a text"),
        ("exact_match", {"prompt": "?", "answer": ""}, "answer '' is empty, which exact_match needs"),
        ("exact_match", {"answer": "4"}, "needs the field 'prompt'"),
        ("exact_match", {"prompt": 4, "answer": "4"}, "needs the field 'prompt'"),
        ("integer", {"prompt": "?", "answer": "four"}, "answer 'four' has no integer"),
        ("letter", {"prompt": "?", "answer": "Z"}, "answer 'Z' is no letter from A to J"),
        ("regex", {"prompt": "?", "answer": "(a"}, r"answer '\(a' is no pattern"),
        ("regex", {"prompt": "?", "answer": "a" * 1001}, "is longer than 1000 characters"),
        (
            "f1",
            {"prompt": "?", "messages": [{"role": "u", "content": "?"}], "answer": "a"},
            "has both prompt and messages",
        ),
        ("f1", {"messages": [], "answer": "a"}, "needs the field 'messages' with at least one entry"),
        ("f1", {"messages": [{"role": "user"}], "answer": "a"}, "needs the field 'messages.0.content'"),
    ],
)
def test_a_row_that_cannot_be_asked_or_scored_is_named(file, scorer, row, message):
    with pytest.raises(InvalidData, match=f"line 2: .*{message}"):
        JSONL(scorer).read(file({"prompt": "?", "answer": "B" if scorer == "letter" else "4"}, row))


def test_an_unknown_scorer_is_refused_with_a_suggestion():
    with pytest.raises(InvalidData, match="unknown scorer 'exactmatch'; did you mean 'exact_match'"):
        JSONL("exactmatch")


def test_a_pattern_whose_time_explodes_fails_on_its_item(file):
    task = JSONL("regex")
    (example,) = task.read(file({"prompt": "?", "answer": "^(a|aa)+$"}))
    with pytest.raises(ScorerFailed, match=r"item 0: pattern .* took more than 1 s on a text of 61 characters"):
        task.judge(example, "a" * 60 + "c")


OWN = """
def score(example, text):
    return float(text.strip() in example.reference) * example.meta["weight"]

def broken(example, text):
    raise KeyError(text)

def large(example, text):
    return 2

def words(example, text):
    return "good"

number = 3
"""


@pytest.fixture
def own(file, tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    return file({"prompt": "?", "answer": ["4", "four"], "weight": 0.5})


def test_a_python_file_beside_the_items_may_score(own):
    task = JSONL("mine.py:score")
    (example,) = task.read(own)
    assert task.judge(example, " four").score == 0.5
    assert task.judge(example, "five").score == 0
    # Another process has only the task and the example.
    assert JSONL("mine.py:score").judge(example, "4").score == 0.5


def test_an_item_tells_which_text_of_the_file_it_is_scored_by(own, tmp_path):
    (before,) = JSONL("mine.py:score").read(own)
    assert JSONL("mine.py:score").read(own) == [before]
    (tmp_path / "mine.py").write_text(OWN.replace("float(", "2 * float("))
    assert JSONL("mine.py:score").read(own) != [before]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", "item 0: mine.py:broken raised KeyError"),
        ("large", "item 0: mine.py:large must give a number from 0 to 1, got 2"),
        ("words", "must give a number from 0 to 1, got 'good'"),
    ],
)
def test_what_it_does_wrong_is_named_with_the_item(own, function, message):
    task = JSONL(f"mine.py:{function}")
    with pytest.raises(ScorerFailed, match=message):
        task.judge(task.read(own)[0], "text")


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        ("other.py:score", "there is no file .*other.py.*; it must be in the folder of the items"),
        ("mine.py:missing", "has no function 'missing'"),
        ("mine.py:number", "has no function 'number'"),
        ("broken.py:score", r"cannot be loaded \(ZeroDivisionError"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_refused_before_anything_runs(own, tmp_path, scorer, message):
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(RequestError, match=message):
        JSONL(scorer).read(own)


def test_items_of_one_id_are_refused(file):
    with pytest.raises(InvalidData, match="line 2: id '1' appears twice"):
        JSONL().read(file({"prompt": "?", "answer": "4", "id": 1}, {"prompt": "?", "answer": "4", "id": "1"}))


def test_a_verdict_without_a_text_is_unread():
    assert not JSONL().judge(Example("1", "?", ["4"]), " \n").parsed
