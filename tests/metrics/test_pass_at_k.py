"""pass@k: unbiased, exact, and refused where it is not defined."""

from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.core.errors import InvalidData
from decodelab.metrics.pass_at_k import pass_at_k


@given(st.integers(1, 9), st.data())
def test_it_is_the_share_of_choices_that_have_one_that_passed(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    chosen = [any(sample < c for sample in choice) for choice in combinations(range(n), k)]
    assert pass_at_k(n, c, k) == pytest.approx(sum(chosen) / len(chosen))


@given(st.integers(1, 7), st.integers(0, 10))
def test_it_is_unbiased(k, tenths):
    n, p = 7, tenths / 10
    expected = sum(comb(n, c) * p**c * (1 - p) ** (n - c) * pass_at_k(n, c, k) for c in range(n + 1))
    assert expected == pytest.approx(1 - (1 - p) ** k)


def test_one_try_is_the_mean_and_large_numbers_stay_exact():
    assert pass_at_k(200, 13, 1) == 13 / 200
    assert pass_at_k(10**4, 1, 5000) == 0.5
    assert pass_at_k(5, 3, 3) == 1.0


@pytest.mark.parametrize(("n", "c", "k"), [(0, 0, 1), (5, 6, 1), (5, -1, 1), (5, 1, 0), (5, 1, 6), (5, 1, 1.5)])
def test_what_cannot_be_counted_is_refused(n, c, k):
    with pytest.raises(InvalidData):
        pass_at_k(n, c, k)
