"""Adaptive weighted rejection: the law of one token and its weight, of whole texts, and what it asks its checker."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import decodelab as dl
from decodelab.core.errors import EmptySupport, InvalidParameter
from decodelab.search.awrs import draw_accepted

PROBS = [0.35, 0.25, 0.15, 0.1, 0.08, 0.05, 0.02]


def draws(accepted: set[int], checks: int, runs: int = 4000) -> tuple[Counter[int], dict[int, float], float]:
    """How often each token came, the mean of its weights over all runs, and the standard error of the mean weight."""
    rng = np.random.default_rng(0)
    found = draw_accepted(
        torch.tensor([PROBS]).log().expand(runs, -1),
        lambda _, tokens: [t in accepted for t in tokens.tolist()],
        lambda _, rows: torch.from_numpy(rng.random(len(rows))),
        checks,
    )
    weights = found.log_weights.exp()
    sums = {t: float(weights[found.tokens == t].sum()) / runs for t in range(len(PROBS))}
    return Counter(t for t in found.tokens.tolist() if t >= 0), sums, float(weights.std()) / math.sqrt(runs)


@pytest.mark.parametrize("accepted", [{0}, {6}, {1, 3, 5}, {4, 6}, set(range(7))], ids=str)
def test_a_token_has_the_local_law_and_its_weight_is_the_accepted_mass(accepted):
    counts, weighted, error = draws(accepted, checks=7)
    mass = math.fsum(PROBS[t] for t in accepted)
    assert set(counts) == accepted
    if len(accepted) > 1:
        expected = [4000 * PROBS[t] / mass for t in sorted(accepted)]
        assert stats.chisquare([counts[t] for t in sorted(accepted)], expected).pvalue > 1e-3
    # Properly weighted: E[weight [x = a]] = p(a), so E[weight] is the mass.
    assert math.fsum(weighted.values()) == pytest.approx(mass, abs=4 * error + 1e-6)
    for token in accepted:
        assert weighted[token] == pytest.approx(PROBS[token], abs=5 * max(error, 0.002))


@pytest.mark.parametrize("checks", [2, 3, 4])
def test_a_limit_on_the_checks_loses_draws_and_makes_no_weight_biased(checks):
    accepted = {1, 4, 6}
    counts, weighted, error = draws(accepted, checks, runs=8000)
    assert sum(counts.values()) < 8000
    for token in accepted:
        assert weighted[token] == pytest.approx(PROBS[token], abs=5 * error)


def test_of_likely_tokens_few_are_checked_and_none_twice():
    asked: list[tuple[int, int]] = []

    def accepts(rows: torch.Tensor, tokens: torch.Tensor) -> list[bool]:
        asked.extend(zip(rows.tolist(), tokens.tolist(), strict=True))
        return [token % 2 == 0 for token in tokens.tolist()]

    logits = torch.cat([torch.tensor([[9.0, 9.0, 8.0]]), torch.full((1, 5_000), -3.0)], dim=1).expand(50, -1)
    found = draw_accepted(logits, accepts, lambda i, rows: ((rows + 1) / 51 + 0.37 * i).double() % 1, 100)
    assert (found.tokens % 2 == 0).all()
    assert len(asked) == len(set(asked)) < 50 * 4


LETTERS = {
    (): {"a": 0.5, "b": 0.4, "</s>": 0.1},
    "a": {"a": 0.6, "b": 0.1, "</s>": 0.3},
    "b": {"a": 0.3, "b": 0.5, "</s>": 0.2},
}
MODEL = dl.TableModel(["a", "b"], LETTERS, bos="<s>", separator="")
LIMIT = 4


def one_b_at_the_end(text: str) -> Any:
    if text.count("b") > 1 or "b" in text[:-1]:
        return "invalid"
    return "complete" if text.endswith("b") else "prefix"


def conditioned() -> dict[tuple[int, ...], float]:
    """The distribution given acceptance: complete at EOS, not invalid at the limit."""
    allowed = {"eos": ("complete",), "length": ("prefix", "complete")}
    right = {
        o.tokens: math.exp(o.logprob)
        for o in MODEL.enumerate("", LIMIT)
        if one_b_at_the_end(MODEL.vocab.decode(o.tokens)) in allowed[o.reason]
    }
    return {tokens: p / math.fsum(right.values()) for tokens, p in right.items()}


def drawn(stage: dl.AWRS, runs: int) -> list[tuple[int, ...]]:
    """One sequence a run: a candidate drawn by its share of the weight."""
    engine, rng = dl.Engine(MODEL, max_rows=8192), np.random.default_rng(0)
    for seed in range(runs):
        engine.submit("", stage, max_new_tokens=LIMIT, seed=seed)
    found = []
    for generation in engine.run():
        assert isinstance(generation, dl.Generation), generation
        shares = np.exp([c.score for c in generation.candidates])
        assert shares.sum() == pytest.approx(1, abs=1e-9)
        found.append(generation.candidates[rng.choice(len(shares), p=shares / shares.sum())].tokens)
    return found


def shares(generation: dl.Generation) -> dict[tuple[int, ...], float]:
    """The share of the weight that each sequence has."""
    found: dict[tuple[int, ...], float] = {}
    for c in generation.candidates:
        found[c.tokens] = found.get(c.tokens, 0.0) + math.exp(c.score)
    return found


@pytest.mark.parametrize(("threshold", "checks"), [(0.0, 100), (1.0, 2)])
def test_texts_have_the_distribution_given_that_the_checker_accepts_them(agrees, threshold, checks):
    found = drawn(dl.AWRS(one_b_at_the_end, particles=30, checks=checks, threshold=threshold), 80)
    assert agrees(found, conditioned()) > 1e-3


def test_one_particle_has_the_distribution_of_a_mask_and_no_other(agrees):
    sequences = drawn(dl.AWRS(one_b_at_the_end, particles=1), 600)
    assert agrees(sequences, conditioned()) < 1e-6
    masked = {(1, 2): 0.4 / 0.9, (0, 1, 2): 0.5 / 0.9 * 0.1 / 0.7}
    masked[(0, 0, 1, 2)] = 0.5 / 0.9 * 0.6 / 0.7 * 0.1 / 0.7
    masked[(0, 0, 0, 1)] = 0.5 / 0.9 * (0.6 / 0.7) ** 2 * 0.1 / 0.7
    masked[(0, 0, 0, 0)] = 0.5 / 0.9 * (0.6 / 0.7) ** 3
    assert agrees(sequences, masked) > 1e-3


def test_the_shares_of_many_particles_come_near_the_exact_ones():
    (g,) = dl.generate(MODEL, "", dl.AWRS(one_b_at_the_end, particles=2000), max_new_tokens=LIMIT)
    assert shares(g) == pytest.approx(conditioned(), abs=0.05)


def test_where_nothing_is_rejected_it_is_sampling_token_for_token():
    (g,) = dl.generate(MODEL, "", dl.AWRS(lambda text: "complete", particles=40), max_new_tokens=6, seed=3)
    (plain,) = dl.generate(MODEL, "", "sample(n=40)", max_new_tokens=6, seed=3)
    counts = Counter(c.tokens for c in plain.candidates)
    assert shares(g) == pytest.approx({t: n / 40 for t, n in counts.items()})


def test_a_prompt_without_a_valid_text_fails_alone():
    engine = dl.Engine(MODEL)
    for prompt in ("a", "b"):
        engine.submit(prompt, dl.AWRS(lambda text: "invalid" if text[0] == "a" else "complete"), max_new_tokens=3)
    failed, found = sorted(engine.run(), key=lambda outcome: outcome.index)
    assert isinstance(failed, dl.Failed)
    assert isinstance(failed.error, EmptySupport)
    assert str(failed.error).endswith("found no text; raise particles or checks")
    assert isinstance(found, dl.Generation)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("awrs(checker=perl)", "awrs: checker must be one of python, linted_python, got perl"),
        ("awrs(checker=python, particles=0)", "awrs: particles must be an integer, at least 1, got 0"),
        ("awrs(checker=python, checks=1)", "awrs: checks must be an integer, at least 2, got 1"),
        ("awrs(checker=python, threshold=2)", "awrs: threshold must be in [0, 1], got 2"),
    ],
)
def test_what_means_nothing_is_refused(text, message):
    with pytest.raises(InvalidParameter) as error:
        dl.parse(text)
    assert str(error.value).startswith(message)
