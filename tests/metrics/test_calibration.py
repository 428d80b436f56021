"""Calibration: the course's table, equality with torchmetrics and scikit-learn, identities, bad input."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from decodelab.core.errors import InvalidData
from decodelab.metrics.calibration import (
    adaptive_ce,
    auroc,
    bin_by_confidence,
    brier,
    brier_parts,
    ece,
    ece_if_calibrated,
    macro_ce,
    max_ce,
    nll,
)

COURSE = {
    "C1": ([0.9, 0.9, 0.8, 0.8, 0.7, 0.7], [1, 0, 1, 0, 1, 1], (0.133, 0.538, 0.280)),
    "C2": ([0.9, 0.9, 0.9, 0.8, 0.8, 0.7], [1, 1, 1, 0, 0, 0], (0.433, 0.433, 0.300)),
    "C3": ([0.9, 0.9, 0.8, 0.8, 0.6, 0.6], [1, 1, 1, 1, 1, 0], (0.067, 0.400, 0.103)),
}


def three_decimals(value: float) -> float:
    """Rounded half up, as people do: 0.5375 is 0.538 whatever the last bit says."""
    return math.floor(value * 1000 + 0.5 + 1e-9) / 1000


@pytest.mark.parametrize("case", COURSE)
def test_the_table_of_the_course_to_three_decimals(case: str):
    confidence, correct, published = COURSE[case]
    found = (ece(confidence, correct, size=3), macro_ce(confidence, correct).value, brier(confidence, correct))
    assert tuple(map(three_decimals, found)) == published


def test_the_two_halves_of_macro_ce_in_the_first_case():
    # Right answers at .9 .8 .7 .7 are .1 .2 .3 .3 short of 1; wrong ones at .9 .8 should have been 0.
    halves = macro_ce(*COURSE["C1"][:2])
    assert (halves.right, halves.wrong) == (pytest.approx(0.225), pytest.approx(0.85))


def test_the_second_bin_of_the_third_case_cancels():
    confidence, correct, _ = COURSE["C3"]
    b = bin_by_confidence(confidence, correct, size=3)
    # .8 and .6 were right (short by .2 and .4), .6 was wrong (over by .6): together nothing.
    assert b.gap[0] == pytest.approx(0)
    assert b.confidence[0] == pytest.approx(2 / 3)
    # No item of the bin was calibrated, and MacroCE says so.
    inside = b.member == 0
    assert macro_ce(np.array(confidence)[inside], np.array(correct)[inside]).value == pytest.approx(0.45)


def random_items(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    return p, (rng.random(n) < p**2).astype(int)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_and_maximum_ce_equal_torchmetrics(bins: int):
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    p, y = random_items(0)
    given = torch.tensor(p, dtype=torch.float64), torch.tensor(y)
    for norm, ours in (("l1", ece), ("max", max_ce)):
        theirs = functional.binary_calibration_error(*given, n_bins=bins, norm=norm)
        assert ours(p, y, bins) == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize(("equal", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_bins_equal_those_of_scikit_learn(equal, strategy):
    from sklearn.calibration import calibration_curve

    # No quantile of 400 items falls on an item, where theirs and ours differ in the last bit.
    p, y = random_items(1, 400)
    accuracy, confidence = calibration_curve(y, p, n_bins=11, strategy=strategy)
    b = bin_by_confidence(p, y, 11, equal=equal)
    assert b.accuracy.tolist() == pytest.approx(accuracy.tolist())
    assert b.confidence.tolist() == pytest.approx(confidence.tolist())


def test_brier_nll_and_auroc_equal_scikit_learn():
    from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

    p, y = random_items(2)
    p[:50] = p[0]  # ties
    assert brier(p, y) == pytest.approx(brier_score_loss(y, p), rel=1e-12)
    assert nll(p, y) == pytest.approx(log_loss(y, p), rel=1e-12)
    assert auroc(p, y) == pytest.approx(roc_auc_score(y, p), rel=1e-12)


probability = st.floats(0, 1)
items = st.lists(st.tuples(probability, st.integers(0, 1)), min_size=1, max_size=40)


@given(items, st.one_of(st.none(), st.integers(1, 12)))
def test_the_parts_of_the_brier_score_add_up(pairs, bins):
    p, y = zip(*pairs, strict=True)
    parts = brier_parts(p, y, bins)
    assert parts.score == pytest.approx(brier(p, y), abs=1e-9)
    if bins is None:
        assert parts.within == 0
    assert parts.uncertainty == pytest.approx(np.mean(y) * (1 - np.mean(y)))


@given(items, st.integers(1, 20))
def test_errors_lie_between_0_and_1_and_the_maximum_is_the_largest(pairs, bins):
    p, y = zip(*pairs, strict=True)
    for equal in ("width", "mass"):
        average, most = ece(p, y, bins, equal=equal), max_ce(p, y, bins, equal=equal)
        assert -1e-12 <= average <= most + 1e-12 <= 1 + 1e-9
    assert ece(p, y, 1) == pytest.approx(abs(np.mean(y) - np.mean(p)))


@given(items, st.randoms(use_true_random=False))
def test_the_order_of_items_does_not_matter(pairs, random):
    p, y = zip(*pairs, strict=True)
    q, z = zip(*random.sample(pairs, len(pairs)), strict=True)
    for metric in (ece, max_ce, brier, nll, auroc):
        assert metric(q, z) == pytest.approx(metric(p, y), nan_ok=True)
    assert ece(q, z, 7, equal="mass") == pytest.approx(ece(p, y, 7, equal="mass"))


@given(items)
def test_one_item_a_bin_makes_ece_the_mean_distance(pairs):
    p, y = map(np.array, zip(*pairs, strict=True))
    assert ece(p, y, size=1) == pytest.approx(np.abs(p - y).mean())


@given(items, st.integers(1, 9))
def test_every_item_is_in_one_bin_and_the_bins_of_a_size_have_it(pairs, size):
    p, y = zip(*pairs, strict=True)
    b = bin_by_confidence(p, y, size=size)
    assert b.count.sum() == len(p)
    assert all(b.count[1:] == size)
    assert b.count[0] <= size


def test_a_constant_confidence_at_the_accuracy_has_no_ece_but_macro_ce_one_half():
    p, y = [0.7] * 10, [1] * 7 + [0] * 3
    assert ece(p, y) == pytest.approx(0)
    assert macro_ce(p, y).value == pytest.approx(0.5)


@given(items)
def test_auroc_asks_for_order_only(pairs):
    p, y = map(np.array, zip(*pairs, strict=True))
    assume(0 < y.sum() < len(y))
    p = p.round(3)
    assert auroc(p / 2, y) == pytest.approx(auroc(p, y))
    assert auroc(1 - p, y) == pytest.approx(1 - auroc(p, y))


def test_adaptive_ce_of_a_perfect_model_is_0():
    assert adaptive_ce(np.eye(3)[[0, 1, 2, 0]], [0, 1, 2, 0]) == 0


def test_perfect_calibration_still_has_an_ece_above_0():
    rng = np.random.default_rng(0)
    p = rng.random(200)
    y = rng.random(200) < p
    expected = ece_if_calibrated(p, y)
    assert 0.03 < expected.mean < 0.1
    assert expected.p_value > 0.05
    assert ece_if_calibrated(p, rng.random(200) < p / 2).p_value < 0.01


def test_p_values_of_calibrated_systems_are_below_5_percent_in_5_percent_of_cases():
    rng = np.random.default_rng(3)
    low = 0
    for _ in range(200):
        p = rng.random(60)
        low += ece_if_calibrated(p, rng.random(60) < p, 5, resamples=199).p_value <= 0.05
    # 99.8 % of binomial(200, 0.05) lies in 2 to 20.
    assert 2 <= low <= 20


@pytest.mark.parametrize(
    ("confidence", "correct", "why"),
    [
        ([0.5, 1.2], [1, 0], "must be in [0, 1], got 1.2 at position 1; divide percentages by 100"),
        ([0.5, -0.1], [1, 0], "must be in [0, 1], got -0.1"),
        ([0.5, math.nan], [1, 0], "must be finite, got nan at position 1"),
        ([0.5, 0.6], [1, 2], "correct must be 0 or 1, got 2"),
        ([0.5, 0.6], [1], "need one value per item each, got confidence 2, correct 1"),
        ([], [], "must not be empty"),
        (["high"], [1], "must be numbers"),
    ],
)
@pytest.mark.parametrize("metric", [ece, max_ce, brier, nll, auroc, macro_ce, brier_parts])
def test_bad_items_are_refused_in_one_line(metric, confidence, correct, why):
    with pytest.raises(InvalidData) as caught:
        metric(confidence, correct)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_class_only_leaves_what_needs_both_undefined():
    assert math.isnan(auroc([0.2, 0.8], [1, 1]))
    halves = macro_ce([0.2, 0.8], [1, 1])
    assert (halves.right, math.isnan(halves.wrong), math.isnan(halves.value)) == (0.5, True, True)
    assert ece([0.2, 0.8], [1, 1]) == pytest.approx(0.5)


def test_fewer_items_than_bins_are_fine():
    assert ece([0.35], [1], 100) == pytest.approx(0.65)
    assert ece([0.35, 0.4], [1, 1], 100, equal="mass") == pytest.approx(0.625)


@pytest.mark.parametrize("bins", [0, -1, 2.5])
def test_bins_must_be_a_positive_number(bins):
    with pytest.raises(InvalidData, match="bins must be an integer, at least 1"):
        ece([0.5], [1], bins)


def test_a_confidence_at_any_edge_belongs_to_the_bin_below_and_the_next_number_to_the_bin_above():
    """All 4,950 inner edges of 2 to 100 bins."""
    for bins in range(2, 101):
        edges = [k / bins for k in range(1, bins)]
        above = [math.nextafter(edge, 1) for edge in edges]
        assert bin_by_confidence(edges, [1] * len(edges), bins).high.tolist() == edges
        assert bin_by_confidence(above, [1] * len(edges), bins).low.tolist() == edges
    assert ece([5 / 6, 1], [1, 0], 6) == pytest.approx(7 / 12)


def test_an_edge_of_equal_mass_that_falls_on_a_confidence_is_that_confidence():
    rng = np.random.default_rng(0)
    for bins in range(2, 30):
        p = np.sort(rng.random(7 * bins + 1))
        b = bin_by_confidence(p, np.ones(len(p)), bins, equal="mass")
        assert b.high.tolist() == p[7::7].tolist()
        assert b.count.tolist() == [8, *[7] * (bins - 1)]


def test_a_border_belongs_to_the_bin_below():
    b = bin_by_confidence([0.0, 0.1, 0.3, 0.7, 1.0], [1] * 5)
    assert b.high.round(1).tolist() == [0.1, 0.3, 0.7, 1.0]
    assert b.count.tolist() == [2, 1, 1, 1]
