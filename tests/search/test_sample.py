"""Samples follow the exact distribution of whole sequences, whatever the chain, and depend on nothing else."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import decodelab as dl
from decodelab.search.sample import inverse_cdf

# A right sampler fails at p < 1e-4 for one seed in 10,000; the seeds here are fixed.
P = 1e-4
N = 20_000

CHAINS = [
    "",
    "temperature=0.5 | ",
    "temperature=1.7 | ",
    "top_k=2 | ",
    "top_p=0.7 | ",
    "min_p=0.3 | ",
    "typical_p=0.6 | ",
    "temperature=1.5 | top_k=4 | top_p=0.8 | min_p=0.05 | typical_p=0.9 | ",
]


@pytest.mark.parametrize("chain", CHAINS)
def test_samples_follow_the_exact_distribution_of_whole_sequences(chain, random_table, exact_distribution, agrees):
    model = random_table(seed=11)
    distribution = exact_distribution(model, f"{chain}sample", 3)
    assert math.fsum(distribution.values()) == pytest.approx(1, abs=1e-5)
    (g,) = dl.generate(model, "", f"{chain}sample(n={N})", max_new_tokens=3)
    assert len(g.candidates) == N
    assert agrees([c.tokens for c in g.candidates], distribution) > P
    for c in g.candidates[:200]:
        assert c.processed_logprob == pytest.approx(math.log(distribution[c.tokens]), abs=1e-4)
        assert c.finish_reason == ("eos" if c.tokens[-1] in model.vocab.eos_ids else "length")


def test_one_sample_under_each_of_many_seeds_follows_the_distribution(random_table, exact_distribution, agrees):
    model = random_table(seed=3)
    drawn = [dl.generate(model, "", "sample", max_new_tokens=2, seed=s)[0].best.tokens for s in range(2000)]
    assert agrees(drawn, exact_distribution(model, "sample", 2)) > P


def test_one_sample_of_each_of_many_prompts_follows_the_distribution(agrees):
    # A distribution that does not look at its prompt, so that samples of different prompts can be pooled.
    row = {"a": 0.5, "b": 0.3, "</s>": 0.2}
    model = dl.TableModel(["a", "b"], {...: row})
    prompts = [tuple(int(b) for b in f"{i:011b}") for i in range(2000)]
    drawn = [g.best.tokens for g in dl.generate(model, prompts, "sample", max_new_tokens=1)]
    assert agrees(drawn, {(0,): 0.5, (1,): 0.3, (2,): 0.2}) > P


def test_successive_samples_are_independent(agrees):
    model = dl.TableModel(["a", "b"], {...: {"a": 0.5, "b": 0.3, "</s>": 0.2}}, bos="<s>")
    (g,) = dl.generate(model, "", f"sample(n={N})", max_new_tokens=1)
    tokens = [c.tokens[0] for c in g.candidates]
    pairs = list(zip(tokens[::2], tokens[1::2], strict=True))
    p = [0.5, 0.3, 0.2]
    assert agrees(pairs, {(i, j): p[i] * p[j] for i in range(3) for j in range(3)}) > P


def test_a_sample_is_the_same_whatever_the_number_of_samples(random_table):
    model = random_table(seed=5)
    two = dl.generate(model, "", "sample(n=2)", max_new_tokens=6)[0].candidates
    five = dl.generate(model, "", "sample(n=5)", max_new_tokens=6)[0].candidates
    assert [c.sample for c in five] == [0, 1, 2, 3, 4]
    assert two == five[:2]


def test_strategies_share_their_random_numbers_under_one_seed(random_table):
    # Common random numbers: chains of the same distribution give the same samples, chains of near distributions mostly
    # do.
    model = random_table(seed=5)

    def tokens(strategy: str) -> list[tuple[int, ...]]:
        return [c.tokens for c in dl.generate(model, "", strategy, max_new_tokens=4)[0].candidates]

    plain = tokens("sample(n=500)")
    assert tokens("min_p=1e-30 | sample(n=500)") == plain
    assert tokens("top_k=1000 | sample(n=500)") == plain
    near = tokens("temperature=0.99 | sample(n=500)")
    assert 0.9 < sum(a == b for a, b in zip(near, plain, strict=True)) / 500 < 1


def uniform(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_a_draw_inverts_the_cumulative_distribution():
    logits = torch.tensor([0.2, 0.0, 0.5, 0.3, 0.0]).log()
    numbers = uniform(1e-12, 0.19, 0.21, 0.69, 0.71, 1 - 2**-53)
    assert inverse_cdf(logits.expand(6, 5), numbers).tolist() == [0, 0, 2, 2, 3, 3]


distribution = st.lists(st.floats(-30, 30, width=32) | st.just(-math.inf), min_size=1, max_size=20).filter(
    lambda xs: max(xs) > -math.inf
)
unit = st.floats(2**-54, 1 - 2**-53) | st.sampled_from([2**-54, 0.5, 1 - 2**-53])


@given(distribution, unit)
def test_an_impossible_token_is_never_drawn(logits, u):
    token = int(inverse_cdf(torch.tensor([logits]), uniform(u))[0])
    assert 0 <= token < len(logits)
    assert logits[token] > -math.inf


@given(distribution, unit, unit)
def test_a_larger_number_never_draws_a_lower_id(logits, u, v):
    drawn = inverse_cdf(torch.tensor([logits, logits]), uniform(min(u, v), max(u, v)))
    assert drawn[0] <= drawn[1]


@given(distribution, unit)
def test_the_token_drawn_covers_the_number(logits, u):
    token = int(inverse_cdf(torch.tensor([logits]), uniform(u))[0])
    probs = torch.tensor(logits).double().softmax(0)
    assert float(probs[:token].sum()) <= u + 1e-12
    assert float(probs[: token + 1].sum()) >= u - 1e-12


def test_numbers_spread_evenly_draw_the_ids_of_a_large_flat_distribution_evenly():
    size = 151_936
    numbers = (torch.arange(N, dtype=torch.float64) + 0.4142) / N
    logits = torch.zeros(size)
    drawn = torch.cat([inverse_cdf(logits.expand(100, size), part) for part in numbers.split(100)[:20]])
    assert drawn.tolist() == [int(u * size) for u in numbers[:2000].tolist()]
