"""distinct-n: different n-grams over all n-grams."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.metrics import distinct_n

sequences = st.lists(st.lists(st.integers(0, 5), max_size=12), max_size=5)


def test_all_n_grams_different_is_1():
    assert distinct_n([[1, 2, 3, 4]], 2) == 1.0


def test_one_token_repeated_is_one_over_the_number_of_n_grams():
    assert distinct_n([[7] * 11], 2) == 1 / 10


def test_n_grams_do_not_reach_from_one_sequence_into_the_next():
    # (1, 2) twice; a joined sequence would also have (2, 1).
    assert distinct_n([[1, 2], [1, 2]], 2) == 1 / 2


def test_words_count_like_ids():
    assert distinct_n([["the", "cat", "saw", "the", "dog"]], 1) == 4 / 5


@pytest.mark.parametrize("nothing", [[], [[]], [[1]]])
def test_without_n_grams_it_is_nan(nothing):
    assert math.isnan(distinct_n(nothing, 2))


def test_n_below_1_is_refused():
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        distinct_n([[1, 2]], 0)


@given(sequences, st.integers(1, 3), st.randoms(use_true_random=False))
def test_it_is_a_fraction_that_ignores_order_and_names(seqs, n, random):
    value = distinct_n(seqs, n)
    shuffled = random.sample(seqs, len(seqs))
    renamed = [[token + 100 for token in seq] for seq in shuffled]
    assert math.isnan(value) or 0 < value <= 1
    assert distinct_n(renamed, n) == pytest.approx(value, nan_ok=True)
