"""Worked examples from textbooks and courses, with their published numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import decodelab as dl

LOGITS = [3.0, 1.0, 0.5, 0.2]


@pytest.mark.parametrize(
    ("strategy", "published"),
    [
        ("temperature=1.0", [0.782, 0.106, 0.064, 0.048]),
        ("temperature=0.5", [0.972, 0.018, 0.007, 0.004]),
        ("temperature=2.0", [0.526, 0.194, 0.151, 0.130]),
        ("top_p=0.9", [0.821, 0.111, 0.067, 0.0]),
    ],
)
def test_softmax_temperature_and_nucleus_of_four_logits(strategy, published):
    assert dl.distribution(LOGITS, strategy).tolist() == pytest.approx(published, abs=5e-4)


def test_top_p_keeps_the_token_that_crosses_p():
    # .782 + .106 = .888 is short of .9: the third token crosses it and stays.
    assert dl.TopP(0.9).apply(torch.tensor([LOGITS]), None).isfinite().tolist() == [[True, True, True, False]]
    assert dl.TopP(0.88).apply(torch.tensor([LOGITS]), None).isfinite().tolist() == [[True, True, False, False]]


def test_the_order_of_temperature_and_top_p_changes_the_result():
    flat_first = dl.distribution(LOGITS, "temperature=2.0 | top_p=0.9")
    cut_first = dl.distribution(LOGITS, "top_p=0.9 | temperature=2.0")
    assert (flat_first > 0).tolist() == [True, True, True, True]
    assert (cut_first > 0).tolist() == [True, True, True, False]
    assert cut_first[:3].tolist() == pytest.approx([0.604, 0.222, 0.173], abs=1e-3)


def test_the_order_of_temperature_and_min_p_changes_the_result():
    assert (dl.distribution(LOGITS, "temperature=2.0 | min_p=0.2") > 0).sum() == 4
    assert (dl.distribution(LOGITS, "min_p=0.2 | temperature=2.0") > 0).sum() == 1


@given(
    # Logits further apart than float32 rounding, which would otherwise make ties of them.
    st.lists(st.integers(-1280, 1280).map(lambda x: x / 64), min_size=1, max_size=30, unique=True),
    st.floats(0.05, 20),
    st.integers(1, 31),
)
def test_the_order_of_temperature_and_top_k_does_not_matter(logits, temperature, k):
    one = dl.distribution(logits, [{"temperature": temperature}, {"top_k": k}])
    other = dl.distribution(logits, [{"top_k": k}, {"temperature": temperature}])
    assert one.tolist() == pytest.approx(other.tolist(), abs=1e-6)


def test_min_p_is_relative_to_the_largest_probability():
    # Nguyen et al. 2025, section 3: p_base = 0.1 with a largest probability of 0.5 keeps what has at least 0.05.
    distribution = torch.tensor([0.5, 0.3, 0.06, 0.05, 0.04, 0.05 - 1e-4])
    kept = dl.MinP(0.1).apply(distribution.log()[None], None).isfinite()[0]
    assert kept[:3].all()
    assert not kept[4:].any()
    # An absolute cut-off at 0.1, as one package has it, would keep only the first two.
    assert kept.sum() >= 3


def test_typical_sampling_may_drop_the_most_probable_token():
    # Meister et al. 2023: the entropy of this distribution is 1.03 nats, nearest to it is the token of surprise 1.20.
    assert (dl.distribution(torch.tensor([0.5, 0.3, 0.2]).log(), "typical_p=0.2") > 0).tolist() == [
        False,
        True,
        False,
    ]


FIVE = torch.tensor([[0.42, 0.26, 0.16, 0.1, 0.06]]).log()


@pytest.mark.parametrize(
    ("strategy", "kept"),
    [
        ("epsilon_cutoff=0.15", 3),  # Hewitt et al. 2022: p >= epsilon
        ("epsilon_cutoff=0.9", 1),
        # eta-sampling: entropy 1.407 nats, sqrt(0.3) exp(-1.407) = 0.134 < 0.3
        ("eta_cutoff=0.3", 3),
        ("eta_cutoff=0.12", 4),  # sqrt(0.12) exp(-1.407) = 0.085 < 0.12
        ("top_a=0.5", 4),  # BlinkDL: 0.5 * 0.42^2 = 0.0882
        ("top_a=1.0", 2),  # 0.1764
        ("p_less", 1),  # Tan et al. 2025: the sum of squares is 0.2832
        # Tang et al. 2024: the logits' standard deviation is 0.686, so the cut is at p = 0.42 exp(-0.686 n)
        ("top_n_sigma=0.5", 1),  # 0.298
        ("top_n_sigma=1.0", 2),  # 0.212
        ("top_n_sigma=2.0", 3),  # 0.107
        # Ding et al. 2026: drops over rank 0.480, 0.243, 0.157, 0.128; a range of 1.946, so at least 1, 2 and 5 tokens
        ("min_k", 1),
        ("min_k=4.0", 2),
        ("min_k=10.0", 5),
        # Baghaei Potraghloo et al. 2025: running shares of the entropy 0.259, 0.508, 0.716, 0.880, 1
        ("top_h=0.4", 1),
        ("top_h=0.6", 2),
        ("top_h=0.72", 3),
        # Bricken 2019: second differences 0.06, 0.04, 0.02: shares 1/2, 1/3, 1/6
        ("tfs_z=0.4", 1),
        ("tfs_z=0.9", 2),
    ],
)
def test_how_many_of_five_tokens_each_rule_keeps_by_hand(strategy, kept):
    assert (dl.distribution(FIVE[0], strategy) > 0).tolist() == [i < kept for i in range(5)]
