"""Scorers: what each measures, how they are named and refused, and what happens to those that misbehave."""

import math
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType

import pytest
import torch

import decodelab as dl
from decodelab.core import registry as named
from decodelab.core.errors import InvalidData, ScorerFailed, StrategyError
from decodelab.core.values import Partial
from decodelab.pocket import task
from decodelab.scorers import SCORERS
from decodelab.scorers.catalogue import SCORERS as CATALOGUE
from decodelab.scorers.judging import judged
from decodelab.scorers.path_cost import path_cost
from decodelab.scorers.self_evaluation import SelfEvaluation

TABLE = dl.TableModel(
    ["a", "b", "right?", "yes", "no"],
    {
        (): {"a": 0.75, "b": 0.25},
        ("a",): {"a": 0.5, "b": 0.5},
        ("b",): {"b": 1.0},
        ("a", "right?"): {"yes": 0.6, "no": 0.2, "b": 0.2},
        ("b", "right?"): {"yes": 0.1, "no": 0.3, "b": 0.6},
        ("a", "right?", "yes"): {"yes": 0.5, "b": 0.5},
        ("b", "right?", "yes"): {"yes": 0.5, "b": 0.5},
        ...: {"a": 1.0},
    },
    bos="<s>",
)
A, B = 0, 1


def partials(*continuations: tuple[int, ...]) -> list[Partial]:
    bos = TABLE.vocab.bos_id
    assert bos is not None
    return [Partial("", (bos,), tokens, TABLE.vocab.decode(tokens)) for tokens in continuations]


def test_logprob_is_the_mean_over_the_tokens_whatever_their_number():
    found = judged("logprob", partials((A, B), (B,)), TABLE)
    assert found == pytest.approx([(math.log(0.75) + math.log(0.5)) / 2, math.log(0.25)], abs=1e-6)


def test_entropy_is_minus_the_mean_entropy_of_the_distributions():
    first = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    found = judged("entropy", partials((A, B), (B, B), (B,)), TABLE)
    assert found == pytest.approx([-(first + math.log(2)) / 2, -first / 2, -first], abs=1e-6)


def test_self_evaluation_is_the_share_of_yes_between_the_two_answers():
    ask = SelfEvaluation(question=" right?", yes=" yes", no=" no")
    assert judged(ask, partials((A,), (B,)), TABLE) == pytest.approx([0.75, 0.25], abs=1e-6)


def test_answers_of_several_tokens_are_scored_as_wholes():
    ask = SelfEvaluation(question=" right?", yes=" yes yes", no=" no")
    assert judged(ask, partials((A,), (B,)), TABLE) == pytest.approx([0.3 / 0.5, 0.05 / 0.35], abs=1e-6)


def test_self_evaluation_leaves_out_the_end_of_the_sequence():
    ask = SelfEvaluation(question=" right?", yes=" yes", no=" no")
    (eos,) = TABLE.vocab.eos_ids
    assert judged(ask, partials((A, eos)), TABLE) == judged(ask, partials((A,)), TABLE)


@pytest.mark.parametrize("seed", range(40))
def test_no_prefix_of_a_right_answer_has_a_path_cost(seed):
    item = task("paths").generate(seed, "dev")
    prefixes = [item.reference[:k] for k in range(len(item.reference) + 1)]
    assert set(path_cost(item.prompt, prefixes)) == {0.0}


GRAPH = "Directed graph with 4 nodes. Edges (source->target:weight):\n" + "\n".join(
    ["0->1:4", "0->2:9", "1->2:2", "1->3:8", "2->3:1", "3->0:5"]
)
RIGHT = "\n0->1:4 1->2:2=6 2->3:1=7 best 7\n0->1:4 1->3:8=12 best 7\n0->2:9 2->3:1=10 best 7\n"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", 0),
        ("\n0->1:4 1->", 0),
        ("\n0->1:4 be", 0),
        ("\nsubmit_pa", 0),
        ("\nSurely.", 1),  # not a step
        ("\n0->1:4 surely", 1),
        ("\n0->1: surely", 2),  # and no weight
        ("\n0->1:4\n", 1),  # a line without best
        ("\n\n", 1),  # an empty line; the last is not over
        (RIGHT + "submit_paths(paths=[[0, 1, 2, 3]], surely", 1),
        (RIGHT + "submit_paths(paths=[[0, 1, 2, 3]], weights=[7]) surely", 1),
        ("\n0->3:4", 1),  # no such edge
        ("\n0->1:5", 1),  # another weight
        ("\n0->1:4 2->3:1", 1),  # does not go on
        ("\n0->1:4 1->3:8=1", 0),  # may become 12
        ("\n0->1:4 1->3:8=1 ", 1),  # cannot any more
        ("\n0->1:4 1->3:8=13", 1),
        ("\n0->1:4 1->3:8=12 best 11\n", 1),
        (RIGHT + "submit_paths(paths=[[0, 1, 2, 3]], weights=[7])", 0),
        (RIGHT + "submit_paths(paths=[[0, 1", 0),  # the cheapest still begins so
        (RIGHT + "submit_paths(paths=[[0, 1, 3", 5 / 9),  # 12 instead of 7, heaviest edge 9
        (RIGHT + "submit_paths(paths=[[0, 1, 3]], weights=[7])", 5 / 9 + 1),
        (RIGHT + "submit_paths(paths=[[0, 3", 2),  # no edge, and nothing listed begins so
        (RIGHT + "submit_paths(paths=[[0, 1, 2, 3]], weights=[6])", 1),
        (RIGHT + "submit_paths(paths=[[0, 1, 2, 3], [0, 2, 3]], weights=[7, 10])", 0),
        (RIGHT + "submit_paths(paths=[[0, 1, 2, 3]], weights=[7, 10])", 1),
    ],
)
def test_path_cost_counts_what_the_graph_and_the_lines_above_contradict(text, wrong):
    assert path_cost(GRAPH, [text]) == pytest.approx([-wrong])


def test_path_cost_of_a_prompt_without_a_graph_is_refused():
    with pytest.raises(InvalidData, match="the prompt has no graph"):
        path_cost("What is 2 + 3?", [" 5"])


def test_path_cost_survives_hostile_text():
    hostile = ["[" * 5000, "submit_paths(paths=[" + "[" * 5000, "9" * 5000 + "->1:1", "best " * 2000, "\0" * 100]
    assert all(math.isfinite(value) for value in path_cost(GRAPH, hostile))


# --- misbehaviour ---------------------------------------------------------------------------------


def texts(*given: str) -> list[Partial]:
    return [Partial("p", (), (0,), text) for text in given]


def test_a_scorer_that_raises_is_named_with_the_text_that_caused_it():
    def picky(prompt: str, given: Sequence[str]) -> list[float]:
        return [1 / (text != "bad\x1b") for text in given]

    with pytest.raises(ScorerFailed, match=r'picky> raised ZeroDivisionError: ".*" for the text "bad\\u001b"') as error:
        judged(picky, texts("good", "bad\x1b", "better"))
    assert str(error.value).isprintable()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "0.5", [1.0], 10**400])
def test_a_non_finite_number_is_refused_with_its_text(value):
    with pytest.raises(ScorerFailed, match=r"must give a finite number, got .* for the text second"):
        judged(lambda prompt, given: [0.0, value], texts("first", "second"))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_count_of_numbers_is_refused(count):
    with pytest.raises(ScorerFailed, match=f"gave {count} numbers for 2 texts"):
        judged(lambda prompt, given: [0.0] * count, texts("a", "b"))


def test_numbers_of_any_kind_are_taken():
    given = [1, True, torch.tensor(0.5)]
    assert judged(lambda prompt, many: given, texts("a", "b", "c")) == [1.0, 1.0, 0.5]


def test_a_scorer_that_needs_the_model_says_so_where_there_is_none():
    with pytest.raises(ScorerFailed, match="logprob needs the model"):
        judged("logprob", texts("a"))


# --- names ----------------------------------------------------------------------------------------


def test_every_name_leads_to_a_scorer_that_is_documented():
    for name in SCORERS:
        assert CATALOGUE.load(name).__doc__


def test_a_scorer_of_another_package_is_named_like_ours(monkeypatch):
    package = ModuleType("their_package")
    package.length = lambda prompt, given: [float(len(text)) for text in given]  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "their_package", package)
    points = EntryPoints(
        EntryPoint(name, value, "decodelab.scorers")
        for name, value in {"length": "their_package:length", "broken": "their_package:nothing"}.items()
    )
    monkeypatch.setattr(named, "entry_points", lambda group: points.select(group=group))
    assert judged("length", texts("four")) == [4.0]
    with pytest.raises(StrategyError, match=r"scorer 'broken': cannot load their_package:nothing"):
        judged("broken", texts("four"))
