"""Penalties on tokens that have occurred: their distributions in plain Python, and which tokens count."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import RepetitionPenaltyLogitsProcessor

import decodelab as dl
from decodelab.core.errors import InvalidParameter
from decodelab.processors._token_counts import TokenCounts, TokenPenalty

SIZE = 6
logit = st.floats(-20, 20, width=32)
logits = st.lists(logit | st.just(-math.inf), min_size=SIZE, max_size=SIZE)
text = st.lists(st.integers(0, SIZE - 1), max_size=12)
PENALTIES = (dl.RepetitionPenalty, dl.SubtractivePenalty, dl.PresencePenalty, dl.FrequencyPenalty)


def by_definition(stage: TokenPenalty, values: list[float], counted: list[int]) -> list[float]:
    """Each penalty as its source states it."""
    after = list(values)
    for token, count in Counter(counted).items():
        z = after[token]
        if isinstance(stage, dl.RepetitionPenalty):
            after[token] = z * stage.penalty if z < 0 else z / stage.penalty
        elif isinstance(stage, dl.FrequencyPenalty):
            after[token] = z - count * stage.penalty
        else:
            after[token] = z - stage.penalty
    return after


@pytest.mark.parametrize("cls", PENALTIES)
@given(st.floats(0.1, 3), logits, text, text, st.booleans(), st.none() | st.integers(1, 6))
@settings(max_examples=40)
def test_every_penalty_is_its_definition_over_the_tokens_that_count(
    applied, cls, penalty, values, prompt, generated, count_prompt, window
):
    stage = cls(penalty, prompt=count_prompt, window=window)
    counted = ([*prompt] if count_prompt else []) + generated
    expected = by_definition(stage, values, counted if window is None else counted[-window:])
    assert applied(stage, values, prompt, generated).tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_repetition_counts_the_prompt_unless_told_not_to_and_the_others_the_reverse(applied):
    ones = [1.0] * 4

    def touched(stage: TokenPenalty) -> list[int]:
        return [i for i, z in enumerate(applied(stage, ones, prompt=[0, 1], generated=[1, 2]).tolist()) if z != 1.0]

    assert touched(dl.RepetitionPenalty(2.0)) == [0, 1, 2]
    assert touched(dl.RepetitionPenalty(2.0, prompt=False)) == [1, 2]
    for cls in PENALTIES[1:]:
        assert touched(cls(0.5)) == [1, 2]
        assert touched(cls(0.5, prompt=True)) == [0, 1, 2]
        assert touched(cls(0.5, prompt=True, window=1)) == [2]


def test_a_token_that_leaves_the_window_is_free_again(applied):
    stage = dl.FrequencyPenalty(1.0, window=3)
    for generated, expected in (([1, 1, 2], [0, -2, -1]), ([1, 1, 2, 2], [0, -1, -2]), ([1, 1, 2, 2, 0], [-1, 0, -2])):
        assert applied(stage, [0.0] * 3, generated=generated).tolist() == expected


def test_the_published_form_of_ctrl_divides_and_the_one_in_use_never_rewards_repetition(applied):
    # Keskar et al. 2019 divide by theta = 1.2; of a negative logit that makes more.
    penalised = applied(dl.RepetitionPenalty(1.2), [2.4, -2.4, 2.4, -2.4], generated=[0, 1]).tolist()
    assert penalised == pytest.approx([2.0, -2.88, 2.4, -2.4], abs=1e-6)


def test_a_subtractive_penalty_does_not_depend_on_where_zero_is_and_the_repetition_penalty_does(applied):
    values = torch.tensor([2.0, 1.0, 0.5])
    for stage, same in ((dl.SubtractivePenalty(0.7), True), (dl.RepetitionPenalty(1.7), False)):
        distribution, shifted = (applied(stage, v, generated=[0]).softmax(-1) for v in (values, values - 3))
        assert torch.allclose(distribution, shifted) is same


def test_the_odds_of_a_penalised_token_fall_by_e_to_the_penalty(applied):
    distribution = applied(dl.PresencePenalty(0.7), [1.0, 1.0], generated=[0, 0]).softmax(-1)
    assert float(distribution[1] / distribution[0]) == pytest.approx(math.exp(0.7), rel=1e-5)
    distribution = applied(dl.FrequencyPenalty(0.7), [1.0, 1.0], generated=[0, 0]).softmax(-1)
    assert float(distribution[1] / distribution[0]) == pytest.approx(math.exp(1.4), rel=1e-5)


@given(st.floats(0.1, 5), st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**31))
@settings(max_examples=40)
def test_the_repetition_penalty_is_that_of_transformers(applied, penalty, rows, length, seed):
    generator = torch.Generator().manual_seed(seed)
    values = 4 * torch.randn(rows, 20, generator=generator)
    ids = torch.randint(20, (rows, length), generator=generator)
    theirs = RepetitionPenaltyLogitsProcessor(penalty)(ids, values.clone())  # pyright: ignore[reportArgumentType]
    cut = seed % (length + 1)
    ours = applied(dl.RepetitionPenalty(penalty), values, ids[:, :cut].tolist(), ids[:, cut:].tolist())
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_the_state_is_as_large_as_the_text_and_not_as_the_vocabulary():
    state = TokenCounts.of([tuple(range(0, 150_000, 50))], None)
    assert state.tokens.numel() < 4000
    for token in range(200):
        state = state.plus(torch.tensor([token]))
    assert state.tokens.numel() < 4000
    rows, tokens, counts = state.entries(151_936)
    assert dict(zip(tokens.tolist(), counts.tolist(), strict=True)) == Counter([*range(0, 150_000, 50), *range(200)])
    assert rows.unique().tolist() == [0]


def test_tokens_beyond_the_logits_are_passed_over_as_in_transformers(applied):
    # Embeddings may be larger than the head: such a token can stand in a prompt and cannot be generated.
    assert applied(dl.RepetitionPenalty(2.0), [1.0, 1.0], prompt=[0, 9]).tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("repetition_penalty=0", "repetition_penalty: penalty must be a finite number, greater than 0, got 0"),
        ("repetition_penalty(penalty=1.2, window=0)", "repetition_penalty: window must be an integer, at least 1"),
        ("repetition_penalty(penalty=1.2, prompt=1)", "repetition_penalty: prompt must be one of true, false, got 1"),
        ("presence_penalty=inf", "presence_penalty: penalty must be a finite number"),
        ("frequency_penalty=often", "frequency_penalty: penalty must be a finite number"),
        ("subtractive_penalty=nan", "subtractive_penalty: penalty must be a finite number"),
    ],
)
def test_a_penalty_out_of_range_is_refused(text, message):
    with pytest.raises(InvalidParameter) as error:
        dl.parse(text)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "off"),
    [("repetition_penalty", 1), ("presence_penalty", 0), ("frequency_penalty", 0), ("subtractive_penalty", 0)],
)
def test_a_neutral_penalty_is_reported(name, off):
    (note,) = dl.parse(f"{name}={off}").no_effects()
    assert note == f"{name}={off}.0: a penalty of {off} changes nothing"
    assert dl.parse(f"{name}=1.5").no_effects() == dl.parse(f"{name}=1.5 | greedy").no_effects() == []
