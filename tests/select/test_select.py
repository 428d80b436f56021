"""Selections: which of several candidates wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import decodelab as dl


def candidate(text: str, sample: int, *logprobs: float) -> dl.Candidate:
    lps = logprobs or (-1.0,)
    return dl.Candidate(tuple(range(len(lps))), text, lps, lps, "eos", sample, 0.0)


def ranked(selection: dl.Vote | dl.BestOf, candidates: list[dl.Candidate]) -> list[tuple[int, float]]:
    return [(c.sample, score) for c, score in selection.rank(candidates)]


def test_vote_takes_the_majority_and_reports_its_share() -> None:
    texts = ["so 7", "The answer is 12.", "12", "no idea", "x = 012"]
    found = ranked(dl.Vote(), [candidate(t, i) for i, t in enumerate(texts)])
    assert found == [(1, 0.6), (2, 0.6), (4, 0.6), (0, 0.2), (3, 0.0)]


def test_vote_settles_ties_by_the_answer_seen_first() -> None:
    assert ranked(dl.Vote(), [candidate(t, i) for i, t in enumerate(["5", "3", "3", "5"])])[0] == (0, 0.5)


@pytest.mark.parametrize(
    ("answer", "text", "means"),
    [
        ("integer", "It costs 1,250 in all.", "1250"),
        ("integer", "from 3 to -4", "-4"),
        ("integer", "007", "7"),
        ("integer", "000", "0"),
        ("integer", "none at all", None),
        ("integer", "9" * 100_000, "9" * 100_000),
        ("line", "first\n\n  last \n", "last"),
        ("line", " \n ", None),
        ("text", "  a\nb ", "a\nb"),
        ("text", "", None),
    ],
)
def test_what_counts_as_an_answer(answer: str, text: str, means: str | None) -> None:
    assert dl.Vote(answer).answer_of(text) == means  # pyright: ignore[reportArgumentType]


def test_best_of_ranks_by_mean_or_by_sum() -> None:
    short, long = candidate("short", 0, -1.5), candidate("long", 1, -1.0, -1.0)
    assert ranked(dl.BestOf(), [short, long]) == [(1, -1.0), (0, -1.5)]
    assert ranked(dl.BestOf("logprob"), [short, long]) == [(0, -1.5), (1, -2.0)]


@given(st.lists(st.text(max_size=5), min_size=1, max_size=8), st.sampled_from(["integer", "line", "text"]))
def test_vote_returns_every_candidate_once_with_falling_scores(texts: list[str], answer: str) -> None:
    found = ranked(dl.Vote(answer), [candidate(t, i) for i, t in enumerate(texts)])  # pyright: ignore[reportArgumentType]
    assert sorted(sample for sample, _ in found) == list(range(len(texts)))
    assert [s for _, s in found] == sorted((s for _, s in found), reverse=True)


def test_generate_returns_the_winner_first_with_its_share() -> None:
    rows = {(): {"1": 0.7, "2": 0.3}}
    model = dl.TableModel(["1", "2"], rows, bos="<s>", missing="eos")
    found = dl.generate(model, "", "sample(n=9) | vote", seed=3)[0]
    share = sum(c.text == "1" for c in found.candidates) / 9
    assert share > 0.5
    assert (found.best.text, found.best.score) == ("1", share)
