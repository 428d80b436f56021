"""Stochastic beams against the exact distribution of draws without replacement; estimates against expectations."""

import math
from collections.abc import Mapping

import pytest
import torch

import decodelab as dl
from decodelab.core.errors import InvalidParameter
from decodelab.search.stochastic_beam import conditioned

Tokens = tuple[int, ...]

ROWS: Mapping[tuple[str, ...], Mapping[str, float]] = {
    (): {"a": 0.55, "b": 0.3, "</s>": 0.15},
    ("a",): {"a": 0.5, "b": 0.1, "</s>": 0.4},
    ("b",): {"a": 0.8, "</s>": 0.2},
}


def row(prefix: tuple[str, ...]) -> Mapping[str, float]:
    return ROWS.get(prefix, {"a": 0.25, "</s>": 0.75})


def in_order(distribution: Mapping[Tokens, float], k: int) -> dict[tuple[Tokens, ...], float]:
    """The distribution of k draws one after the other, each from what is left."""
    found: dict[tuple[Tokens, ...], float] = {}

    def draw(chosen: tuple[Tokens, ...], left: float, probability: float) -> None:
        if len(chosen) == min(k, len(distribution)):
            found[chosen] = probability
            return
        for sequence, p in distribution.items():
            if sequence not in chosen:
                draw((*chosen, sequence), left - p, probability * p / left)

    draw((), 1.0, 1.0)
    return found


@pytest.fixture(scope="module")
def drawn(prompts_of_one_distribution, exact_distribution):
    """3,000 draws of three different sequences of at most three tokens, and the exact distribution of one."""
    model, prompts = prompts_of_one_distribution("ab", row, 3000)
    found = dl.generate(model, prompts, "stochastic_beam(width=3)", max_new_tokens=3, max_rows=30_000, seed=3)
    return found, exact_distribution(dl.TableModel("ab", row, bos="<s>"), "temperature=1.0", 3)


def of_table(tokens: Tokens) -> Tokens:
    """Token ids without the fillers of `prompts_of_one_distribution`: its EOS is behind them."""
    return tuple(t if t < 2 else 2 for t in tokens)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_first_k_are_draws_without_replacement_in_order(drawn, agrees, k):
    found, distribution = drawn
    distribution = {of_table(s): p for s, p in distribution.items()}
    sequences = [tuple(of_table(c.tokens) for c in g.candidates[:k]) for g in found]
    assert agrees(sequences, in_order(distribution, k)) > 1e-3


def test_inclusion_probabilities_agree_within_four_standard_errors(drawn):
    found, distribution = drawn
    distribution = {of_table(s): p for s, p in distribution.items()}
    expected = dict.fromkeys(distribution, 0.0)
    for sequences, p in in_order(distribution, 3).items():
        for sequence in sequences:
            expected[sequence] += p
    for sequence, p in expected.items():
        share = sum(sequence in {of_table(c.tokens) for c in g.candidates} for g in found) / len(found)
        assert abs(share - p) <= 4 * math.sqrt(p * (1 - p) / len(found)), sequence


def test_all_three_are_different_and_ranked_by_their_perturbed_log_probability(drawn):
    for g in drawn[0][:500]:
        assert len({c.tokens for c in g.candidates}) == 3
        scores = [c.score for c in g.candidates]
        assert scores == sorted(scores, reverse=True)


# Functions of a candidate whose expectations are known from the table.
FUNCTIONS = {
    "probability of an early end": lambda c: float(len(c.tokens) == 1),
    "length": lambda c: float(len(c.tokens)),
    "probability of b": lambda c: float("b" in c.text),
    "something rare": lambda c: 100.0 * (c.text.strip() == "a b"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_estimates_are_unbiased(drawn, name):
    found, distribution = drawn
    f = FUNCTIONS[name]
    words = {0: "a", 1: "b"}

    def as_candidate(sequence: Tokens) -> dl.Candidate:
        text = " ".join(words[t] for t in sequence if t in words)
        return dl.Candidate(sequence, text, (), (), "eos", 0, 0.0)

    exact = math.fsum(p * f(as_candidate(of_table(s))) for s, p in distribution.items())
    estimates = torch.tensor([dl.stochastic_beam_estimate(g, f) for g in found], dtype=torch.float64)
    error = float(estimates.std()) / math.sqrt(len(found))
    assert abs(float(estimates.mean()) - exact) <= 4 * error
    normalised = torch.tensor([dl.stochastic_beam_estimate(g, f, normalise=True) for g in found], dtype=torch.float64)
    values = [f(c) for g in found for c in g.candidates]
    assert min(values) - 1e-12 <= float(normalised.min()) <= float(normalised.max()) <= max(values) + 1e-12


def test_weights_are_one_in_the_mean(drawn):
    totals = torch.tensor([math.fsum(dl.stochastic_beam_weights(g)) for g in drawn[0]], dtype=torch.float64)
    assert abs(float(totals.mean()) - 1) <= 4 * float(totals.std()) / math.sqrt(len(totals))


def test_a_beam_of_everything_gives_the_expectation_itself(random_table, exact_distribution):
    model = random_table(11, size=3)
    distribution = exact_distribution(model, "temperature=1.0", 3)
    (g,) = dl.generate(model, "", f"stochastic_beam(width={len(distribution) + 1})", max_new_tokens=3)
    assert {c.tokens for c in g.candidates} == set(distribution)
    assert dl.stochastic_beam_estimate(g, lambda c: len(c.tokens)) == pytest.approx(
        math.fsum(p * len(s) for s, p in distribution.items()), rel=1e-5
    )


def test_processors_shape_the_distribution_that_is_drawn_from(random_table):
    model = random_table(5)
    (g,) = dl.generate(model, "", "top_k=1 | stochastic_beam(width=4)", max_new_tokens=4)
    greedy = dl.generate(model, "", "greedy", max_new_tokens=4)[0].best
    assert [c.tokens for c in g.candidates] == [greedy.tokens]


def test_the_conditional_maximum_is_exact_where_floats_would_cancel():
    values = torch.tensor([[50.0, 49.0, -700.0, -torch.inf]], dtype=torch.float64)
    found = conditioned(values, torch.tensor([-40.0], dtype=torch.float64))[0].tolist()
    assert found[0] == -40
    # -log(e^40 - e^-50 + e^-v), in which e^-50 is nothing beside e^40.
    assert found[1] == pytest.approx(-40, abs=1e-12)
    assert found[2] == pytest.approx(-700, rel=1e-12)
    assert found[3] == -math.inf


def test_refusals(random_table):
    with pytest.raises(InvalidParameter, match=r"stochastic_beam: width must be an integer, at least 1, got 0"):
        dl.StochasticBeam(0)
    (g,) = dl.generate(random_table(1), "", "sample(n=3)", max_new_tokens=2)
    with pytest.raises(InvalidParameter, match=r"is of sample\(n=3\), which samples differently; generate with"):
        dl.stochastic_beam_weights(g)
    (g,) = dl.generate(random_table(1), "", "stochastic_beam(width=1)", max_new_tokens=2)
    with pytest.raises(InvalidParameter, match=r"width must be at least 2, got 1"):
        dl.stochastic_beam_estimate(g, lambda c: 1.0)
