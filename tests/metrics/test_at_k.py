"""Scores of the best, and of the majority, of k samples: the mean over all ways to choose them."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import InvalidData
from decodelab.core.protocols import Question
from decodelab.core.values import Candidate
from decodelab.metrics.best_at_k import best_at_k
from decodelab.metrics.pass_at_k import pass_at_k
from decodelab.metrics.vote_at_k import vote_at_k

answers = st.lists(st.sampled_from(["5", "6", "7", None]), min_size=1, max_size=5)


@settings(max_examples=40)
@given(answers, st.randoms(use_true_random=False))
def test_a_vote_of_k_is_the_mean_over_all_choices_in_all_orders(given_, random):
    scores = [random.random() for _ in given_]
    expected = []
    for k in range(1, len(given_) + 1):
        won = []
        for order in permutations(range(len(given_)), k):
            candidates = [
                Candidate((), given_[i] or "none", (), (), "eos", place, float(i)) for place, i in enumerate(order)
            ]
            won.append(scores[int(dl.Vote().rank(candidates, Question.of(""))[0][0].score)])
        expected.append(math.fsum(won) / len(won))
    assert vote_at_k(given_, scores) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=6))
def test_the_best_of_k_is_the_mean_over_all_choices(rated):
    expected = []
    for k in range(1, len(rated) + 1):
        tops = []
        for chosen in combinations(rated, k):
            best = max(rating for rating, _ in chosen)
            tied = [score for rating, score in chosen if rating == best]
            tops.append(math.fsum(tied) / len(tied))
        expected.append(math.fsum(tops) / len(tops))
    assert best_at_k([s for _, s in rated], [r for r, _ in rated]) == pytest.approx(expected)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_perfect_rating_gives_pass_at_k(passed):
    found = best_at_k(passed)
    assert found == pytest.approx([pass_at_k(len(passed), sum(passed), k + 1) for k in range(len(passed))])


def test_many_samples_are_exact_too():
    # Two answers and an odd k: the sum of hypergeometric probabilities above one half.
    n, right = 201, 120
    found = vote_at_k(["a"] * right + ["b"] * (n - right), [1.0] * right + [0.0] * (n - right))
    for k in (1, 51, 101, 201):
        ways = [math.comb(right, i) * math.comb(n - right, k - i) for i in range(k // 2 + 1, k + 1)]
        assert found[k - 1] == pytest.approx(sum(ways) / math.comb(n, k), rel=1e-12)


def test_of_samples_that_all_differ_each_wins_equally_often():
    assert vote_at_k(list(range(64)), np.eye(64)[0]) == pytest.approx([1 / 64] * 64)


def test_what_cannot_be_is_refused():
    with pytest.raises(InvalidData, match="a rating for each score, got 1 for 2"):
        best_at_k([0, 1], [1])
    with pytest.raises(InvalidData, match="an answer for each of at most 1000 scores, got 1"):
        vote_at_k(["5"], [0, 1])


@given(st.integers(1, 60), st.lists(st.sampled_from(["5", "6", None]), min_size=1, max_size=60))
def test_equal_scores_stay_what_they_are(n, given_):
    # Rounding made 1.0000000000000002 of sixteen right samples.
    assert set(best_at_k([1.0] * n).tolist()) == {1.0}
    assert set(vote_at_k(given_, [1.0] * len(given_)).tolist()) == {1.0}
