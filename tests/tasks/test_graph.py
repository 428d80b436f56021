"""The graph task: answers in every published form are read without running them, and scored as the course scores."""

import json

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.core.errors import InvalidData, RequestError
from decodelab.tasks.graph import Graph, published_of, published_row, question_of
from decodelab.tasks.path_answers import read_paths
from decodelab.tasks.response import Response
from decodelab.tasks.shortest_paths import Question, acceptable_paths, audit, make_question
from decodelab.tasks.task import Example, rescore

DIAMOND = Question(4, ((0, 1, 1), (0, 2, 2), (1, 3, 3), (2, 3, 2), (0, 3, 9)), 1)
"""Two ways of weight 4, one of 9."""


def example_of(question: Question, published: list[tuple[list[int], int]]) -> Example:
    meta = {"nodes": question.nodes, "edges": [list(e) for e in question.edges], "count": question.count}
    return Example("1", question.prompt, [{"path": p, "weight": w} for p, w in published], meta)


@pytest.mark.parametrize(
    "text",
    [
        "submit_paths(paths=[[0, 1, 3], [0, 3]], weights=[4, 9])",
        "so I call submit_paths( weights = [4,9] , paths = [[0,1,3],[0,3]] ) now",
        "submit_paths(paths=[(0, 1, 3), (0, 3),], weights=[1 + 3, 9])",
        "submit_paths(paths=[[0, 1, 3], # first\n[0, 3]], weights=[5 - 1, 3 * 3,])",
        '{"paths": [{"path": [0, 1, 3], "weight": 4}, {"path": [0, 3], "weight": 9}]}',
        '{"name": "submit_paths", "arguments": {"paths": [[0, 1, 3], [0, 3]], "weights": [4, 9]}}',
        '<tool_call>{"name": "f", "arguments": "{\\"weights\\": [4, 9.0], \\"paths\\": [[0, 1, 3], [0, 3]]}"}',
        '{"tool_calls": [{"function": {"arguments": "{\\"paths\\": [[0, 1, 3], [0, 3]], \\"weights\\": [4, 9]}"}}]}',
        'Of {sets}: {"paths": [["0", "1", "3"], [0, 3]], "weights": ["4", " 9.0"]}',
    ],
)
def test_an_answer_is_read_in_each_of_its_forms(text):
    assert read_paths(text) == [((0, 1, 3), 4), ((0, 3), 9)]


@pytest.mark.parametrize(
    "text",
    ["", "the path is [0, 1, 3]", "submit_paths()", "submit_paths(paths=[[0]], weights=__import__)", "{}", "{" * 5000],
)
def test_a_text_without_an_answer_gives_none(text):
    assert read_paths(text) is None


def test_of_several_calls_the_first_counts_as_in_the_course():
    assert read_paths("submit_paths(paths=[[0, 3]], weights=[9]) submit_paths(paths=[[0]], weights=[1])") == [
        ((0, 3), 9)
    ]


def test_what_is_no_list_of_integers_is_left_out():
    text = '{"paths": [[0, "one"], [0, 3], 7, [0, null], [0, 1.5], [0, 2]], "weights": [1, 9, 1, 1, 1]}'
    assert read_paths(text) == [((0, 3), 9)]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        # From the first brace to the last it must be JSON, and JSON comes before calls.
        ('{"paths": [{"path": [0], "weight": 1}]} {"paths": [{"path": [0], "weight": 1}]}', None),
        ('of {sets} {"paths": [{"path": [0], "weight": 1}]}', None),
        ('submit_paths(paths=[[1]], weights=[2]) {"paths": [{"path": [0], "weight": 1}]}', [((0,), 1)]),
        # A pair without its weight spoils the JSON, and a call is looked for.
        ('{"paths": [{"path": [0], "weight": 1}, {"path": [3]}]}', None),
        ('{"paths": [{"path": [3]}]} submit_paths(paths=[[1]], weights=[2])', [((1,), 2)]),
        # Text is no number; true is 1, and 1.0 is 1, as Python compares.
        ('{"paths": [{"path": [0], "weight": "1"}, {"path": [0, true], "weight": 1.0}]}', [((0, 1), 1)]),
        ("submit_paths(paths=[[0], [1]], weights=['1', 2])", [((1,), 2)]),
        # The order paths, weights comes first wherever it stands, unless its lists are none.
        ("submit_paths(weights=[1], paths=[[0]]) submit_paths(paths=[[1]], weights=[2])", [((1,), 2)]),
        ("submit_paths(weights=[1], paths=[[0]]) submit_paths(paths=[[x]], weights=[2])", [((0,), 1)]),
        ("submit_paths(paths=[[x]], weights=[2]) submit_paths(paths=[[1]], weights=[2])", None),
        # Nothing may stand between the lists and what closes them.
        ("submit_paths(paths=[[0]], weights=[1],)", None),
        ("submit_paths(paths=[[0]], note=1, weights=[1])", None),
        ("submit_paths([[0]], [1])", None),
        # A call that is cut off takes its weights from the next one.
        ("submit_paths(paths=[[0]], weights=[1, 2] submit_paths(weights=[3], paths=[[1]])", [((1,), 3)]),
        ("submit_paths(paths=[[0], [1]], weights=[5])", [((0,), 5)]),
        ("submit_paths(paths=[[0]], weights=[-1])", [((0,), -1)]),
        ("submit_paths(paths=[[0]], weights=[01])", None),
        # A sum's own bracket closes the list too early where the list is the last.
        ("submit_paths(weights=[sum([1, 2])], paths=[[0]])", [((0,), 3)]),
        ("submit_paths(paths=[[0]], weights=[sum([1, 2])])", None),
    ],
)
def test_odd_answers_are_read_as_the_courses_grader_reads_them(text, read):
    # The expected values are what `ResponseParser.parse_graph` of neubig/lminference-fall2025-code gives.
    assert read_paths(text) == read


@pytest.mark.parametrize(
    "text",
    [
        "submit_paths(paths=[[0, 1]], weights=[" + "9" * 100_000 + "])",
        '{"paths": [{"path": [0, 1], "weight": 1e999}]}',
        '{"paths": [{"path": [0, 1], "weight": NaN}]}',
        "submit_paths(paths=" + "[" * 5000 + "]" * 5000 + ", weights=[1])",
        '{"a":' * 50_000,
        "submit_paths(paths=[" * 10_000,
        "submit_paths(paths=[[0]], weights=[" + "1+" * 100_000,
        "submit_paths(paths=[[0, 1]], weights=[2**999999999])",
        "\0\x1b[31m" * 1000,
    ],
)
def test_hostile_answers_do_no_harm(text):
    assert not read_paths(text)  # what is quadratic here takes minutes


@given(st.text(st.sampled_from('submit_paths(weights=[01,+]){}"path: \n'), max_size=200))
def test_any_text_is_read_or_refused_without_an_error(text):
    found = read_paths(text)
    assert found is None or all(isinstance(weight, int) for _, weight in found)


def test_the_score_is_the_share_of_published_pairs():
    question = Question(4, DIAMOND.edges, 2)
    example = example_of(question, [([0, 1, 3], 4), ([0, 2, 3], 4)])
    judge = Graph().judge
    assert judge(example, "submit_paths(paths=[[0, 2, 3], [0, 1, 3]], weights=[4, 4])").score == 1
    assert judge(example, "submit_paths(paths=[[0, 2, 3], [0, 3]], weights=[4, 9])").score == 0.5
    assert judge(example, "submit_paths(paths=[[0, 2, 3], [0, 1, 3]], weights=[4, 5])").score == 0.5
    assert judge(example, "submit_paths(paths=[[0, 1, 3], [0, 1, 3]], weights=[4, 4])").score == 0.5
    assert not judge(example, "no idea").parsed


def test_a_path_as_good_as_the_published_one_counts_where_ties_do():
    example = example_of(DIAMOND, [([0, 1, 3], 4)])
    other = "submit_paths(paths=[[0, 2, 3]], weights=[4])"
    both = "submit_paths(paths=[[0, 2, 3], [0, 1, 3]], weights=[4, 4])"
    assert Graph().judge(example, other).score == 0
    assert Graph(ties="all").judge(example, other).score == Graph(ties="all").judge(example, both).score == 1


def test_every_path_that_ties_with_the_last_is_acceptable():
    assert acceptable_paths(DIAMOND) == (((0, 1, 3), 4), ((0, 2, 3), 4))
    assert acceptable_paths(Question(4, DIAMOND.edges, 3))[-1] == ((0, 3), 9)
    assert acceptable_paths(Question(3, ((1, 0, 1),), 1)) == ()


@given(st.integers(0, 10_000))
def test_the_exact_answer_is_that_of_enumeration(seed):
    question = make_question(seed)
    if question.nodes > 7:
        question = Question(7, tuple(e for e in question.edges if max(e[:2]) < 7), question.count)
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(question.nodes))
    graph.add_weighted_edges_from(question.edges)
    every = [
        (tuple(path), networkx.path_weight(graph, path, "weight"))
        for path in networkx.all_simple_paths(graph, 0, question.nodes - 1)
    ]
    cut = sorted(weight for _, weight in every)[: question.count]
    assert set(acceptable_paths(question)) == {pair for pair in every if cut and pair[1] <= cut[-1]}


@pytest.mark.parametrize(
    ("published", "problem"),
    [
        ([((0, 1, 3), 4)], None),
        ([((0, 2, 3), 4)], None),
        ([((0, 3), 9)], "path [0, 3] of weight 9 is not among the 1 cheapest, which end at 4"),
        ([((0, 1, 3), 5)], "path [0, 1, 3] weighs 4, not 5"),
        ([((0, 1, 2, 3), 5)], "path [0, 1, 2, 3] uses 1 -> 2, which is no edge"),
        ([((0, 1), 1)], "[0, 1] is not a simple path from 0 to 3"),
        ([], "0 different paths are given, 1 are right"),
        ([((0, 1, 3), 4), ((0, 2, 3), 4)], "2 different paths are given, 1 are right"),
    ],
)
def test_an_audit_says_what_is_wrong_with_a_published_answer(published, problem):
    finding = audit(DIAMOND, published)
    assert (finding.problem if finding else None) == problem


def test_a_tie_with_the_last_cannot_stand_for_a_cheaper_path():
    edges = ((0, 1, 1), (1, 3, 1), (0, 2, 2), (2, 3, 2), (0, 3, 4))
    finding = audit(Question(4, edges, 2), [((0, 2, 3), 4), ((0, 3), 4)])
    assert finding is not None
    assert finding.problem == "path [0, 1, 3] of weight 2 is missing"


def test_made_items_are_right_and_read_back_as_they_were_written(tmp_path):
    made = [Graph().generate(seed) for seed in range(30)]
    file = tmp_path / "items.jsonl"
    file.write_text("".join(json.dumps(published_row(e)) + "\n" for e in made))
    assert Graph().read(file) == made
    assert Graph().audit(made) == {}
    assert {question_of(e).count for e in made} <= {1, 2, 3}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", "line 1: needs the field 'id'"),
        ("[1]", "needs an object"),
        ("{", "not JSON"),
        (
            '{"id": 1, "graph_params": {"N": 3, "P": 1}, "edges": [[0, 9, 1]], "prompt": "", '
            '"solution": {"paths": []}}',
            "edge 0 -> 9 of weight 1 is outside 3 nodes",
        ),
    ],
)
def test_a_file_that_holds_something_else_is_refused_with_its_line(tmp_path, line, message):
    file = tmp_path / "items.jsonl"
    file.write_text(line)
    with pytest.raises((InvalidData, RequestError)) as error:
        Graph().read(file)
    assert message in str(error.value)


def test_an_output_of_no_item_is_refused_and_a_missing_one_scores_nothing():
    example = example_of(DIAMOND, [([0, 1, 3], 4)])
    assert rescore(Graph(), [example], {})["1"].score == 0
    with pytest.raises(InvalidData, match="belongs to no example"):
        rescore(Graph(), [example], {"2": Response("")})


def test_the_courses_own_items_are_read_and_audited(data_dir):
    examples = Graph().read(data_dir / "course" / "graph_dev_test_v1.jsonl")
    assert len(examples) == 100
    assert all(question_of(example).prompt == example.prompt for example in examples)
    wrong = Graph().audit(examples)
    assert len(wrong) == 15
    assert wrong["759"].problem.endswith("of weight 202 is not among the 2 cheapest, which end at 199")
    for example in examples:
        pairs = published_of(example)
        text = f"submit_paths(paths={[list(p) for p, _ in pairs]}, weights={[w for _, w in pairs]})"
        assert Graph().judge(example, text).score == len(pairs) / question_of(example).count
        assert (Graph(ties="all").judge(example, text).score == 1) == (example.id not in wrong)
    fewer = [example.id for example in examples if len(published_of(example)) < question_of(example).count]
    assert fewer == ["904", "52"]  # of 3 paths, 2 are published: as the course divides by P, 2/3 is the most
