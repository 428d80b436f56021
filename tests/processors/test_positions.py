"""What may come first, what must come last, and when the end may come."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    ExponentialDecayLengthPenalty,
    ForcedBOSTokenLogitsProcessor,
    ForcedEOSTokenLogitsProcessor,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
)

import decodelab as dl
from decodelab.core.errors import EmptySupport, InvalidParameter
from decodelab.testing import check_processor

SIZE = 6
VOCAB = dl.TableModel(["a", "b", "c", "d", "e"], {}).vocab  # the sixth word is the end
EOS = 5
ENDING = dl.TableModel(["a", "b"], {...: {"a": 0.3, "b": 0.2, "</s>": 0.5}})


def pairs(prompt: int) -> dict[str, tuple[Any, Any]]:
    """Ours and transformers' for a prompt of this length."""
    return {
        "suppress_at_begin": (dl.SuppressAtBegin([1, 3]), SuppressTokensAtBeginLogitsProcessor([1, 3], prompt)),
        "forced_bos": (dl.ForcedBOS(2, length=1), ForcedBOSTokenLogitsProcessor(2)),
        "forced_eos": (dl.ForcedEOS(6, prompt=True), ForcedEOSTokenLogitsProcessor(6, EOS)),
        "several": (dl.ForcedEOS(6, [2, 3], prompt=True), ForcedEOSTokenLogitsProcessor(6, [2, 3])),
        "min_new_tokens": (dl.MinNewTokens(2), MinNewTokensLengthLogitsProcessor(prompt, 2, EOS)),
        "min_length": (dl.MinNewTokens(4, prompt=True), MinLengthLogitsProcessor(4, EOS)),
        "longer": (dl.ExponentialLength(1, 1.5), ExponentialDecayLengthPenalty((1, 1.5), EOS, prompt)),
        "shorter": (dl.ExponentialLength(0, 0.8), ExponentialDecayLengthPenalty((0, 0.8), EOS, prompt)),
    }


@pytest.mark.parametrize("name", pairs(1))
@pytest.mark.parametrize("prompt", [1, 2, 4])
def test_at_every_position_the_distribution_is_that_of_transformers(applied, name, prompt):
    generator = torch.Generator().manual_seed(prompt)
    ours, theirs = pairs(prompt)[name]
    for new in range(6):
        ids = torch.randint(SIZE, (3, prompt + new), generator=generator)
        logits = 2 * torch.randn(3, SIZE, generator=generator)
        logits[0, EOS] = -torch.inf if "forced" not in name and name != "several" else 0.0
        got = applied(ours, logits, ids[:, :prompt].tolist(), ids[:, prompt:].tolist(), VOCAB)
        torch.testing.assert_close(got, theirs(ids, logits.clone()), rtol=1e-5, atol=1e-6)


def test_a_first_token_can_be_forced_after_any_prompt_which_transformers_does_after_one_token(applied):
    for prompt in ([0], [0, 1, 2]):
        assert applied(dl.ForcedBOS(2), [1.0] * SIZE, prompt, vocab=VOCAB).tolist() == [
            0.0 if t == 2 else -math.inf for t in range(SIZE)
        ]
        assert applied(dl.ForcedBOS(2), [1.0] * SIZE, prompt, [4], VOCAB).tolist() == [1.0] * SIZE
    theirs = ForcedBOSTokenLogitsProcessor(2)(torch.zeros(1, 3, dtype=torch.int64), torch.ones(1, SIZE))  # pyright: ignore
    assert theirs.tolist() == [[1.0] * SIZE]


def test_a_forced_token_that_was_removed_stays_removed_and_transformers_brings_it_back(applied):
    logits = torch.tensor([[1.0, -torch.inf]])
    vocab = dl.TableModel(["a", "b"], {}, eos=None).vocab
    assert not applied(dl.ForcedBOS(1), logits, vocab=vocab).isfinite().any()
    theirs = ForcedBOSTokenLogitsProcessor(1)(torch.zeros(1, 1, dtype=torch.int64), logits)  # pyright: ignore
    assert theirs.tolist() == [[-math.inf, 0.0]]
    with pytest.raises(EmptySupport, match=r"^forced_bos=1 left no token to choose from"):
        dl.generate(ENDING, "a", "ban=b | forced_bos=1 | greedy", max_new_tokens=1)


def test_generations_begin_and_end_as_they_are_told():
    (out,) = dl.generate(ENDING, "a", "forced_bos=1 | min_new_tokens=3 | forced_eos=6 | sample(n=30)", seed=4)
    for candidate in out.candidates:
        assert candidate.tokens[0] == 1
        assert candidate.finish_reason == "eos"
        assert 4 <= len(candidate.tokens) <= 6
    assert {len(c.tokens) for c in out.candidates} == {4, 5, 6}


def test_the_end_grows_more_likely_the_longer_the_text(applied):
    distributions = [
        applied(dl.ExponentialLength(2, 2.0), [0.0] * 5 + [1.0], [0], [0] * n, VOCAB).softmax(-1) for n in range(7)
    ]
    ends = [float(distribution[EOS]) for distribution in distributions]
    assert ends[0] == ends[1] == ends[2] < ends[3] < ends[4] < ends[5]
    assert applied(dl.ExponentialLength(2, 2.0), [0.0] * 5 + [1.0], [0], [0] * 5, VOCAB)[EOS] == 8.0


@given(
    st.integers(-(10**6), 10**6).map(lambda n: n * 1e24) | st.sampled_from([0.0, 1.5, -1e-30]),
    st.floats(1e-30, 1e30),
    st.integers(0, 40),
)
@settings(max_examples=60)
def test_no_length_makes_a_logit_infinite_or_nan(applied, logit, factor, new):
    got = applied(dl.ExponentialLength(0, factor), [0.0] * 5 + [logit], [0], [0] * new, VOCAB)
    assert got.isfinite().all()
    assert got[:5].tolist() == [0.0] * 5
    before = torch.tensor(logit)
    assert got[EOS] >= before if factor >= 1 else got[EOS] <= before


def test_a_model_without_an_end_is_left_alone(applied):
    vocab = dl.TableModel(["a", "b"], {}, eos=None).vocab
    for stage in (dl.MinNewTokens(3), dl.ForcedEOS(1), dl.ExponentialLength(0, 2.0)):
        assert applied(stage, [1.0, 2.0], [0], vocab=vocab).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "stage",
    [
        dl.SuppressAtBegin([1, EOS]),
        dl.ForcedBOS(3),
        dl.ForcedBOS(3, length=2),
        dl.ForcedEOS(2),
        dl.ForcedEOS(3, [1, 2], prompt=True),
        dl.MinNewTokens(2),
        dl.MinNewTokens(3, prompt=True),
        dl.ExponentialLength(1, 1.7),
        dl.Ban(["a", 3, [1, 2]]),
        dl.Allow(["a", [1, 2], 3]),
        dl.LogitBias({"a": 1.0, 3: -2.0, (1, 2): 5.0}),
        dl.NoRepeatNGram(2),
        dl.Dry(1.0, allowed_length=1, sequence_breakers=["b", [2, 3]]),
        dl.Watermark(0.5, context=2),
    ],
    ids=str,
)
def test_with_a_vocabulary_that_has_an_end_they_keep_every_promise(stage):
    check_processor(stage, vocab=VOCAB, may_empty=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("suppress_at_begin=[]", "suppress_at_begin: tokens must be one or more token ids, got []"),
        ("suppress_at_begin=a", "suppress_at_begin: tokens must be one or more token ids, got a"),
        ("suppress_at_begin=[[1, 2]]", "suppress_at_begin: tokens must be one or more token ids, got [[1, 2]]"),
        ("forced_bos=-1", "forced_bos: token must be an integer, at least 0, got -1"),
        ("forced_bos(token=1, length=0)", "forced_bos: length must be an integer, at least 1, got 0"),
        ("forced_eos=0", "forced_eos: at must be an integer, at least 1, got 0"),
        ("forced_eos(at=3, tokens=end)", "forced_eos: tokens must be one or more token ids, got end"),
        ("min_new_tokens=-1", "min_new_tokens: n must be an integer, at least 0, got -1"),
        ("exponential_length(start=-1)", "exponential_length: start must be an integer, at least 0, got -1"),
        ("exponential_length(start=1, factor=0)", "exponential_length: factor must be a finite number, greater than 0"),
    ],
)
def test_what_means_nothing_is_refused(text, message):
    with pytest.raises(InvalidParameter) as error:
        dl.parse(text)
    assert str(error.value).startswith(message)


def test_what_changes_nothing_is_reported():
    assert dl.parse("min_new_tokens=0").no_effects() == ["min_new_tokens=0: a minimum of 0 is always met"]
    assert len(dl.parse("exponential_length(start=3, factor=1)").no_effects()) == 1
