"""What each grader takes for right and for wrong, on worked examples."""

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.pocket import Item, choice, instructions, paths, stories, summaries, sums
from decodelab.pocket.sums import work_addition, work_subtraction

seeds = st.integers(0, 2**40)


# sums


@given(st.integers(0, 9999), st.integers(0, 9999))
def test_worked_steps_are_true_equations_and_end_in_the_sum(a, b):
    a, b = max(a, b), min(a, b)
    for work, value in ((work_addition(a, b), a + b), (work_subtraction(a, b), a - b)):
        steps, last = work.removesuffix(".").split(", so ")
        assert last.endswith(f"={value}")
        digits = ""
        for step in steps.split(", "):
            left, right = step.split("=")
            terms = left.replace("-", "+-").split("+")
            assert sum(int(term) for term in terms) == int(right)
            digits = right[-1] + digits
        assert int(digits) == value % 10 ** len(digits)


@pytest.mark.parametrize(
    ("text", "grade"),
    [("\n7+5=12, 3+4+1=8, so 37+45=82.\nThe answer is 82.", 1.0), ("The answer is 82", 1.0), ("82", 0.0),
     ("The answer is 83.", 0.0), ("The answer is 821.", 0.0), ("The answer is 82. The answer is 1.", 1.0)],
)  # fmt: skip
def test_a_sum_is_right_if_its_first_stated_answer_is(text, grade):
    assert sums.grade(Item("sums", "What is 37 + 45?", "", {"value": 82}), text) == grade


# paths

_EDGES = [[0, 1, 2], [0, 2, 1], [1, 3, 2], [2, 3, 3], [1, 2, 9], [2, 0, 1], [3, 0, 1], [3, 1, 1]]
GRAPH = Item("paths", "", "", {"nodes": 4, "count": 1, "edges": _EDGES})


@given(seeds)
def test_reference_paths_are_the_shortest_by_networkx(seed):
    item = paths.generate(seed, "test")
    graph = networkx.DiGraph()
    graph.add_weighted_edges_from(item.meta["edges"])
    pairs = paths.parse_call(item.reference)
    assert pairs is not None
    every = networkx.shortest_simple_paths(graph, 0, item.meta["nodes"] - 1, weight="weight")
    best = [networkx.path_weight(graph, path, "weight") for path, _ in zip(every, pairs, strict=False)]
    assert [weight for _, weight in pairs] == best
    assert [networkx.path_weight(graph, path, "weight") for path, _ in pairs] == best


@given(seeds)
def test_graphs_are_the_courses_rings(seed):
    item = paths.generate(seed, "train")
    nodes, reach = item.meta["nodes"], item.meta["reach"]
    wanted = {(node, (node + step) % nodes) for node in range(nodes) for step in range(1, reach + 1)}
    assert {(source, target) for source, target, _ in item.meta["edges"]} == wanted
    assert 3 <= nodes <= 6
    assert all(1 <= weight <= 9 for *_, weight in item.meta["edges"])


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("submit_paths(paths=[[0, 1, 3]], weights=[4])", 1.0),
        ("submit_paths(weights=[4], paths=[[0, 1, 3]])", 1.0),
        ("submit_paths(paths=[[0,2,3]],weights=[4])", 1.0),  # the other path of the tie
        ("Let me think.\nsubmit_paths(paths=[[0, 1, 3]], weights=[4])\nDone.", 1.0),
        ("submit_paths(paths=[[0, 1, 3]], weights=[5])", 0.0),
        ("submit_paths(paths=[[0, 1, 2, 3]], weights=[14])", 0.0),
        ("submit_paths(paths=[[0, 1, 3], [0, 2, 3]], weights=[4, 4])", 0.0),  # more than asked
        ("submit_paths(paths=[[0, 3]], weights=[4])", 0.0),
        ("submit_paths(paths=[[0, 1, 3]], weights=[4.0])", 0.0),
        ("submit_paths(paths=[[0, 1, 3]], weights=[True])", 0.0),
        ("submit_paths(paths=[[0, 1, 3]])", 0.0),
        ("submit_paths(paths=[0, 1, 3], weights=[4])", 0.0),
        ("submit_paths([[0, 1, 3]], [4])", 0.0),
    ],
)
def test_a_submitted_path_is_right_if_path_and_weight_are(text, grade):
    assert paths.grade(GRAPH, text) == grade


def test_two_paths_score_by_share_and_a_repeated_one_counts_once():
    item = Item("paths", "", "", {**GRAPH.meta, "count": 2})
    assert paths.grade(item, "submit_paths(paths=[[0, 1, 3], [0, 2, 3]], weights=[4, 4])") == 1.0
    assert paths.grade(item, "submit_paths(paths=[[0, 1, 3]], weights=[4])") == 0.5
    assert paths.grade(item, "submit_paths(paths=[[0, 1, 3], [0, 1, 3]], weights=[4, 4])") == 0.5


# choice


@pytest.mark.parametrize(
    ("text", "grade"),
    [(" Cow: moo. The answer is (B).", 1.0), ("the answer is B", 1.0), ("answer is (C)", 0.0), ("B", 0.0),
     ("The answer is (Bob)", 0.0), ("The answer is (E)", 0.0)],
)  # fmt: skip
def test_a_choice_is_right_if_its_first_stated_letter_is(text, grade):
    assert choice.grade(Item("choice", "", "", {"letter": "B"}), text) == grade


@given(seeds)
def test_the_four_options_differ(seed):
    options = choice.generate(seed, "dev").prompt.splitlines()[-2].removeprefix("Options: ").split(", ")
    assert [option[-4:] for option in options] == [" (A)", " (B)", " (C)", " (D)"]
    assert len({option[:-4] for option in options}) == 4


@given(seeds)
def test_the_working_names_the_option_of_its_letter(seed):
    item = choice.generate(seed, "dev")
    right = f"{item.meta['option']} ({item.meta['letter']})"
    assert right in item.prompt
    assert f"It is {right}. The answer is ({item.meta['letter']})." in item.reference


# instructions


@pytest.mark.parametrize(
    ("kind", "value", "met", "broken"),
    [
        ("words", 3, "The cat sleeps.", "The big cat sleeps."),
        ("sentences", 2, "A cat sits. It sleeps.", "A cat sits."),
        ("sentences", 1, "A cat sits!", "A cat sits"),
        ("include", "garden", "In the Garden.", "In the gardens."),
        ("avoid", "the", "A cat.", "The cat."),
        ("start", "Our", "Our cat.", "My cat, our cat."),
        ("end", "today", "It runs today!", "Today it runs."),
        ("mark", "!", "Run!", "Run."),
        ("lower", True, "my cat.", "My cat."),
        ("items", 2, "1. cat\n2. dog", "1. cat\n2. cat"),
        ("items", 2, "1. cat\n2. dog", "Here:\n1. cat\n2. dog"),
        ("items", 2, "1. cat\n2. dog", "1. cat\n2. dog\n3. fox"),
        ("items", 2, "1. cat\n2. dog", "1. cat\n3. dog"),
        ("words", 3, "The cat sleeps.", ""),
        ("lower", True, "a cat", "..."),
    ],
)
def test_each_constraint(kind, value, met, broken):
    assert instructions.check({"kind": kind, "value": value}, met)
    assert not instructions.check({"kind": kind, "value": value}, broken)


def test_the_grade_is_the_share_of_constraints_met():
    constraints = [{"kind": "words", "value": 3}, {"kind": "mark", "value": "!"}]
    item = Item("instructions", "", "", {"topic": "cat", "constraints": constraints})
    assert instructions.grade(item, " The cat sleeps.") == 0.5
    assert instructions.grade(item, " The cat sleeps!") == 1.0
    assert instructions.grade(item, " The dog sleeps!") == 0.0  # not about the cat
    assert instructions.grade(item, " Cat!" * 2000) == 0.0


# stories and summaries

STORY = (
    "Once upon a time, there was a shy fox named Tom. He lived on a farm. One day, Tom lost his red kite."
    ' Then he met Mia, a wise owl. "I lost my kite," said Tom. They found the kite in the barn.'
    " From that day on, Tom and Mia were best friends."
)


def test_a_consistent_story_is_accepted_and_understood():
    slots = stories.parse(STORY)
    hero = {"name": "Tom", "kind": "fox", "adj": "shy", "home": "on a farm"}
    friend = {"friend": "Mia", "look": "wise", "other": "owl"}
    assert slots == {
        "plot": "lost",
        "time": "One day",
        "colour": "red",
        "thing": "kite",
        "where": "in the barn",
        **hero,
        **friend,
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Tom and Mia were", "Ben and Mia were"),  # another hero at the end
        ("Tom and Mia were", "Tom and Tom were"),
        ("He lived", "She lived"),  # a wrong pronoun
        ("lost his", "lost her"),
        ("the kite in", "the boat in"),  # another object
        ("my kite", "my drum"),
        ("his red kite", "his purple kite"),
        ("shy fox", "shy girl"),  # a girl named Tom
        ("shy fox", "shy dragon"),  # not in the language
        (" From that day on, Tom and Mia were best friends.", ""),  # no ending
        ("best friends.", "best friends. The end."),
        ("Once upon", "Twice upon"),
        ("Tom lost his red kite", "Tom wanted to learn to swim"),  # two plots
    ],
)
def test_an_inconsistent_story_is_not(old, new):
    assert stories.accepts(STORY)
    assert old in STORY
    assert not stories.accepts(STORY.replace(old, new, 1))


@given(seeds)
def test_the_parser_finds_the_slots_the_writer_chose(seed):
    item = stories.generate(seed, "train")
    assert stories.parse(item.prompt + item.reference) == item.meta


def test_a_pronoun_before_the_name_is_checked_as_well():
    text = STORY.replace("there was a shy fox named Tom. He lived on a farm.",
                         "there lived a shy fox on a farm. His name was Tom.")  # fmt: skip
    assert stories.accepts(text)
    assert not stories.accepts(text.replace("His name", "Her name"))


def test_stories_are_diverse():
    texts = {stories.generate(seed, "train").reference for seed in range(300)}
    assert len(texts) == 300
    assert len({text[:60] for text in texts}) > 200


_SLOTS = {"name": "Tom", "kind": "fox", "thing": "kite", "friend": "Mia", "other": "owl"}
SUMMARY = Item("summaries", "", "", {"plot": "lost", **_SLOTS})


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        (" Tom the fox lost a kite and found it with Mia the owl.", 1.0),
        ("Tom the fox lost a kite and found it with Mia the owl.\nMore text.", 1.0),
        (" Ben the fox lost a kite and found it with Mia the owl.", 0.8),
        (" Tom the fox learned to swim with Mia the owl.", 0.8),
        (" Tom the fox.", 0.0),
        ("", 0.0),
    ],
)
def test_a_summary_scores_the_share_of_its_slots(text, grade):
    assert summaries.grade(SUMMARY, text) == pytest.approx(grade)
