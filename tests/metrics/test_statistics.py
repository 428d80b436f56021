"""Error bars: equality with statsmodels and scipy, coverage on clustered data, bad input."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.core.errors import InvalidData
from decodelab.metrics.auroc_interval import auroc_interval
from decodelab.metrics.bootstrap import bootstrap
from decodelab.metrics.bounded import bounded_difference, bounded_difference_p, bounded_mean
from decodelab.metrics.bradley_terry import bradley_terry
from decodelab.metrics.calibration import auroc, bin_by_confidence, brier, ece, macro_ce, max_ce
from decodelab.metrics.ece_interval import ece_interval, max_ce_interval
from decodelab.metrics.mean import mean, pooled
from decodelab.metrics.paired import holm, mcnemar, paired_difference, permutation_test, permutation_tests
from decodelab.metrics.power import Spread, minimum_detectable_difference, sample_size, spread
from decodelab.metrics.proportion import proportion, wilson

scores = st.lists(st.floats(-100, 100), min_size=2, max_size=30)


def clustered(seed: int, clusters: int = 40) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Scores of two systems on prompts with 1 to 6 samples each; samples of a prompt are alike."""
    rng = np.random.default_rng(seed)
    owner = [c for c in range(clusters) for _ in range(rng.integers(1, 7))]
    hard = rng.normal(size=clusters)[owner]
    a = hard + 0.3 + rng.normal(size=len(owner))
    b = hard + rng.normal(scale=0.5, size=clusters)[owner] + rng.normal(size=len(owner))
    return a, b, owner


@given(scores)
def test_without_clusters_the_error_is_the_textbook_one(values):
    found = mean(values)
    assert found.value == pytest.approx(np.mean(values))
    assert found.standard_error == pytest.approx(np.std(values, ddof=1) / math.sqrt(len(values)), abs=1e-9)


def test_clustered_error_and_interval_equal_those_of_statsmodels():
    from statsmodels.regression.linear_model import OLS

    a, _, owner = clustered(0)
    theirs = OLS(a, np.ones_like(a)).fit(cov_type="cluster", cov_kwds={"groups": np.array(owner)}, use_t=True)
    ours = mean(a, owner)
    assert ours.standard_error == pytest.approx(float(theirs.bse[0]), rel=1e-10)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.conf_int()[0]), rel=1e-10)


@given(scores, st.integers(2, 5))
def test_copying_each_item_changes_nothing_once_the_copies_are_a_cluster(values, copies):
    alone = mean(values)
    owner = [i for i in range(len(values)) for _ in range(copies)]
    together = mean(np.repeat(values, copies), owner)
    assert together.standard_error == pytest.approx(alone.standard_error, abs=1e-9)
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high), abs=1e-6)


def test_the_paired_interval_equals_scipy_s_paired_t_test():
    from scipy.stats import ttest_rel

    a, b, _ = clustered(1)
    low, high = ttest_rel(a, b).confidence_interval()
    found = paired_difference(a, b)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_one_cluster_has_no_interval():
    found = mean([1.0, 2.0], ["a", "a"])
    assert found.value == 1.5
    assert math.isnan(found.low)
    assert math.isnan(bootstrap(np.mean, np.array([1.0, 2.0]), clusters=["a", "a"]).low)


def test_scores_by_prompt_are_pooled_with_their_prompt():
    values, owner = pooled([[1, 0], [0.5]])
    assert mean(values, owner).clusters == 2
    with pytest.raises(InvalidData, match="got no scores"):
        pooled([[], []])


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 17), (7.5, 20.2)])
def test_wilson_solves_its_equation(k, n):
    from scipy.stats import norm

    low, high = wilson(k, n)
    p = k / n
    for end in (low, high):
        z_squared = (p - end) ** 2 * n / (end * (1 - end)) if 1e-9 < end < 1 - 1e-9 else norm.ppf(0.975) ** 2
        assert z_squared == pytest.approx(norm.ppf(0.975) ** 2, rel=1e-6)
    assert 0 <= low <= p <= high <= 1


def test_independent_items_get_wilson_s_interval_and_copies_do_not_narrow_it():
    y = [1, 0, 1, 1, 0, 1, 1, 1] * 5
    alone = proportion(y)
    assert (alone.low, alone.high) == wilson(30, 40)
    thrice = proportion(np.repeat(y, 3), [i for i in range(40) for _ in range(3)])
    assert thrice.high - thrice.low >= alone.high - alone.low


def test_clusters_that_are_all_alike_count_item_by_item():
    found = proportion([1, 0, 1, 0, 1, 0], list("aabbcc"))
    assert found.standard_error == 0
    assert (found.low, found.high) == wilson(3, 6)


def test_all_right_in_few_clusters_is_not_certainty():
    assert proportion([1] * 100).low > 0.95
    assert proportion([1] * 100, [i // 25 for i in range(100)]).low < 0.6


def test_right_and_wrong_have_wilson_s_interval_as_bounded_scores_too():
    y = [1.0] * 31 + [0.0] * 9
    ours, wilson_s = bounded_mean(y), proportion(y)
    assert (ours.low, ours.high) == pytest.approx((wilson_s.low, wilson_s.high), abs=0.01)
    assert bounded_mean([1.0] * 40).low < 1.0 == bounded_mean([1.0] * 40).high


def test_few_differences_widen_the_interval_and_many_do_not():
    few = bounded_difference([1] + [0] * 49, [0] * 50)
    t = paired_difference([1] + [0] * 49, [0] * 50)
    assert few.value == t.value == 0.02
    assert few.high - few.low > 1.3 * (t.high - t.low)
    many, t = bounded_difference([1, 0, 0] * 100, [0, 1, 0] * 100), paired_difference([1, 0, 0] * 100, [0, 1, 0] * 100)
    # One more item of difference 1, or -1.
    assert (many.low, many.high) == pytest.approx((t.low, t.high), abs=1 / 200)


@pytest.mark.parametrize("n", [2, 10, 50, 400])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.9999])
def test_without_a_difference_the_end_is_what_n_items_leave_open(n: int, level: float):
    found = bounded_difference([0.5] * n, [0.5] * n, level=level)
    assert (1 - found.high) ** n == pytest.approx((1 - level) / 2, rel=0.08)
    assert found.low == -found.high
    assert bounded_difference_p([0.5] * n, [0.5] * n) == 1.0


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60))
def test_the_p_value_of_right_and_wrong_is_mcnemar_s(only_a: int, only_b: int, equal: int):
    if only_a + only_b + equal < 2:
        return
    a, b = [1] * only_a + [0] * (only_b + equal), [0] * only_a + [1] * only_b + [0] * equal
    theirs = mcnemar(a, b).p_value
    ours = bounded_difference_p(a, b)
    assert ours == pytest.approx(theirs, rel=0.05, abs=1e-12)
    at_p = bounded_difference(a, b, level=1 - ours) if 1e-12 < ours < 1 else None
    if at_p is not None:
        assert min(abs(at_p.low), abs(at_p.high)) == pytest.approx(0, abs=1e-6)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30), st.floats(0.5, 0.9999))
def test_the_interval_of_a_difference_holds_it_and_stays_in_its_range(pairs: list[tuple[float, float]], level: float):
    a, b = zip(*pairs, strict=True)
    found, other = bounded_difference(a, b, level=level), bounded_difference(b, a, level=level)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low), abs=1e-7)


def test_copies_of_the_items_of_a_cluster_are_no_news():
    rng = np.random.default_rng(3)
    a, b = rng.random(40), rng.random(40)
    once = bounded_difference(a, b)
    thrice = bounded_difference(np.tile(a, 3), np.tile(b, 3), list(range(40)) * 3)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), abs=1e-6)
    assert thrice.clusters == 40


def test_many_different_values_are_merged_without_a_change_that_shows():
    rng = np.random.default_rng(4)
    a, b = rng.random(5000), rng.random(5000) ** 2
    merged, few = bounded_difference(a, b), bounded_difference(np.round(a, 2), np.round(b, 2))
    assert (merged.low, merged.high) == pytest.approx((few.low, few.high), abs=2e-4)


def test_the_interval_of_an_auroc_is_delong_s_and_about_that_of_the_bootstrap():
    rng = np.random.default_rng(0)
    p = rng.random(150)
    y = (rng.random(150) < p).astype(float)
    found, resampled = auroc_interval(p, y), bootstrap(auroc, p, y)
    right, wrong = p[y == 1], p[y == 0]
    wins = (right[:, None] > wrong).astype(float)
    delong = math.sqrt(wins.mean(1).var(ddof=1) / len(right) + wins.mean(0).var(ddof=1) / len(wrong))
    assert found.value == pytest.approx(auroc(p, y))
    assert found.standard_error == pytest.approx(delong, rel=0.01)
    assert (found.low, found.high) == pytest.approx((resampled.low, resampled.high), abs=0.02)
    # Copies are no news where they are clusters.
    twice = auroc_interval(np.tile(p, 2), np.tile(y, 2), list(range(150)) * 2)
    assert twice.standard_error == pytest.approx(found.standard_error)
    assert math.isnan(auroc_interval([0.9, 0.1], [1, 0]).low)


def test_the_bootstrap_equals_scipy_s_where_items_are_independent():
    from scipy.stats import bootstrap as theirs

    x = np.random.default_rng(0).exponential(size=60)
    ours = bootstrap(np.mean, x, resamples=9999)
    low, high = theirs((x,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(1)).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.015)


def test_the_bootstrap_over_clusters_agrees_with_the_clustered_error():
    a, _, owner = clustered(2, 60)
    exact = mean(a, owner)
    found = bootstrap(np.mean, a, clusters=owner, resamples=1000)
    assert found.standard_error == pytest.approx(exact.standard_error, rel=0.12)
    # As if independent it is too sure.
    assert bootstrap(np.mean, a, resamples=1000).standard_error < 0.8 * found.standard_error


def test_thousands_of_clusters_are_dealt_into_groups():
    x = np.random.default_rng(0).normal(size=3000)
    found = bootstrap(np.mean, x, resamples=400)
    assert found.clusters == 3000
    assert found.standard_error == pytest.approx(mean(x).standard_error, rel=0.15)


def test_the_same_seed_gives_the_same_interval():
    x = np.arange(20.0)
    assert bootstrap(np.median, x, seed=4) == bootstrap(np.median, x, seed=4)


def test_what_is_undefined_on_most_resamples_has_no_interval():
    p, y = np.full(8, 0.5), np.array([1] * 7 + [0])
    found = bootstrap(lambda p, y: macro_ce(p, y).value if y.sum() < 6 else math.nan, p, y, resamples=200)
    assert math.isnan(found.low)
    assert math.isnan(bootstrap(np.mean, np.ones(10)).low)


def test_permutation_of_few_items_is_exact():
    # 5 items, all in favour: 2 of the 32 exchanges are as extreme.
    assert permutation_test([1] * 5, [0] * 5) == 2 / 32
    assert permutation_test([1, 0], [0, 1]) == 1.0
    # As clusters of two there are 4 exchanges.
    assert permutation_test([1] * 4, [0] * 4, ["a", "a", "b", "b"]) == 2 / 4


def test_tests_made_together_are_those_made_alone_and_scipy_s():
    from scipy.stats import permutation_test as permute

    rng = np.random.default_rng(0)
    few = rng.normal(size=(9, 3))
    together = permutation_tests(few)
    assert together.tolist() == [permutation_test(x, np.zeros(9)) for x in few.T]
    for x, p in zip(few.T, together, strict=True):
        theirs = permute(
            (x, np.zeros(9)), lambda a, b: abs((a - b).sum()), permutation_type="samples", alternative="greater"
        )
        assert p == pytest.approx(theirs.pvalue)
    many = rng.normal(0.2, 1, size=(80, 4))
    assert permutation_tests(many).tolist() == [permutation_test(x, np.zeros(80)) for x in many.T]


def test_items_without_a_difference_do_not_stand_in_the_way_of_exactness():
    assert permutation_test([1] * 6 + [0.5] * 500, [0] * 6 + [0.5] * 500) == 2 / 64
    assert permutation_tests(np.zeros((500, 1))).tolist() == [1.0]


def test_permutation_agrees_with_the_t_test_on_many_items():
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(0)
    a, b = rng.normal(0.25, 1, 80), rng.normal(size=80)
    assert permutation_test(a, b) == pytest.approx(ttest_rel(a, b).pvalue, abs=0.02)


def test_mcnemar_is_the_binomial_test_of_disagreements():
    from scipy.stats import binomtest

    a = [1] * 9 + [0] * 3 + [1] * 20
    b = [0] * 9 + [1] * 3 + [1] * 20
    found = mcnemar(a, b)
    assert (found.only_a, found.only_b) == (9, 3)
    assert found.p_value == pytest.approx(binomtest(9, 12).pvalue)
    assert mcnemar([1, 0], [1, 0]).p_value == 1.0


def test_holm_by_hand():
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({}) == {}


def test_holm_is_that_of_statsmodels():
    from statsmodels.stats.multitest import multipletests

    p = [*np.random.default_rng(0).random(30) ** 3, 0.0, 0.0, 1.0]
    theirs = np.asarray(multipletests(p, method="holm")[1])
    assert list(holm(dict(enumerate(p))).values()) == pytest.approx(theirs.tolist())


@given(st.dictionaries(st.integers(), st.floats(0, 1), max_size=10))
def test_holm_keeps_the_order_and_never_lowers_a_p_value(p):
    adjusted = holm(p)
    assert all(p[k] - 1e-12 <= adjusted[k] <= 1 for k in p)
    ranked = sorted(p, key=lambda k: p[k])
    assert all(adjusted[x] <= adjusted[y] + 1e-12 for x, y in pairwise(ranked))


def test_the_worked_example_of_miller():
    # Variance 1/9, deterministic scores: 969 questions detect 3 points with 80 % power.
    assert sample_size(0.03, Spread(1 / 9)) == 969


@given(st.floats(0.01, 0.5), st.floats(0.01, 2), st.floats(0.5, 0.99))
def test_sample_size_and_detectable_difference_are_inverse(difference, variance, power):
    n = sample_size(difference, Spread(variance), power=power)
    assert minimum_detectable_difference(n, Spread(variance), power=power) <= difference + 1e-9
    if n > 1:
        assert minimum_detectable_difference(n - 1, Spread(variance), power=power) >= difference - 1e-9


def test_sample_size_agrees_with_statsmodels():
    from statsmodels.stats.power import NormalIndPower

    theirs = NormalIndPower().solve_power(0.2 / math.sqrt(0.5), alpha=0.05, power=0.9, ratio=0)
    assert sample_size(0.2, Spread(0.5), power=0.9) == math.ceil(float(theirs))


def test_more_samples_a_question_help_only_against_noise_within_questions():
    noise = Spread(0.05, 0.1, 0.1)
    assert (
        sample_size(0.05, noise) > sample_size(0.05, noise, samples_a=8, samples_b=8) > sample_size(0.05, Spread(0.05))
    )


def test_the_spread_of_a_simulated_pilot_is_that_of_the_simulation():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=(4000, 1))
    a = hard + rng.normal(scale=0.5, size=(4000, 1)) + rng.normal(scale=0.7, size=(4000, 5))
    b = hard + rng.normal(scale=0.3, size=(4000, 4))
    found = spread(a, b)
    assert (found.between, found.within_a, found.within_b) == pytest.approx((0.25, 0.49, 0.09), rel=0.08)


def test_bradley_terry_of_two_is_the_log_odds():
    fit = bradley_terry([("a", "b", 1)] * 6 + [("b", "a", 1)] * 3)
    assert fit.probability("a", "b") == pytest.approx(2 / 3)
    assert fit.difference("a", "b").value == pytest.approx(math.log(2))
    # Variance of log odds: 1/6 + 1/3.
    assert fit.difference("a", "b").standard_error == pytest.approx(math.sqrt(0.5), rel=1e-6)


def test_bradley_terry_solves_its_equations():
    rng = np.random.default_rng(0)
    strength = dict(zip("abcd", (1.0, 0.3, 0.0, -1.3), strict=True))
    rows = []
    for _ in range(4000):
        x, y = rng.choice(list("abcd"), 2, replace=False)
        rows.append((str(x), str(y), float(rng.random() < 1 / (1 + math.exp(strength[y] - strength[x])))))
    fit = bradley_terry(rows)
    assert fit.names == ("a", "b", "c", "d")
    for name in "abcd":
        won = sum(r if x == name else 1 - r for x, y, r in rows if name in (x, y))
        expected = sum(fit.probability(name, y if x == name else x) for x, y, _ in rows if name in (x, y))
        assert won == pytest.approx(expected, rel=1e-6)
        found = fit.strength(name)
        assert abs(found.value - strength[name]) < 4 * found.standard_error
    assert fit.strengths.sum() == pytest.approx(0, abs=1e-9)


def test_a_tie_is_half_a_win():
    ties = bradley_terry([("a", "b", 0.5), ("a", "b", 1), ("a", "b", 0)])
    assert ties.probability("a", "b") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([("a", "b", 1)], "no finite strength"),
        ([("a", "b", 1), ("b", "a", 1), ("c", "d", 1), ("d", "c", 1)], "never met the others"),
        ([("a", "a", 1)], "judged against itself"),
        ([("a", "b", 2)], "must be in [0, 1], got 2"),
        ([], "needs judgements"),
    ],
)
def test_judgements_that_cannot_rank_are_refused(rows, why):
    with pytest.raises(InvalidData) as caught:
        bradley_terry(rows)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: mean([]), "must not be empty"),
        (lambda: mean([1.0, math.nan]), "must be finite, got nan at position 1"),
        (lambda: mean([1.0, 2.0], ["a"]), "one value per item, got 1 for 2"),
        (lambda: mean([1.0, 2.0], level=95), "level must be between 0 and 1, got 95"),
        (lambda: paired_difference([1, 2], [1]), "got a 2, b 1"),
        (lambda: proportion([0.5]), "must be 0 or 1, got 0.5"),
        (lambda: wilson(3, 2), "needs 0 <= successes <= n"),
        (lambda: holm({"a": 1.5}), "must be in [0, 1]"),
        (lambda: sample_size(0, Spread(1)), "must not be 0"),
        (lambda: Spread(-1), "must be a variance"),
        (lambda: bootstrap(np.mean, np.ones(3), resamples=5), "at least 100, got 5"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, why):
    with pytest.raises(InvalidData) as caught:
        call()
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def binary(rng: np.random.Generator, clusters: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Confidence and correctness of clustered answers: overconfident, and some prompts are harder than they look."""
    owner = [c for c in range(clusters) for _ in range(rng.integers(1, 7))]
    p = np.clip(rng.beta(2, 1.5, size=clusters)[owner] + rng.normal(scale=0.08, size=len(owner)), 0.01, 0.99)
    easier = rng.normal(scale=0.06, size=clusters)[owner]
    y = (rng.random(len(owner)) < np.clip(0.75 * p + easier, 0, 1)).astype(float)
    return p, y, owner


ESTIMATORS = {
    "mean": lambda p, y, owner: mean(p, owner),
    "proportion": lambda p, y, owner: proportion(y, owner),
    "paired difference": lambda p, y, owner: paired_difference(p, y, owner),
    "bounded mean": lambda p, y, owner: bounded_mean(p, owner),
    "bounded difference": lambda p, y, owner: bounded_difference(p, y, owner),
    "AUROC": lambda p, y, owner: auroc_interval(p, y, owner),
    "bootstrap mean": lambda p, y, owner: bootstrap(np.mean, p, clusters=owner, resamples=400),
    "bootstrap Brier": lambda p, y, owner: bootstrap(brier, p, y, clusters=owner, resamples=400),
    "bootstrap AUROC": lambda p, y, owner: bootstrap(auroc, p, y, clusters=owner, resamples=400),
    "bootstrap MacroCE": lambda p, y, owner: bootstrap(
        lambda p, y: macro_ce(p, y).value, p, y, clusters=owner, resamples=400
    ),
    "ECE": lambda p, y, owner: ece_interval(bin_by_confidence(p, y, 5), p, y, owner, resamples=300),
}

GUARANTEED = {"bounded difference"}
"""Intervals that hold the truth at least as often as they say, also of few items and rare differences."""


def coverage(name: str, studies: int, clusters: int, seed: int = 0) -> float:
    """The share of simulated studies whose 95 % interval holds the truth (that of a very large study)."""
    rng = np.random.default_rng(seed)
    truth = {
        "mean": lambda p, y: p.mean(),
        "proportion": lambda p, y: y.mean(),
        "paired difference": lambda p, y: (p - y).mean(),
        "bounded mean": lambda p, y: p.mean(),
        "bounded difference": lambda p, y: (p - y).mean(),
        "AUROC": auroc,
        "bootstrap mean": lambda p, y: p.mean(),
        "bootstrap Brier": brier,
        "bootstrap AUROC": auroc,
        "bootstrap MacroCE": lambda p, y: macro_ce(p, y).value,
        "ECE": lambda p, y: ece(p, y, 5),
    }[name](*binary(rng, 300_000)[:2])
    held = 0
    for _ in range(studies):
        found = ESTIMATORS[name](*binary(rng, clusters))
        held += found.low <= truth <= found.high
    return held / studies


@pytest.mark.parametrize(
    "name", ["mean", "proportion", "paired difference", "bounded mean", "bounded difference", "AUROC"]
)
def test_intervals_of_clustered_data_hold_the_truth(name: str):
    # 99.9 % of binomial(400, 0.95) / 400 lies between 0.91 and 0.98.
    assert 0.91 <= coverage(name, 400, 60) <= (1.0 if name in GUARANTEED else 0.98)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_coverage_is_93_to_97_percent(name: str):
    assert 0.93 <= coverage(name, 2000, 80, seed=1) <= (1.0 if name in GUARANTEED else 0.97)


@pytest.mark.parametrize(
    ("slope", "shift"), [(0.75, -0.12), (0.7, 0.0), (1.0, 0.0)], ids=["overconfident", "mixed", "calibrated"]
)
def test_the_interval_of_an_ece_allows_for_its_bias(slope: float, shift: float):
    def study(clusters: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
        sizes = rng.integers(1, 7, clusters)
        p = np.clip(np.repeat(rng.beta(2, 1.5, clusters), sizes) + rng.normal(scale=0.08, size=sizes.sum()), 0.01, 0.99)
        y = rng.random(len(p)) < np.clip(0.5 + slope * (p - 0.5) + shift, 0, 1)
        return p, y.astype(float), np.repeat(np.arange(clusters), sizes).tolist()

    rng = np.random.default_rng(5)
    p, y, _ = study(200_000)
    truth, largest = ece(p, y), max_ce(p, y)
    held = most = 0
    for _ in range(150):
        p, y, owner = study(100)
        b = bin_by_confidence(p, y)
        found = ece_interval(b, p, y, owner, resamples=200)
        worst = max_ce_interval(b, p, y, owner, resamples=200)
        held += found.low <= truth <= found.high
        most += worst.low <= largest <= worst.high
    # 99.9 % of binomial(150, 0.95) / 150 lies above 0.88; conservative intervals may reach 1.
    assert held / 150 >= 0.88
    assert most / 150 >= 0.88


def test_ignoring_clusters_would_not():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        p, _, _ = binary(rng, 60)
        found = mean(p)
        held += found.low <= 2 / 3.5 <= found.high
    assert held / 300 < 0.85
