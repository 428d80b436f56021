"""Entropy, surprise, rank, and what a stage removes, against sums written out."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import decodelab as dl
from decodelab.metrics.distribution import entropy_bits, kept, mass_removed, rank, surprise_bits

rows = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=8)


def test_a_fair_choice_among_2_to_the_n_has_n_bits():
    assert entropy_bits(torch.zeros(3, 1024)).tolist() == pytest.approx([10.0] * 3)


def test_certainty_has_no_entropy_and_no_surprise():
    certain = torch.tensor([0.0, -torch.inf, -torch.inf])
    assert entropy_bits(certain).item() == 0.0
    assert surprise_bits(certain, torch.tensor(0)).item() == 0.0


def test_what_cannot_happen_is_infinitely_surprising():
    assert surprise_bits(torch.tensor([0.0, -torch.inf]), torch.tensor(1)).item() == math.inf


@given(rows)
def test_entropy_is_the_mean_surprise(values):
    logits = torch.tensor(values)
    every = torch.arange(len(values))
    surprises = surprise_bits(logits.expand(len(values), -1), every)
    mean = (logits.double().softmax(-1) * surprises).sum().item()
    assert entropy_bits(logits).item() == pytest.approx(mean, abs=1e-9)


@given(rows)
def test_ranks_are_the_places_in_a_stable_sort(values):
    logits = torch.tensor(values)
    order = sorted(range(len(values)), key=lambda i: (-logits[i].item(), i))
    ranks = rank(logits.expand(len(values), -1), torch.tensor(order))
    assert ranks.tolist() == list(range(1, len(values) + 1))


@given(rows, st.floats(0.01, 1.0))
def test_what_is_kept_and_what_is_removed_make_up_the_whole(values, p):
    before = torch.tensor([values])
    after = dl.TopP(p).apply(before, None)
    distribution = before.double().softmax(-1)[0]
    survivors = [i for i in range(len(values)) if after[0, i] > -torch.inf]
    assert kept(after).item() == len(survivors)
    assert mass_removed(before, after).item() == pytest.approx(1 - distribution[survivors].sum().item(), abs=1e-12)


def test_what_was_removed_before_is_not_removed_again():
    before = torch.tensor([0.5, 0.5, 0.0]).log()
    assert mass_removed(before, before).item() == 0.0


def test_leading_dimensions_are_kept():
    logits = torch.zeros(2, 3, 4)
    assert entropy_bits(logits).shape == kept(logits).shape == mass_removed(logits, logits).shape == (2, 3)
    tokens = torch.zeros(2, 3, dtype=torch.int64)
    assert rank(logits, tokens).shape == surprise_bits(logits, tokens).shape == (2, 3)
