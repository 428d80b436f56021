"""Recalibration: fitted on validation, applied to test, never the same items."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.core.errors import InvalidData
from decodelab.metrics.calibration import ece
from decodelab.metrics.recalibration import (
    METHODS,
    Labelled,
    isotonic_regression,
    negative_log_likelihood,
    platt_scaling,
    temperature_scaling,
    vector_scaling,
)


def overconfident(n: int, seed: int = 0) -> Labelled:
    """Confidences whose log-odds are twice what they should be."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0.5, 1.0, n)
    right = rng.random(n) < 1 / (1 + np.exp(-odds))
    return Labelled.confidences([f"q{i}" for i in range(n)], 1 / (1 + np.exp(-2 * odds)), right)


def questions(n: int, temperature: float = 3.0, bias: float = 0.0, seed: int = 0) -> Labelled:
    """Logits of four options, too large by a temperature, with a liking for the first option."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4))
    distribution = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (distribution.cumsum(1) > rng.random((n, 1))).argmax(1)
    return Labelled.options([f"q{i}" for i in range(n)], temperature * logits + np.array([bias, 0, 0, 0]), labels)


def test_the_temperature_of_simulated_overconfidence_is_found():
    validation, test = overconfident(4000).split()
    fit = temperature_scaling(validation)
    assert fit.parameters["temperature"] == pytest.approx(2.0, abs=0.2)
    assert ece(fit.apply(test).scores, test.labels) < 0.5 * ece(test.scores, test.labels)
    options = temperature_scaling(questions(4000))
    assert options.parameters["temperature"] == pytest.approx(3.0, rel=0.1)


def test_the_temperature_is_the_minimum_of_the_validation_loss():
    items = questions(300)
    best = temperature_scaling(items)
    losses = [negative_log_likelihood(items.scores / t, items.labels) for t in np.linspace(1, 8, 200)]
    assert negative_log_likelihood(best(items.scores), items.labels) <= min(losses) + 1e-9


def test_a_temperature_changes_no_answer():
    items = questions(200)
    assert (temperature_scaling(items)(items.scores).argmax(1) == items.scores.argmax(1)).all()


def test_vector_scaling_mends_a_liking_for_one_option():
    validation, test = questions(4000, bias=4.0).split()
    temperature, vector = temperature_scaling(validation), vector_scaling(validation)
    better = negative_log_likelihood(vector.apply(test).scores, test.labels)
    assert better < negative_log_likelihood(temperature.apply(test).scores, test.labels) - 0.05


def test_vector_scaling_is_multinomial_regression_on_each_own_logit():
    # At the minimum the gradient is 0: predicted and observed frequencies of each option agree.
    items = questions(500, bias=1.0)
    z = vector_scaling(items)(items.scores)
    predicted = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert predicted.mean(0) == pytest.approx(np.bincount(items.labels, minlength=4) / 500, abs=1e-3)


def test_platt_scaling_equals_logistic_regression_on_many_items():
    from sklearn.linear_model import LogisticRegression

    items = overconfident(3000)
    p = np.clip(items.scores, 1e-6, 1 - 1e-6)
    theirs = LogisticRegression(C=math.inf, tol=1e-8).fit(np.log(p / (1 - p))[:, None], items.labels)
    fit = platt_scaling(items)
    assert fit.parameters["scale"] == pytest.approx(theirs.coef_[0, 0], rel=0.01)
    assert fit.parameters["shift"] == pytest.approx(theirs.intercept_[0], abs=0.01)


def test_platt_scaling_stays_finite_on_separable_items():
    items = Labelled.confidences(list("abcd"), [0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])
    assert 0 < platt_scaling(items)([0.5])[0] < 1


def test_isotonic_regression_equals_scikit_learn():
    from sklearn.isotonic import IsotonicRegression

    items = overconfident(300)
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(items.scores, items.labels)
    x = np.linspace(0, 1, 101)
    assert isotonic_regression(items)(x) == pytest.approx(theirs.predict(x))


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=2, max_size=15),
    st.sampled_from(["temperature", "platt", "isotonic"]),
)
def test_confidences_stay_confidences_and_keep_their_order(pairs, method):
    p, y = zip(*pairs, strict=True)
    fit = METHODS[method](Labelled.confidences([str(i) for i in range(len(p))], p, y))
    mapped = fit(np.linspace(0, 1, 11))
    assert ((mapped >= 0) & (mapped <= 1)).all()
    if method != "platt":
        assert (np.diff(mapped) >= -1e-12).all()


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_what_was_fitted_on_cannot_be_the_test(method: str):
    items = overconfident(60)
    validation, test = items.split(0.5)
    fit = METHODS[method](validation)
    assert len(fit.apply(test)) == len(test)
    for seen in (validation, items, items[np.array([0, 1, *range(10, 60)])]):
        with pytest.raises(InvalidData, match="test it on a split that was not used for fitting"):
            fit.apply(seen)


def test_another_sample_of_a_prompt_that_was_fitted_on_is_refused_too():
    validation = Labelled.confidences(["p1#0", "p2#0"], [0.5, 0.6], [1, 0], clusters=["p1", "p2"])
    test = Labelled.confidences(["p1#1", "p3#0"], [0.5, 0.6], [1, 0], clusters=["p1", "p3"])
    with pytest.raises(InvalidData, match="was not used for fitting"):
        temperature_scaling(validation).apply(test)


def test_a_split_keeps_clusters_whole_and_does_not_depend_on_the_other_items():
    ids = [f"{c}#{i}" for c in range(40) for i in range(3)]
    owner = [i.split("#")[0] for i in ids]
    items = Labelled.confidences(ids, [0.5] * 120, [1] * 120, owner)
    validation, test = items.split(0.3)
    assert not set(validation.clusters) & set(test.clusters)
    assert len(validation) + len(test) == 120
    fewer, _ = items[np.arange(60)].split(0.3)
    assert set(fewer.ids) <= set(validation.ids)
    assert items.split(0.3, seed=1)[0].ids != validation.ids


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: Labelled.confidences(["a", "a"], [0.5, 0.5], [1, 0]), "must all differ"),
        (lambda: Labelled.confidences(["a"], [1.5], [1]), "must be in [0, 1]"),
        (lambda: Labelled.confidences(["a"], [0.5, 0.6], [1, 1]), "one value per item each"),
        (lambda: Labelled.options(["a"], [[math.nan, 0.0]], [0]), "must be finite"),
        (lambda: Labelled.options(["a"], [[0.0, 1.0]], [2]), "must be options 0 to 1"),
        (lambda: overconfident(1).split(), "too few to split"),
        (lambda: overconfident(10).split(1.0), "between 0 and 1"),
        (lambda: temperature_scaling(overconfident(1)), "at least 2 validation items"),
        (lambda: platt_scaling(questions(5)), "needs confidences"),
        (lambda: vector_scaling(overconfident(5)), "needs logits"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, why):
    with pytest.raises(InvalidData) as caught:
        call()
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_class_only_ends_at_the_limit_rather_than_failing():
    items = Labelled.confidences([str(i) for i in range(9)], [0.6] * 9, [1] * 9)
    assert temperature_scaling(items)([0.6])[0] == pytest.approx(1.0, abs=1e-3)
