"""Entropy and divergences: identities, equality with scipy, and comparisons streamed over logits."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from decodelab.core.errors import InvalidData, VocabularyMismatch
from decodelab.core.key import Keys
from decodelab.metrics.information import (
    LogitComparison,
    cross_entropy,
    empirical,
    entropy,
    jensen_shannon,
    kl_divergence,
)

OTHER: Any = "hartleys"


@st.composite
def distribution(draw, size: int = 5):
    weights = np.array(draw(st.lists(st.floats(0, 1), min_size=size, max_size=size)))
    assume(weights.sum() > 1e-3)
    return weights / weights.sum()


@given(distribution(), distribution())
def test_kl_is_cross_entropy_minus_entropy(p, q):
    kl, ce, h = kl_divergence(p, q), cross_entropy(p, q), entropy(p)
    assert kl == ce == math.inf or kl == pytest.approx(ce - h, abs=1e-9)
    assert kl >= 0
    assert kl_divergence(p, p) == 0


@given(distribution(), distribution())
def test_jensen_shannon_is_symmetric_and_at_most_one_bit(p, q):
    js = jensen_shannon(p, q, unit="bits")
    assert js == jensen_shannon(q, p, unit="bits")
    assert 0 <= js <= 1
    assert js == pytest.approx(
        entropy((p + q) / 2, unit="bits") - (entropy(p, unit="bits") + entropy(q, unit="bits")) / 2
    )


def test_jensen_shannon_survives_the_smallest_of_probabilities():
    assert float(jensen_shannon([0.0, 1.0], [5e-324, 1.0])) == pytest.approx(0.0, abs=1e-12)


@given(distribution())
def test_entropy_is_between_0_and_that_of_the_uniform_distribution(p):
    assert 0 <= entropy(p) <= math.log(5) + 1e-12
    assert entropy(p, unit="bits") == pytest.approx(entropy(p) / math.log(2))


def test_equality_with_scipy():
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import entropy as theirs

    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(50), 20), rng.dirichlet(np.ones(50), 20)
    assert entropy(p) == pytest.approx(theirs(p.T))
    assert kl_divergence(p, q, unit="bits") == pytest.approx(theirs(p.T, q.T, base=2))
    assert jensen_shannon(p, q) == pytest.approx([jensenshannon(a, b) ** 2 for a, b in zip(p, q, strict=True)])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), distribution(4))
def test_the_maximum_likelihood_fit_minimises_the_divergence_from_the_data(data, other):
    seen = empirical(data, 4)
    likelihood = -np.log(seen[data]).mean()
    # Mean negative log-likelihood is cross-entropy, so it and KL differ by H(data), which no fit can change.
    assert cross_entropy(seen, seen) == pytest.approx(likelihood)
    assert kl_divergence(seen, seen) <= kl_divergence(seen, other)
    with np.errstate(divide="ignore"):
        assert cross_entropy(seen, other) == pytest.approx(-np.log(other[data]).mean())


def test_the_best_of_a_family_by_likelihood_is_the_best_by_divergence():
    # Family: binomial distributions of two trials. The fit by likelihood is theta = mean / 2.
    data = [0, 1, 1, 2, 1, 0, 2, 2]
    grid = np.linspace(0.01, 0.99, 99)
    family = np.stack([(1 - grid) ** 2, 2 * grid * (1 - grid), grid**2], axis=1)
    best = kl_divergence(empirical(data, 3)[None], family).argmin()
    assert grid[best] == pytest.approx(np.mean(data) / 2, abs=0.006)


def test_the_largest_logit_plus_gumbel_noise_follows_the_softmax():
    from scipy.stats import chisquare

    logits = torch.tensor([1.0, 0.0, -0.5, 2.0])
    keys = Keys.of(seed=5, prompt=[1], samples=range(20_000))
    noise = keys.gumbel(torch.zeros(20_000, dtype=torch.int64), 4)
    counts = torch.bincount((logits + noise).argmax(-1), minlength=4).numpy()
    # A false alarm at this fixed seed would have had probability 0.001.
    assert chisquare(counts, torch.softmax(logits.double(), -1).numpy() * 20_000).pvalue > 0.001


def test_what_q_rules_out_and_p_allows_costs_infinitely_much():
    assert kl_divergence([0.5, 0.5], [1, 0]) == math.inf
    assert cross_entropy([0.5, 0.5], [1, 0]) == math.inf
    assert kl_divergence([1, 0], [0.5, 0.5], unit="bits") == 1
    assert jensen_shannon([0.5, 0.5], [1, 0]) < math.log(2)


def test_streaming_over_blocks_equals_the_exact_means():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 10, 7)), rng.normal(size=(2, 10, 7))
    x[0, 0, :3] = -math.inf
    y[0, 0, :3] = -math.inf
    found = LogitComparison()
    for row in range(2):
        found = found.add(torch.tensor(x[row, :4]), torch.tensor(y[row, :4])).add(x[row, 4:], y[row, 4:])
    p, q = (np.exp(z - np.log(np.exp(z).sum(-1, keepdims=True))) for z in (x, y))
    assert found.positions == 20
    assert found.entropy_p == pytest.approx(entropy(p).mean())
    assert found.entropy_q == pytest.approx(entropy(q).mean())
    assert found.kl_pq == pytest.approx(kl_divergence(p, q).mean())
    assert found.kl_qp == pytest.approx(kl_divergence(q, p).mean())
    assert found.cross_entropy_pq == pytest.approx(cross_entropy(p, q).mean())
    assert found.jensen_shannon == pytest.approx(jensen_shannon(p, q).mean())
    assert found.agreement == pytest.approx((x.argmax(-1) == y.argmax(-1)).mean())


def test_logits_in_bfloat16_are_compared_in_float64():
    x = torch.randn(3, 11, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    assert LogitComparison().add(x, x).kl_pq == 0


def test_nothing_compared_is_nan():
    assert math.isnan(LogitComparison().kl_pq)


@pytest.mark.parametrize(
    ("call", "error", "why"),
    [
        (lambda: entropy([0.5, 0.6]), InvalidData, "must sum to 1, got 1.1"),
        (lambda: entropy([1.5, -0.5]), InvalidData, "negative or non-finite"),
        (lambda: entropy([math.nan, 1]), InvalidData, "got negative or non-finite"),
        (lambda: entropy([]), InvalidData, "at least one outcome"),
        (lambda: entropy([1.0], unit=OTHER), InvalidData, "must be 'nats' or 'bits'"),
        (lambda: kl_divergence([1.0], [0.5, 0.5]), InvalidData, "same outcomes, got 1 and 2"),
        (lambda: empirical([3], 3), InvalidData, "0 to 2"),
        (lambda: LogitComparison().add([[0.0] * 3], [[0.0] * 4]), VocabularyMismatch, "3 and 4 tokens"),
        (lambda: LogitComparison().add([[0.0] * 3], [[0.0] * 3] * 2), InvalidData, "same positions"),
        (lambda: LogitComparison().add([[math.nan]], [[0.0]]), InvalidData, "got NaN"),
        (lambda: LogitComparison().add([[-math.inf]], [[0.0]]), InvalidData, "only -inf"),
    ],
)
def test_an_invalid_distribution_is_refused(call, error, why):
    with pytest.raises(error) as caught:
        call()
    assert why in str(caught.value)
