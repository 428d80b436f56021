"""`check_tree_search` passes ours and catches each kind of broken one."""

from dataclasses import replace
from typing import Any

import pytest
import torch

import decodelab as dl
from decodelab.core.values import Certificate
from decodelab.search import TREE_SEARCHES
from decodelab.testing import check_tree_search

SEARCHED: dict[str, list[Any]] = {
    "exact": [dl.Exact(), dl.Exact(budget=3), dl.Exact(rows=4), dl.Exact(cut=False)],
    "k_best": [dl.KBest(n=1), dl.KBest(n=4), dl.KBest(n=3, budget=20, rows=3)],
    "astar": [
        dl.AStar(),
        dl.AStar(n=3, length_penalty=1.0),
        dl.AStar(heuristic="mean", length_penalty=-1.0, rows=3, budget=30),
    ],
    "mcts": [
        dl.MCTS(simulations=1),
        dl.MCTS(simulations=8, n=3),
        dl.MCTS(simulations=10, rollout="sample", length_penalty=0.0, c_puct=3),
        dl.MCTS(simulations=6, scorer=lambda prompt, texts: [text.count("1") - text.count("2") for text in texts]),
    ],
    "rewind": [dl.Rewind("1"), dl.Rewind(["12", "3", "45"], rewinds=9), dl.Rewind("none")],
    "best_first": [dl.BestFirst(width=1), dl.BestFirst(width=3), dl.BestFirst(width=3, n=3)],
}


@pytest.mark.parametrize("name", TREE_SEARCHES)
def test_ours_pass(name):
    assert SEARCHED[name], "a new search must be tried with parameters of its own"
    for search in SEARCHED[name]:
        check_tree_search(search)


class Wrapped:
    """The two best behind a plain object; the broken ones below each break one thing."""

    peak_rows = 2
    n = 2

    def __init__(self) -> None:
        self.inner: Any = dl.KBest(n=2, rows=2)

    def init(self, max_new_tokens):
        return self.inner.init(max_new_tokens)

    def grow(self, logits, state, tree):
        return self.inner.grow(logits, state, tree)

    def finished(self, state):
        return self.inner.finished(state)

    def certificate(self, state):
        return self.inner.certificate(state)


class AsksForTooMany(Wrapped):
    peak_rows = 1


class ChangesTheLogits(Wrapped):
    def grow(self, logits, state, tree):
        found = self.inner.grow(logits, state, tree)
        logits.zero_()
        return found


class Remembers(Wrapped):
    calls = 0

    def grow(self, logits, state, tree):
        self.calls += 1
        growth, after = self.inner.grow(logits, state, tree)
        closed = growth.closed if self.calls % 2 else growth.closed[:0]
        return replace(growth, closed=closed), after


class DrawsFromTheGlobalGenerator(Wrapped):
    def grow(self, logits, state, tree):
        torch.rand(1)
        return self.inner.grow(logits, state, tree)


class AsksTwice(Wrapped):
    peak_rows = 4

    def grow(self, logits, state, tree):
        growth, after = self.inner.grow(logits, state, tree)
        twice = torch.arange(len(growth.parents)).repeat(2)
        return replace(growth, parents=growth.parents[twice], tokens=growth.tokens[twice]), after


class ChoosesTheImpossible(Wrapped):
    def grow(self, logits, state, tree):
        growth, after = self.inner.grow(torch.where(logits.isinf(), 3.0, logits), state, tree)
        return growth, after


class IgnoresTheEnd(Wrapped):
    def grow(self, logits, state, tree):
        return self.inner.grow(logits, state, replace(tree, ends=lambda nodes, tokens: torch.zeros_like(tokens)))


class EndsTooSoon(Wrapped):
    def grow(self, logits, state, tree):
        ends = tree.ends
        return self.inner.grow(logits, state, replace(tree, ends=lambda n, t: ends(n, t).clamp(min=3)))


class MistakesTheReason(Wrapped):
    def grow(self, logits, state, tree):
        growth, after = self.inner.grow(logits, state, tree)
        return replace(growth, ended_reasons=torch.full_like(growth.ended_reasons, 2)), after


class ClosesTooSoon(Wrapped):
    def grow(self, logits, state, tree):
        growth, after = self.inner.grow(logits, state, tree)
        return replace(growth, closed=growth.parents), after


class ReturnsTooMuch(Wrapped):
    n = 1


class ReturnsTheSameTwice(Wrapped):
    def finished(self, state):
        return self.inner.finished(state)[:1] * 2


class ReturnsWhatNeverEnded(Wrapped):
    def finished(self, state):
        return [replace(r, hypothesis=r.hypothesis + 10_000) for r in self.inner.finished(state)]


class ScoresWithNan(Wrapped):
    def finished(self, state):
        return [replace(r, score=float("nan")) for r in self.inner.finished(state)]


class ProvesTooMuch(Wrapped):
    def certificate(self, state):
        return Certificate(True, 0.0, 1)


def test_the_unbroken_wrapper_passes():
    check_tree_search(Wrapped())


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (AsksForTooMany, "never ask for more than|not ask for more than peak_rows"),
        (ChangesTheLogits, "must not change the logits"),
        (Remembers, "pure"),
        (DrawsFromTheGlobalGenerator, "global generator"),
        (AsksTwice, "ask twice"),
        (ChoosesTheImpossible, "an impossible token must not be chosen"),
        (IgnoresTheEnd, "what ends must not be asked for"),
        (EndsTooSoon, "what goes on must not be reported as ended"),
        (MistakesTheReason, "the reason of an end"),
        (ClosesTooSoon, "nodes that were seen can be closed|closed node must have no more children"),
        (ReturnsTooMuch, "at most n hypotheses"),
        (ReturnsTheSameTwice, "twice"),
        (ReturnsWhatNeverEnded, "hypotheses that ended"),
        (ScoresWithNan, "scores must be finite"),
        (ProvesTooMuch, "proved has no bound above"),
    ],
)
def test_each_kind_of_broken_search_is_caught_by_its_own_rule(broken, rule):
    with pytest.raises(AssertionError, match=rule) as error:
        check_tree_search(broken())
    assert "\n" not in str(error.value)
