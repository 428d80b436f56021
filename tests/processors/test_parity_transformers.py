"""The same tokens and probabilities as transformers' warpers, and tests that show where they differ."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.generation.logits_process import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    LogitsProcessor,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopHLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from decodelab import EpsilonCutoff, EtaCutoff, MinP, Temperature, TopH, TopK, TopP, TypicalP
from decodelab.core.stage import StatelessProcessor

PAIRS: list[tuple[StatelessProcessor, LogitsProcessor]] = [
    *((Temperature(t), TemperatureLogitsWarper(t)) for t in (0.25, 0.7, 1.5, 10.0)),
    *((TopK(k), TopKLogitsWarper(k)) for k in (1, 5, 50, 10_000)),
    *((TopP(p), TopPLogitsWarper(p)) for p in (0.05, 0.5, 0.9, 0.99)),
    *((MinP(p), MinPLogitsWarper(p)) for p in (0.01, 0.1, 0.5, 1.0)),
    *((TypicalP(p), TypicalLogitsWarper(p)) for p in (0.1, 0.5, 0.9, 0.95)),
    *((EpsilonCutoff(e), EpsilonLogitsWarper(e)) for e in (3e-4, 0.01, 0.2, 0.9)),
    *((EtaCutoff(e), EtaLogitsWarper(e)) for e in (3e-4, 0.01, 0.2, 0.9)),
    *((TopH(h), TopHLogitsWarper(h)) for h in (0.1, 0.4, 0.9)),
]
IDS: Any = torch.empty(1, 0, dtype=torch.int64)  # the input ids, which these processors do not look at


def distributions(kind: str, size: int) -> Tensor:
    """Float32 logits [16, size] of a kind, without ties."""
    generator = torch.Generator().manual_seed(size)
    noise = torch.randn(16, size, generator=generator)
    if kind == "random":
        return 3 * noise
    if kind == "peaked":
        return noise + 12 * torch.nn.functional.one_hot(noise.argmin(-1), size)
    if kind == "flat":
        return 1e-3 * noise
    removed = torch.rand(16, size, generator=generator) < 0.7
    removed[:, 0] = False
    return (2 * noise).masked_fill(removed, -torch.inf)


@pytest.mark.parametrize("size", [2, 17, 512, 4000])
@pytest.mark.parametrize("kind", ["random", "peaked", "flat", "removed"])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=[str(p) for p, _ in PAIRS])
def test_same_tokens_and_same_distribution(ours, theirs, kind, size):
    logits = distributions(kind, size)
    # Distances from the entropy of a flat distribution differ in the ninth decimal, which float32 does not have.
    in_float64 = isinstance(ours, TypicalP) and kind == "flat"
    mine, other = ours.apply(logits, None), theirs(IDS, logits.double() if in_float64 else logits.clone()).float()
    differ = (mine.isfinite() ^ other.isfinite()).sum(-1)
    assert differ.max() == 0
    torch.testing.assert_close(mine.softmax(-1), other.softmax(-1), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=[str(p) for p, _ in PAIRS])
def test_logits_rounded_to_bfloat16_are_full_of_ties_and_agree_up_to_them(ours, theirs):
    logits = distributions("random", 512).bfloat16().float()
    assert len(logits[0].unique()) < 512
    mine, other = ours.apply(logits, None), theirs(IDS, logits.clone())
    # Sorted, because a tie leaves open which of the equal tokens stays, but not how many.
    torch.testing.assert_close(mine.softmax(-1).sort().values, other.softmax(-1).sort().values, rtol=1e-5, atol=1e-7)
    if not isinstance(ours, TopP | TopH):
        assert torch.equal(mine.isfinite(), other.isfinite())


def test_top_p_settles_ties_by_lowest_id_and_transformers_by_its_sort():
    logits = torch.zeros(1, 4)
    assert TopP(0.5).apply(logits, None).isfinite().tolist() == [[True, True, False, False]]
    theirs = TopPLogitsWarper(0.5)(IDS, logits).isfinite()[0]
    assert int(theirs.sum()) == 2
    assert theirs.tolist() != [True, True, False, False]


def test_top_p_counts_mass_in_float64_and_transformers_miscounts_a_flat_distribution_in_float32():
    logits = distributions("flat", 151_936)[:1]
    probs = logits.double().softmax(-1).sort(descending=True).values[0]
    exact = int((probs.cumsum(0) - probs < 0.5).sum())
    assert int(TopP(0.5).apply(logits, None).isfinite().sum()) == exact
    assert int(TopPLogitsWarper(0.5)(IDS, logits).isfinite().sum()) != exact


def test_typical_p_measures_distances_in_float64_and_transformers_misplaces_the_border_in_float32():
    logits = distributions("flat", 4000)
    mine = TypicalP(0.5).apply(logits, None).isfinite()
    assert torch.equal(mine, TypicalLogitsWarper(0.5)(IDS, logits.double()).isfinite())
    assert not torch.equal(mine, TypicalLogitsWarper(0.5)(IDS, logits.clone()).isfinite())


def test_a_tiny_temperature_is_greedy_here_and_overflows_in_transformers():
    logits = torch.tensor([[3.0, 1.0, 2.0]])
    assert Temperature(1e-39).apply(logits, None).softmax(-1).tolist() == [[1.0, 0.0, 0.0]]
    theirs = TemperatureLogitsWarper(1e-39)(IDS, logits)
    assert theirs.softmax(-1).isnan().any()


def test_temperature_0_is_the_limit_here_and_refused_by_transformers():
    logits = torch.tensor([[3.0, 1.0, 3.0]])
    assert Temperature(0.0).apply(logits, None).softmax(-1).tolist() == [[1.0, 0.0, 0.0]]
    with pytest.raises(ValueError, match="strictly positive"):
        TemperatureLogitsWarper(0.0)


def test_min_p_compares_logits_and_transformers_rounded_probabilities():
    # Where the cut-off is a probability that float32 cannot hold, transformers compares 0 with 0 and keeps everything.
    logits = torch.tensor([[0.0, -200.0, -math.inf]])
    assert MinP(1e-60).apply(logits, None).isfinite().tolist() == [[True, False, False]]
    assert MinPLogitsWarper(1e-60)(IDS, logits).isfinite().tolist() == [[True, True, False]]


def test_top_h_of_1_keeps_its_candidates_here_and_transformers_may_lose_the_last_to_rounding():
    logits = distributions("random", 512)
    assert (TopH(1.0).apply(logits, None).isfinite().sum(-1) == 100).all()
    assert (TopHLogitsWarper(1.0)(IDS, logits).isfinite().sum(-1) < 100).any()


def test_top_h_counts_the_possible_only_and_transformers_stops_at_an_impossible_candidate():
    # 0 log 0 is 0 here and NaN there; the tokens kept are the same, since impossible ones are removed either way.
    logits = torch.tensor([[0.0, -math.inf, 0.0, -math.inf]])
    assert TopH(1.0).apply(logits, None).isfinite().tolist() == [[True, False, True, False]]
    assert TopHLogitsWarper(1.0)(IDS, logits).isfinite().tolist() == [[True, False, True, False]]


def test_epsilon_compares_float64_probabilities_and_transformers_float32_ones():
    # 1/3 as a float64 is just below the float32 nearest to 1/3, to which transformers rounds both sides.
    logits, third = torch.zeros(1, 3).index_fill(1, torch.tensor([0]), 1e-3), float(torch.tensor(1 / 3))
    exact = logits.double().softmax(-1)[0] >= third
    assert EpsilonCutoff(third).apply(logits, None).isfinite()[0].tolist() == exact.tolist()
