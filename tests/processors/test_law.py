"""Each processor against its paper's definition, written out in plain Python over float64 probabilities."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import decodelab as dl

Law = list[float]
# Float32 logits cannot tell a decision nearer than this to its border; such examples are left out.
NEAR = 1e-4


def normalised(law: Law) -> Law:
    total = math.fsum(law)
    return [p / total for p in law]


def temperature(law: Law, t: float) -> Law:
    """Ackley et al. 1985: p^(1/T), normalised."""
    if t == 0:
        best = law.index(max(law))
        return [float(i == best) for i in range(len(law))]
    logs = [math.log(p) / t if p else -math.inf for p in law]
    return normalised([math.exp(x - max(logs)) for x in logs])


def top_k(law: Law, k: int) -> Law:
    """Fan et al. 2018: the k most probable, and what is equal to the last of them."""
    cutoff = sorted(law, reverse=True)[:k][-1]
    assume(all(p == cutoff or abs(p / cutoff - 1) > NEAR for p in law if cutoff))
    return normalised([p if p >= cutoff else 0.0 for p in law])


def top_p(law: Law, p: float) -> Law:
    """Holtzman et al. 2020, eq. 2: the smallest set of most probable tokens whose mass is at least p."""
    kept, mass = set(), 0.0
    for i in sorted(range(len(law)), key=lambda i: (-law[i], i)):
        if kept:
            assume(abs(mass - p) > NEAR)
            if mass >= p:
                break
        kept.add(i)
        mass += law[i]
    return normalised([q if i in kept else 0.0 for i, q in enumerate(law)])


def min_p(law: Law, p: float) -> Law:
    """Nguyen et al. 2025, section 3: at least p times the largest probability."""
    cutoff = p * max(law)
    assume(all(q == max(law) or abs(q / cutoff - 1) > NEAR for q in law))
    return normalised([q if q >= cutoff else 0.0 for q in law])


def typical_p(law: Law, p: float) -> Law:
    """Meister et al. 2023, eq. 9: by distance of surprise from entropy, until the mass is at least p."""
    entropy = -math.fsum(q * math.log(q) for q in law if q)
    distance = [abs(-math.log(q) - entropy) if q else math.inf for q in law]
    order = sorted(range(len(law)), key=lambda i: distance[i])
    mass, border = 0.0, -1.0
    for i in order:
        assume(border < 0 or distance[i] == border or abs(distance[i] - border) > NEAR)
        if border >= 0 and mass >= p - NEAR:
            assume(abs(mass - p) > NEAR)
            break
        border = distance[i]
        mass += law[i]
    return normalised([q if distance[i] <= border else 0.0 for i, q in enumerate(law)])


REFERENCES = {f.__name__: f for f in (temperature, top_k, top_p, min_p, typical_p)}

logits = st.lists(st.integers(-3000, 3000).map(lambda x: x / 256), min_size=1, max_size=24, unique=True)
VALUES: dict[str, st.SearchStrategy[float]] = {
    "temperature": st.sampled_from([0.0, 0.25, 0.7, 1.0, 1.5, 4.0]) | st.floats(0.1, 5),
    "top_k": st.integers(1, 26),
    "top_p": st.sampled_from([0.1, 0.5, 0.9, 1.0]) | st.floats(0.01, 1),
    "min_p": st.sampled_from([0.05, 0.1, 1.0]) | st.floats(0.001, 1),
    "typical_p": st.sampled_from([0.2, 0.9, 0.95]) | st.floats(0.01, 0.99),
}
stage = st.sampled_from(sorted(VALUES)).flatmap(lambda name: st.tuples(st.just(name), VALUES[name]))


def law_of(values: list[float]) -> Law:
    return normalised([math.exp(x - max(values)) for x in values])


@pytest.mark.parametrize("name", REFERENCES)
@given(data=st.data())
def test_every_processor_alone_gives_its_papers_law(name, data):
    values = data.draw(logits)
    value = data.draw(VALUES[name])
    expected = REFERENCES[name](law_of(values), value)
    assert dl.distribution(values, [{name: value}]).tolist() == pytest.approx(expected, rel=1e-3, abs=1e-6)


@given(logits, st.lists(stage, min_size=2, max_size=4))
def test_a_chain_is_the_composition_of_its_stages_in_the_order_written(values, chain):
    expected = law_of(values)
    for name, value in chain:
        expected = REFERENCES[name](expected, value)
    got = dl.distribution(values, [{name: value} for name, value in chain])
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


def test_top_p_of_a_flat_law_over_a_large_vocabulary_keeps_the_right_number():
    size = 151_936  # Qwen's vocabulary
    flat = torch.zeros(size)
    assert int((dl.distribution(flat, "top_p=0.9") > 0).sum()) == math.ceil(0.9 * size)


def test_a_law_of_impossible_tokens_stays_within_the_possible():
    values = torch.tensor([-torch.inf, 1.0, -torch.inf, 0.0])
    for strategy in ("temperature=0.5", "top_k=3", "top_p=0.99", "min_p=0.001", "typical_p=0.99"):
        law = dl.distribution(values, strategy)
        assert law[[0, 2]].tolist() == [0.0, 0.0]
        assert float(law.sum()) == pytest.approx(1, abs=1e-6)
