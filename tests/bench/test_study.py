"""A simulated study: answers with a known truth go into a journal, and what its tables say is right as often as stated.

A journal holds many independent repetitions. Bounds allow for three Monte Carlo standard errors,
sqrt(p (1 - p) / repetitions); the rates of more repetitions are in docs/bench-statistics.md.
"""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import norm

from decodelab.bench.stats.comparison import Results
from decodelab.bench.stats.pairs import pairs_of
from decodelab.bench.stats.winner import winner
from decodelab.metrics.power import Spread, equivalence_sample_size, sample_size

STRATEGIES = 5
TRUTH = {"rarely right": 0.06}
REPEATED = 5
KINDS = [
    "right or wrong",
    "rarely right",
    "thirds",
    "continuous",
    "samples",
    "two of a prompt",
    "repeated",
    "unfinished",
]


def latent(rng: np.random.Generator, shape: tuple[int, ...], shared: float, group: int = 1) -> np.ndarray:
    """Normal values [repetitions, strategies, items, samples]; items, and groups of items, are hard or easy for all."""
    repetitions, _, items, _ = shape
    item = rng.standard_normal((repetitions, 1, items // group, 1)).repeat(group, axis=2)
    return math.sqrt(shared) * item + math.sqrt(1 - shared) * rng.standard_normal(shape)


def binary(z: np.ndarray, p: Sequence[float]) -> np.ndarray:
    """Right or wrong; p is the mean by strategy."""
    return (z < norm.ppf(p)[:, None, None]).astype(float)


def thirds(rng: np.random.Generator, z: np.ndarray, p: Sequence[float]) -> np.ndarray:
    """Shares of one, two or three paths, as in the graph task; p is the mean by strategy."""
    paths = rng.choice(3, size=(z.shape[0], 1, z.shape[2], 1), p=(0.7, 0.2, 0.1)) + 1
    each = math.sqrt(0.5) * z[..., None] + math.sqrt(0.5) * rng.standard_normal((*z.shape, 3))
    found = each < norm.ppf(p)[:, None, None, None]
    return (found * (np.arange(3) < paths[..., None])).sum(-1) / paths


def continuous(z: np.ndarray, p: Sequence[float]) -> np.ndarray:
    """Any number between 0 and 1; p is the mean by strategy."""
    return norm.cdf(z + math.sqrt(2) * norm.ppf(p)[:, None, None])


def rates_of_equals(told, kind: str, repetitions: int) -> dict[str, float]:
    """How often the decisions are wrong, and the intervals right, where all strategies are equal."""
    rng = np.random.default_rng(1)
    items, samples, group = (100, 1, 2) if kind == "two of a prompt" else (50, 3 if kind == "samples" else 1, 1)
    truth = TRUTH.get(kind, 0.7)
    p = [truth] * STRATEGIES
    z = latent(rng, (repetitions, STRATEGIES, items, samples), 0.6, group)
    scores = thirds(rng, z, p) if kind == "thirds" else continuous(z, p) if kind == "continuous" else binary(z, p)
    if kind == "unfinished":
        scores[rng.random(scores.shape) < 0.1] = np.nan
    prompts = [str(i // group) for i in range(items)]
    if kind == "repeated":
        # Strategies that draw nothing: to a prompt that is asked again, each gives its one answer again.
        scores, prompts = scores.repeat(REPEATED, axis=2), [str(i // REPEATED) for i in range(items * REPEATED)]
    results: Results = told(scores, prompts=prompts)
    apart = {w.model for w in results.winners if w.worse}
    baseline = {row.model for row in results.cells if row.p is not None and row.p <= 0.05}
    means = [row.score for row in results.cells if row.score is not None]
    differences = [row.difference for row in results.cells if row.difference is not None]
    assert (len(results.winners), len(means)) == (repetitions, repetitions * STRATEGIES)
    return {
        "wins": sum(len(w.worse) == STRATEGIES - 1 for w in results.winners) / repetitions,
        "significantly worse": len(apart) / repetitions,
        "from the baseline": len(baseline) / repetitions,
        "any": len(apart | baseline) / repetitions,
        "mean covered": float(np.mean([e.low <= truth <= e.high for e in means])),
        "all differences covered": float(
            np.mean(np.reshape([e.low <= 0 <= e.high for e in differences], (repetitions, -1)).all(1))
        ),
    }


def slack(p: float, repetitions: int) -> float:
    return 3 * math.sqrt(p * (1 - p) / repetitions)


def check_rates(rates: dict[str, float], repetitions: int) -> None:
    assert rates["wins"] <= rates["significantly worse"] <= 0.05 + slack(0.05, repetitions)
    assert rates["any"] <= 0.05 + slack(0.05, repetitions)
    # An interval of so few different scores as "rarely right" has holds the truth more often than it says.
    assert rates["mean covered"] > 0.93 - slack(0.07, repetitions)
    assert rates["all differences covered"] > 0.95 - slack(0.05, repetitions)


@pytest.mark.parametrize("kind", ["thirds", "two of a prompt", "repeated"])
def test_equal_strategies_are_rarely_found_different(told, kind):
    check_rates(rates_of_equals(told, kind, 30), 30)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_error_rates_are_those_that_are_stated(told, kind):
    check_rates(rates_of_equals(told, kind, 400), 400)


def rates_of_finding(told, strategies: int, better: float, repetitions: int) -> tuple[float, float]:
    """How often one better strategy wins, and is better than a given other, with the items that should do in 80 %."""
    rng = np.random.default_rng(2)
    p = [0.5 + better] + [0.5] * (strategies - 1)
    pilot = binary(latent(rng, (1, 2, 200_000, 1), 0.6), p[:2])[0, :, :, 0]
    noise = Spread(float((pilot[0] - pilot[1]).var()))
    pairs = strategies * (strategies - 1) / 2
    items = sample_size(better, noise, alpha=0.05 / pairs, step=1)
    scores = binary(latent(rng, (repetitions, strategies, items, 1), 0.6), p)
    results: Results = told(scores)
    wins = sum(w.best == "s0" and len(w.worse) == strategies - 1 for w in results.winners) / repetitions
    worse = sum(w.best == "s0" and "s1" in w.worse for w in results.winners) / repetitions
    return wins, worse


def test_a_better_strategy_is_found_as_often_as_its_sample_size_promises(told):
    wins, _ = rates_of_finding(told, 2, 0.25, 80)
    assert abs(wins - 0.8) < slack(0.8, 80)


@pytest.mark.slow
@pytest.mark.parametrize(("strategies", "better"), [(2, 0.15), (2, 0.3), (5, 0.2)])
def test_power_is_what_is_promised(told, strategies, better):
    wins, worse = rates_of_finding(told, strategies, better, 300)
    assert worse > 0.8 - slack(0.8, 300)
    assert wins <= worse
    if strategies == 2:
        assert wins == pytest.approx(0.8, abs=slack(0.8, 300))


MARGIN = 0.05
LOSSES = ["rare", "both ways", "continuous", "noisy winner", "repeated"]


def scores_of_a_loss(kind: str, loss: float, items: int, repetitions: int) -> np.ndarray:
    """Scores of the best strategy, s0, of one that loses so much to it, s1, and of others that lose more."""
    rng = np.random.default_rng(3)
    best = (rng.random((repetitions, items)) < 0.7).astype(float)
    if kind == "rare":
        # It is never better, and worse on a few items: what may go unseen.
        best[:] = 1
        worse = (rng.random(best.shape) >= loss).astype(float)
    elif kind == "continuous":
        best, worse = (rng.beta(8, 2, best.shape), rng.beta(8, 2, best.shape))
        worse *= 1 - loss / 0.8
    else:
        change = rng.random(best.shape)
        fresh = (rng.random(best.shape) < 0.7 - loss / 0.3).astype(float)
        worse = np.where(change < 0.3, fresh, best)
    others = [(rng.random(best.shape) < 0.5).astype(float)]
    if kind == "noisy winner":
        # As good as the best, on other items, so that it often has the highest mean.
        others.append((rng.random(best.shape) < 0.7).astype(float))
    found = np.stack([best, worse, *others], axis=1)[..., None]
    return found.repeat(REPEATED, axis=2) if kind == "repeated" else found


def rate_of_as_good(told, kind: str, loss: float, items: int, repetitions: int) -> float:
    """How often s1 is called as good as all others."""
    scores = scores_of_a_loss(kind, loss, items, repetitions)
    if kind == "repeated":
        results: Results = told(scores, prompts=[str(i // REPEATED) for i in range(scores.shape[2])], margin=MARGIN)
        winners = list(results.winners)
    else:
        # Without a journal, which the statistics do not know of.
        tables = [{f"s{i}": row[:, 0] for i, row in enumerate(table)} for table in scores]
        winners = [winner("task", "model", table, pairs_of(table), MARGIN) for table in tables]
    assert len(winners) == repetitions
    return sum("s1" in w.as_good for w in winners if w is not None) / repetitions


@pytest.mark.parametrize("kind", ["rare", "repeated"])
def test_what_loses_more_than_the_margin_is_rarely_called_as_good(told, kind):
    assert rate_of_as_good(told, kind, MARGIN * 1.01, 60, 40) <= 0.05 + slack(0.05, 40)


@pytest.mark.slow
@pytest.mark.parametrize("items", [30, 60, 120, 400])
@pytest.mark.parametrize("kind", [kind for kind in LOSSES if kind != "repeated"])
def test_what_loses_more_than_the_margin_is_called_as_good_in_at_most_5_percent(told, kind, items):
    assert rate_of_as_good(told, kind, MARGIN * 1.01, items, 400) <= 0.05 + slack(0.05, 400)


@pytest.mark.slow
def test_what_loses_nothing_is_called_as_good_as_often_as_its_sample_size_promises(told):
    pilot = scores_of_a_loss("both ways", 0.0, 200_000, 1)[0, :, :, 0]
    noise = Spread(float((pilot[0] - pilot[1]).var()))
    items = equivalence_sample_size(0.0, MARGIN, noise, alpha=0.05 / 3)
    assert rate_of_as_good(told, "both ways", 0.0, items, 300) == pytest.approx(0.8, abs=slack(0.8, 300))
