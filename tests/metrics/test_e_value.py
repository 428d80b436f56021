"""Evidence by betting: its error rate holds however often one looks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.core.errors import InvalidData
from decodelab.metrics.e_value import e_value

ALPHA = 0.05


def ever_stopped(differences, most=1.0):
    """Share of studies [studies, n] in which the evidence reached 1 / alpha after any of the items."""
    return np.mean(
        [any(e_value(study[: n + 1], most=most) >= 1 / ALPHA for n in range(len(study))) for study in differences]
    )


def test_without_differences_there_is_no_evidence():
    assert e_value([0, 0, 0]) == 1.0


def test_the_mean_over_all_outcomes_of_one_fair_difference_is_one():
    outcomes = [-1, -0.5, 0.5, 1]
    assert np.mean([e_value([a, b]) for a in outcomes for b in outcomes]) == pytest.approx(1)


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda rng, shape: rng.choice([-1.0, 0.0, 1.0], shape, p=[0.2, 0.6, 0.2]), id="right or wrong"),
        pytest.param(lambda rng, shape: rng.integers(-3, 4, shape) / 3, id="thirds"),
        pytest.param(lambda rng, shape: np.where(rng.random(shape) < 0.1, 0.9, -0.1), id="mostly a little worse"),
    ],
)
def test_equals_are_told_apart_no_more_often_than_promised_whenever_one_looks(draw):
    studies = draw(np.random.default_rng(0), (400, 60))
    # Two standard errors of 400 studies at 5 %.
    assert ever_stopped(studies) <= ALPHA + 0.022


def test_what_is_clearly_worse_is_found_soon():
    studies = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], (100, 32), p=[0.55, 0.4, 0.05])
    assert ever_stopped(studies) > 0.9


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.floats(0.5, 100))
def test_only_the_size_relative_to_the_largest_counts(differences, scale):
    scaled = [difference * scale for difference in differences]
    assert e_value(scaled, most=scale) == pytest.approx(e_value(differences), rel=1e-6)


def test_very_much_evidence_is_still_a_number():
    assert np.isfinite(e_value([-1.0] * 5000))


@pytest.mark.parametrize(
    ("differences", "most", "message"),
    [
        ([0.5, 1.5], 1.0, "differences must be at most 1, got 1.5"),
        ([0.5], 0.0, "most must be a positive number"),
        ([float("nan")], 1.0, "differences"),
        ([], 1.0, "must not be empty"),
    ],
)
def test_what_cannot_be_is_refused(differences, most, message):
    with pytest.raises(InvalidData, match=message):
        e_value(differences, most=most)
