"""Gumbel-max drawing follows the softmax, and is the other drawing of `sample`."""

import math

import pytest
import torch
from scipy import stats

import decodelab as dl
from decodelab.core.errors import InvalidParameter
from decodelab.core.key import Keys
from decodelab.search.sample import gumbel_max

N = 4000
P = 1e-4


def noise(size: int) -> torch.Tensor:
    return Keys.of(0, [1, 2], range(N)).gumbel(torch.zeros(N, dtype=torch.int64), size)


@pytest.mark.parametrize("gap", [-3.0, -0.5, 0.0, 0.25, 2.0])
def test_the_first_of_two_exceeds_the_second_with_its_softmax_probability(gap):
    # X_i = mu_i + G_i: P[X1 > X2] = softmax(mu)_1 = 1 / (1 + exp(mu_2 - mu_1)).
    wins = int((gumbel_max(torch.tensor([[gap, 0.0]]).expand(N, 2), noise(2)) == 0).sum())
    assert stats.binomtest(wins, N, 1 / (1 + math.exp(-gap))).pvalue > P


def test_the_largest_of_many_follows_the_softmax():
    logits = torch.tensor([1.0, 0.3, -math.inf, -1.0, 0.3])
    counts = torch.bincount(gumbel_max(logits.expand(N, 5), noise(5)), minlength=5)
    assert counts[2] == 0
    distribution = logits.softmax(0)[[0, 1, 3, 4]].double()
    assert stats.chisquare(counts[[0, 1, 3, 4]].double(), N * distribution / distribution.sum()).pvalue > P


def test_both_drawings_follow_the_distribution_of_the_chain(random_table, exact_distribution, agrees):
    model = random_table(seed=11)
    for drawing in ("gumbel", "inverse_cdf"):
        (g,) = dl.generate(model, "", f"top_p=0.8 | sample(n={N}, draw={drawing})", max_new_tokens=2)
        assert agrees([c.tokens for c in g.candidates], exact_distribution(model, "top_p=0.8 | sample", 2)) > P


def test_a_gumbel_sample_does_not_depend_on_the_number_of_samples(random_table):
    model = random_table(seed=5)
    two, five = (dl.generate(model, "", f"sample(n={n}, draw=gumbel)", max_new_tokens=6)[0].candidates for n in (2, 5))
    assert two == five[:2]


def test_an_unknown_drawing_is_refused():
    with pytest.raises(InvalidParameter, match="sample: draw must be one of inverse_cdf, gumbel, got dice"):
        dl.Sample(draw="dice")
