"""The pocket language: references are right, splits are disjoint, items depend on their seed only."""

import dataclasses
import json
import string
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.pocket import TASKS, Item, task
from decodelab.pocket.item import SPLITS, split_of
from decodelab.pocket.language import document

names = st.sampled_from(sorted(TASKS))
splits = st.sampled_from(SPLITS)
seeds = st.integers(0, 2**40)


@given(names, splits, seeds)
def test_every_reference_is_right(name, split, seed):
    item = task(name).generate(seed, split)
    assert item.task == name
    assert task(name).grade(item, item.reference) == 1.0


@given(names, splits, seeds)
def test_a_reference_without_its_leading_white_space_is_right_too(name, split, seed):
    item = task(name).generate(seed, split)
    text = item.reference.lstrip() if name != "stories" else item.prompt + item.reference
    assert task(name).grade(item, text) == 1.0


@given(names, splits, seeds)
def test_prompts_end_without_white_space_and_references_begin_with_it(name, split, seed):
    item = task(name).generate(seed, split)
    assert item.prompt == item.prompt.strip()
    assert item.reference[0].isspace()
    assert item.reference == item.reference.rstrip()


@given(names, splits, seeds)
def test_items_are_plain_frozen_data(name, split, seed):
    item = task(name).generate(seed, split)
    assert item == task(name).generate(seed, split)
    with pytest.raises(dataclasses.FrozenInstanceError):
        item.prompt = ""  # type: ignore[misc]
    # An item read back from JSON grades the same.
    back = Item(**json.loads(json.dumps(dataclasses.asdict(item))))
    assert task(name).grade(back, back.reference) == 1.0


@pytest.mark.parametrize("name", TASKS)
def test_another_items_answer_is_rarely_right(name):
    items = [task(name).generate(seed, "test") for seed in range(60)]
    grades = [task(name).grade(item, other.reference) for item, other in pairwise(items)]
    if name == "stories":
        assert sum(grades) == len(grades)  # any complete story is a right one
    else:
        assert sum(grades) / len(grades) < 0.6


@pytest.mark.parametrize("name", TASKS)
def test_train_dev_and_test_share_no_prompt_with_its_answer(name):
    seen = {
        split: {(item.prompt, item.reference) for item in (task(name).generate(s, split) for s in range(400))}
        for split in SPLITS
    }
    assert not seen["train"] & seen["dev"]
    assert not seen["train"] & seen["test"]
    assert not seen["dev"] & seen["test"]


def test_the_split_follows_from_the_operands_edges_and_specification():
    for seed in range(100):
        sum_ = task("sums").generate(seed, "test")
        assert split_of("sums", sum_.prompt.removeprefix("What is ").removesuffix("?")) == "test"
        graph = task("paths").generate(seed, "dev")
        assert split_of("paths", f"{graph.meta['count']} {graph.meta['edges']}") == "dev"
        code = task("code").generate(seed, "train")
        assert split_of("code", code.prompt) == "train"


@given(st.text())
def test_every_content_has_one_split_and_the_same_in_every_task_run(content):
    assert split_of("sums", content) in SPLITS
    assert split_of("sums", content) == split_of("sums", content)


def test_splits_are_80_10_10():
    counts = {split: sum(split_of("sums", str(n)) == split for n in range(5000)) / 5000 for split in SPLITS}
    assert counts["train"] == pytest.approx(0.8, abs=0.02)
    assert counts["dev"] == pytest.approx(0.1, abs=0.02)
    assert counts["test"] == pytest.approx(0.1, abs=0.02)


PROGRAM = """
import hashlib, json
from decodelab.pocket.language import TASKS, document
documents = [repr(document(name, seed)) for name in TASKS for seed in range(20)]
tests = [json.dumps(dict(TASKS[name].generate(seed, "test").meta)) for name in TASKS for seed in range(20)]
for parts in documents, tests:
    print(hashlib.sha256("".join(parts).encode()).hexdigest())
"""


def test_the_language_is_the_same_in_every_process():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(outputs) == 1
    # The shipped weights were trained on exactly these documents: another digest asks for new weights.
    assert outputs.pop().splitlines()[0] == "339b8c65b742ab71b777c8f88eb0312385fa617c4acd4b4de0a0635e573f746e"


def test_an_unknown_task_or_split_is_refused_by_name():
    with pytest.raises(ValueError, match="choose one of stories, sums, paths"):
        task("sudoku")
    with pytest.raises(ValueError, match="split must be one of train, dev, test, got 'all'"):
        task("sums").generate(0, "all")  # type: ignore[arg-type]


def test_a_quarter_of_the_training_documents_are_chats():
    chats = [document("sums", seed).chat for seed in range(1000)]
    assert sum(chats) / 1000 == pytest.approx(0.25, abs=0.04)
    assert any(document("paths", seed).tools for seed in range(50))


HOSTILE = (
    "",
    " ",
    "\0",
    "\ud800",
    "[" * 5000,
    "(" * 3000,
    "9" * 5000,
    "The answer is " + "9" * 5000,
    "answer is ٣",
    "submit_paths(paths=" + "[" * 2000 + ", weights=[1])",
    "submit_paths(paths=[[0, 1" + "9" * 4000 + "]], weights=[1])",
    "submit_paths(paths=[[__import__('os').system('false')]], weights=[1])",
    "submit_paths(paths=" * 500,
    "- " * 2000,
    "\n    " * 2000,
    "Once upon a time, " * 300,
)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_scores_nothing_and_harms_nothing(name, text):
    for seed in range(5):
        assert task(name).grade(task(name).generate(seed, "test"), text) <= 0.5


@given(names, seeds, st.text(alphabet=string.printable, max_size=300))
def test_any_text_gets_a_grade_between_0_and_1(name, seed, text):
    item = task(name).generate(seed, "dev")
    assert 0.0 <= task(name).grade(item, text) <= 1.0
    assert 0.0 <= task(name).grade(item, item.reference + text) <= 1.0
