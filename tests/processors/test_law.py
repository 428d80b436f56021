"""Each processor against its paper's definition, written out in plain Python over float64 probabilities."""

import math
import statistics
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import decodelab as dl

Law = list[float]
# Float32 logits cannot tell a decision nearer than this to its border; such examples are left out.
NEAR = 1e-4


def normalised(distribution: Law) -> Law:
    total = math.fsum(distribution)
    return [p / total for p in distribution]


def temperature(distribution: Law, t: float) -> Law:
    """Ackley et al. 1985: p^(1/T), normalised."""
    if t == 0:
        best = distribution.index(max(distribution))
        return [float(i == best) for i in range(len(distribution))]
    logs = [math.log(p) / t if p else -math.inf for p in distribution]
    return normalised([math.exp(x - max(logs)) for x in logs])


def top_k(distribution: Law, k: int) -> Law:
    """Fan et al. 2018: the k most probable, and what is equal to the last of them."""
    cutoff = sorted(distribution, reverse=True)[:k][-1]
    assume(all(p == cutoff or abs(p / cutoff - 1) > NEAR for p in distribution if cutoff))
    return normalised([p if p >= cutoff else 0.0 for p in distribution])


def top_p(distribution: Law, p: float) -> Law:
    """Holtzman et al. 2020, eq. 2: the smallest set of most probable tokens whose mass is at least p."""
    kept, mass = set(), 0.0
    for i in sorted(range(len(distribution)), key=lambda i: (-distribution[i], i)):
        if kept:
            assume(abs(mass - p) > NEAR)
            if mass >= p:
                break
        kept.add(i)
        mass += distribution[i]
    return normalised([q if i in kept else 0.0 for i, q in enumerate(distribution)])


def min_p(distribution: Law, p: float) -> Law:
    """Nguyen et al. 2025, section 3: at least p times the largest probability."""
    cutoff = p * max(distribution)
    assume(all(q == max(distribution) or abs(q / cutoff - 1) > NEAR for q in distribution))
    return normalised([q if q >= cutoff else 0.0 for q in distribution])


def typical_p(distribution: Law, p: float) -> Law:
    """Meister et al. 2023, eq. 9: by distance of surprise from entropy, until the mass is at least p."""
    entropy = -math.fsum(q * math.log(q) for q in distribution if q)
    distance = [abs(-math.log(q) - entropy) if q else math.inf for q in distribution]
    order = sorted(range(len(distribution)), key=lambda i: distance[i])
    mass, border = 0.0, -1.0
    for i in order:
        assume(border < 0 or distance[i] == border or abs(distance[i] - border) > NEAR)
        if border >= 0 and mass >= p - NEAR:
            assume(abs(mass - p) > NEAR)
            break
        border = distance[i]
        mass += distribution[i]
    return normalised([q if distance[i] <= border else 0.0 for i, q in enumerate(distribution)])


def far(value: float, border: float) -> None:
    """Leave out examples in which a decision is too near its border."""
    assume(abs(value - border) > NEAR * abs(border))


def at_least(distribution: Law, cutoff: float) -> Law:
    """The tokens of at least a probability, and the most probable."""
    for q in distribution:
        if q and q != max(distribution):
            far(q, cutoff)
    return normalised([q if q >= cutoff or q == max(distribution) else 0.0 for q in distribution])


def entropy_of(distribution: Law) -> float:
    return -math.fsum(q * math.log(q) for q in distribution if q)


def ranked(distribution: Law) -> list[int]:
    """The possible tokens from the most to the least probable, the equally probable by id."""
    return sorted((i for i, q in enumerate(distribution) if q), key=lambda i: (-distribution[i], i))


def only(distribution: Law, kept: set[int]) -> Law:
    return normalised([q if i in kept else 0.0 for i, q in enumerate(distribution)])


def epsilon_cutoff(distribution: Law, epsilon: float) -> Law:
    """Hewitt et al. 2022: probability at least epsilon."""
    return at_least(distribution, epsilon)


def eta_cutoff(distribution: Law, epsilon: float) -> Law:
    """Hewitt et al. 2022: probability at least min(epsilon, sqrt(epsilon) exp(-entropy))."""
    return at_least(distribution, min(epsilon, math.sqrt(epsilon) * math.exp(-entropy_of(distribution))))


def top_a(distribution: Law, a: float) -> Law:
    """BlinkDL: at least a times the squared largest probability."""
    return at_least(distribution, a * max(distribution) ** 2)


def p_less(distribution: Law, _: None) -> Law:
    """Tan et al. 2025: at least the sum of squared probabilities."""
    return at_least(distribution, math.fsum(q * q for q in distribution))


def top_n_sigma(distribution: Law, n: float) -> Law:
    """Tang et al. 2024: at most n standard deviations of the logits below the largest."""
    logits = [math.log(q) for q in distribution if q]
    deviation = statistics.pstdev(logits)
    for x in logits:
        assume(x == max(logits) or abs(max(logits) - x - n * deviation) > NEAR)
    return normalised([q if q and max(logits) - math.log(q) <= n * deviation else 0.0 for q in distribution])


def min_k(distribution: Law, tau: float) -> Law:
    """Ding et al. 2026, algorithm 1: ranks up to the largest relative drop over rank, at least floor(tau / range)."""
    order = ranked(distribution)
    logits = [math.log(distribution[i]) for i in order]
    if len(order) == 1:
        return distribution
    spread = logits[0] - logits[-1]
    drops = [(a - b) / spread / rank for rank, (a, b) in enumerate(pairwise(logits), 1)]
    cliff = max(range(len(drops)), key=lambda i: drops[i])
    assume(all(i == cliff or abs(drops[cliff] - d) > NEAR for i, d in enumerate(drops)))
    far(tau / spread, round(tau / spread))
    return only(distribution, set(order[: max(cliff + 1, int(tau / spread))]))


def top_h(distribution: Law, h: float) -> Law:
    """Baghaei Potraghloo et al. 2025: the most probable while their part of the entropy is at most h of the whole."""
    order = ranked(distribution)
    whole, part, kept = entropy_of(distribution), 0.0, set(order[:1])
    for i in order:
        part -= distribution[i] * math.log(distribution[i])
        if h < 1:
            assume(i == order[0] or abs(part - h * whole) > NEAR * whole)
            if i != order[0] and part > h * whole:
                break
        kept.add(i)
    return only(distribution, kept)


def tfs_z(distribution: Law, z: float) -> Law:
    """Bricken 2019: cut where the running share of absolute second differences exceeds z."""
    order = ranked(distribution)
    p = [distribution[i] for i in order]
    curvature = [abs(a - 2 * b + c) for a, b, c in zip(p, p[1:], p[2:], strict=False)]
    total = math.fsum(curvature)
    assume(len(p) <= 2 or total > 1e-3)
    running = 0.0
    for rank, bend in enumerate(curvature):
        running += bend / total
        assume(z == 1 or abs(running - z) > NEAR)
        if rank and running > z and z < 1:
            return only(distribution, set(order[:rank]))
    return distribution


def rank_parity(distribution: Law, parity: str) -> Law:
    """Ranks 1, 3, 5, ... or 2, 4, 6, ..."""
    order = ranked(distribution)
    return only(distribution, set(order[::2] if parity == "odd" else order[1::2] or order))


def dynamic_temperature(distribution: Law, spread: float) -> Law:
    """llama.cpp: a temperature within `spread` of 1 by entropy relative to that of a flat distribution."""
    n = sum(q > 0 for q in distribution)
    relative = entropy_of(distribution) / math.log(n) if n > 1 else 0.0
    low, high = max(0.0, 1 - spread), 1 + spread
    return temperature(distribution, low + (high - low) * relative)


REFERENCES = {
    f.__name__: f
    for f in (
        temperature,
        top_k,
        top_p,
        min_p,
        typical_p,
        epsilon_cutoff,
        eta_cutoff,
        top_a,
        p_less,
        top_n_sigma,
        min_k,
        top_h,
        tfs_z,
        rank_parity,
        dynamic_temperature,
    )
}

logits = st.lists(st.integers(-3000, 3000).map(lambda x: x / 256), min_size=1, max_size=24, unique=True)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.sampled_from([0.0, 0.25, 0.7, 1.0, 1.5, 4.0]) | st.floats(0.1, 5),
    "top_k": st.integers(1, 26),
    "top_p": st.sampled_from([0.1, 0.5, 0.9, 1.0]) | st.floats(0.01, 1),
    "min_p": st.sampled_from([0.05, 0.1, 1.0]) | st.floats(0.001, 1),
    "typical_p": st.sampled_from([0.2, 0.9, 0.95]) | st.floats(0.01, 0.99),
    "epsilon_cutoff": st.sampled_from([3e-4, 0.05]) | st.floats(1e-4, 0.9),
    "eta_cutoff": st.sampled_from([3e-4, 0.05]) | st.floats(1e-4, 0.9),
    "top_a": st.sampled_from([0.2, 1.0]) | st.floats(0.001, 1),
    "p_less": st.none(),
    "top_n_sigma": st.sampled_from([0.5, 1.0, 2.0]) | st.floats(0.01, 4),
    "min_k": st.sampled_from([0.0, 3.0]) | st.floats(0.01, 40),
    "top_h": st.sampled_from([0.4, 0.7, 1.0]) | st.floats(0.01, 1),
    "tfs_z": st.sampled_from([0.5, 0.95, 1.0]) | st.floats(0.01, 0.99),
    "rank_parity": st.sampled_from(["odd", "even"]),
    "dynamic_temperature": st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 0.9),
}
# Left out of chains: what looks at logits or counts tokens, where the reference's probability has underflowed to 0.
CHAINED = sorted(set(VALUES) - {"top_n_sigma", "min_k", "tfs_z", "rank_parity", "dynamic_temperature"})
stage = st.sampled_from(CHAINED).flatmap(lambda name: st.tuples(st.just(name), VALUES[name]))


def as_json(name: str, value: Any) -> Any:
    return name if value is None else {name: value}


def distribution_of(values: list[float]) -> Law:
    return normalised([math.exp(x - max(values)) for x in values])


@pytest.mark.parametrize("name", REFERENCES)
@given(data=st.data())
def test_every_processor_alone_gives_its_papers_distribution(name, data):
    values = data.draw(logits)
    value = data.draw(VALUES[name])
    expected = REFERENCES[name](distribution_of(values), value)
    assert dl.distribution(values, [as_json(name, value)]).tolist() == pytest.approx(expected, rel=1e-3, abs=1e-6)


@given(logits, st.lists(stage, min_size=2, max_size=4))
def test_a_chain_is_the_composition_of_its_stages_in_the_order_written(values, chain):
    expected = distribution_of(values)
    for name, value in chain:
        expected = REFERENCES[name](expected, value)
    got = dl.distribution(values, [as_json(name, value) for name, value in chain])
    assert got.tolist() == pytest.approx(expected, rel=2e-3, abs=1e-6)


def test_the_equally_probable_are_treated_by_rule():
    tied = torch.log(torch.tensor([0.25, 0.25, 0.25, 0.25]))

    def kept(strategy: str) -> list[int]:
        return (dl.distribution(tied, strategy) > 0).nonzero()[:, 0].tolist()

    assert kept("temperature=0") == [0]  # lowest id
    assert kept("top_k=2") == [0, 1, 2, 3]  # the cut-off is a probability
    assert kept("top_p=0.5") == [0, 1]  # the smallest set, lowest ids
    assert kept("min_p=1.0") == [0, 1, 2, 3]
    assert kept("typical_p=0.5") == [0, 1, 2, 3]  # the cut-off is a distance
    assert kept("epsilon_cutoff=0.5") == [0, 1, 2, 3]  # none reaches it: all that are equal to the most probable
    assert kept("eta_cutoff=0.9") == [0, 1, 2, 3]
    assert kept("top_a=1.0") == [0, 1, 2, 3]
    assert kept("p_less") == [0, 1, 2, 3]
    assert kept("top_n_sigma=1.0") == [0, 1, 2, 3]
    assert kept("min_k=0") == kept("min_k=3") == [0, 1, 2, 3]
    assert kept("top_h=0.5") == [0, 1]  # by rank, lowest ids
    assert kept("tfs_z=0.5") == [0]  # a straight curve: half of n - 2 ranks
    assert kept("rank_parity=odd") == [0, 2]
    assert kept("rank_parity=even") == [1, 3]


def test_top_p_of_a_flat_distribution_over_a_large_vocabulary_keeps_the_right_number():
    size = 151_936  # Qwen's vocabulary
    flat = torch.zeros(size)
    assert int((dl.distribution(flat, "top_p=0.9") > 0).sum()) == math.ceil(0.9 * size)


@pytest.mark.parametrize("strategy", ["p_less", "top_a=1.0", "top_n_sigma=1.0", "min_k", "epsilon_cutoff=0.1"])
def test_a_cut_off_on_probability_keeps_all_of_a_flat_distribution_over_a_large_vocabulary(strategy):
    # In float32 the rounded sum of 151,936 squares lies above the square it should be.
    assert bool((dl.distribution(torch.full((151_936,), 0.1), strategy) > 0).all())


@given(logits, st.floats(0.05, 50))
def test_a_temperature_before_min_k_without_a_least_number_changes_nothing_about_which_tokens_it_keeps(values, t):
    given = torch.tensor([values]).double()
    assume(len(values) < 2 or min(a - b for a, b in pairwise(sorted(values, reverse=True))) > 0.01)
    drops = [(a - b) / rank for rank, (a, b) in enumerate(pairwise(sorted(values, reverse=True)), 1)]
    assume(all(abs(d - max(drops)) > NEAR for d in sorted(drops)[:-1]))
    kept = [dl.MinK(0.0).apply(x.float(), None).isfinite().tolist() for x in (given, given / t)]
    assert kept[0] == kept[1]


def test_a_distribution_of_impossible_tokens_stays_within_the_possible():
    values = torch.tensor([-torch.inf, 1.0, -torch.inf, 0.0])
    for strategy in ("temperature=0.5", "top_k=3", "top_p=0.99", "min_p=0.001", "typical_p=0.99", "tfs_z=0.5", "min_k"):
        distribution = dl.distribution(values, strategy)
        assert distribution[[0, 2]].tolist() == [0.0, 0.0]
        assert float(distribution.sum()) == pytest.approx(1, abs=1e-6)
