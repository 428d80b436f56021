"""`no_repeat_ngram` and `dry` against their definitions, written out in plain Python."""

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import NoRepeatNGramLogitsProcessor

import decodelab as dl
from decodelab.core.errors import InvalidParameter, VocabularyMismatch
from decodelab.processors._suffix_matches import SuffixMatches

SIZE = 4
text = st.lists(st.integers(0, SIZE - 1), max_size=14)


def common_suffix(text: list[int], end: int) -> int:
    """How many tokens that end before `end` equal the last ones of the text."""
    length = 0
    while length < end and text[end - 1 - length] == text[-1 - length]:
        length += 1
    return length


@given(text, text, st.none() | st.integers(1, 8))
@settings(max_examples=60)
def test_matches_of_the_end_are_found_at_once_and_token_by_token_alike(prompt, generated, window):
    matches = SuffixMatches.of([tuple(prompt)], window)
    for token in generated:
        matches = matches.plus(torch.tensor([token]), window)
    seen = prompt + generated if window is None else (prompt + generated)[-window:]
    expected = [common_suffix(seen, end) for end in range(1, len(seen))] + [0] * bool(seen)
    assert matches.tokens[0].tolist() == seen
    assert matches.lengths[0].tolist() == expected


# --- no_repeat_ngram --------------------------------------------------------------------------------


@given(st.integers(1, 4), text, text, st.booleans())
@settings(max_examples=60)
def test_a_token_is_removed_where_it_completes_an_ngram_that_is_there(applied, size, prompt, generated, with_prompt):
    seen = (prompt if with_prompt else []) + generated
    there = {tuple(seen[i : i + size]) for i in range(len(seen) - size + 1)}
    start = seen[len(seen) - size + 1 :] if len(seen) >= size - 1 else None
    kept = [start is None or (*start, token) not in there for token in range(SIZE)]
    got = applied(dl.NoRepeatNGram(size, prompt=with_prompt), [0.5] * SIZE, prompt, generated)
    assert got.isfinite().tolist() == kept
    assert set(got.tolist()) <= {0.5, -math.inf}


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_no_repeat_ngram_is_that_of_transformers(applied, size):
    generator = torch.Generator().manual_seed(size)
    for length in range(1, 24):
        ids = torch.randint(3, (4, length), generator=generator)
        values = torch.randn(4, 5, generator=generator)
        theirs = NoRepeatNGramLogitsProcessor(size)(ids, values)  # pyright: ignore[reportArgumentType]
        cut = length // 2
        assert torch.equal(
            applied(dl.NoRepeatNGram(size), values, ids[:, :cut].tolist(), ids[:, cut:].tolist()), theirs
        )


def test_rows_of_different_lengths_do_not_see_each_others_padding(applied):
    got = applied(dl.NoRepeatNGram(2), torch.zeros(3, 4), prompt=[[0, 1, 0], [2], []])
    assert got.isfinite().tolist() == [[True, False, True, True], [True] * 4, [True] * 4]


def test_a_generation_without_repeated_bigrams_has_none():
    model = dl.TableModel(list("abcde"), {...: {"a": 0.5, "b": 0.2, "c": 0.1, "d": 0.1, "e": 0.1}}, eos=None)
    (out,) = dl.generate(model, "a", "no_repeat_ngram=2 | sample(n=20)", max_new_tokens=8, seed=1)
    for candidate in out.candidates:
        whole = (*out.prompt_tokens, *candidate.tokens)
        pairs = list(itertools.pairwise(whole))
        assert len(set(pairs)) == len(pairs) == 8


def test_an_exhausted_vocabulary_is_an_error_that_names_the_stage():
    model = dl.TableModel(list("abc"), {...: {"a": 0.5, "b": 0.3, "c": 0.2}}, eos=None)
    with pytest.raises(dl.DecodelabError, match=r"^no_repeat_ngram=1 left no token .* at new token 3; loosen it"):
        dl.generate(model, "a", "no_repeat_ngram=1 | sample", max_new_tokens=8)


# --- dry --------------------------------------------------------------------------------------------


def dry_penalties(stage: dl.Dry, seen: list[int], breakers: list[tuple[int, ...]]) -> list[float]:
    """For every continuation t: the longest n such that the last n tokens, free of breakers, came before t already."""
    if stage.window is not None:
        seen = seen[-stage.window :]
    fresh = len(seen)
    for end in range(len(seen), 0, -1):
        if any(tuple(seen[max(0, end - len(b)) : end]) == b for b in breakers):
            fresh = len(seen) - end
            break
    penalties = []
    for token in range(SIZE):
        lengths = [min(common_suffix(seen, end), fresh) for end in range(1, len(seen)) if seen[end] == token]
        longest = max(lengths, default=0)
        penalised = longest >= stage.allowed_length and (token,) not in breakers
        penalties.append(stage.multiplier * stage.base ** (longest - stage.allowed_length) if penalised else 0.0)
    return penalties


@given(
    text,
    text,
    st.integers(1, 4),
    st.none() | st.integers(2, 8),
    st.lists(st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=2).map(tuple), max_size=2),
)
@settings(max_examples=100)
def test_dry_penalises_what_would_lengthen_a_repetition(applied, prompt, generated, allowed, window, breakers):
    stage = dl.Dry(0.8, 1.75, allowed, window, breakers)
    seen = prompt + generated
    if window is not None:
        # A breaker whose beginning has left the window still counts, which the definition below does not know.
        breakers = [b for b in breakers if len(b) == 1]
        stage = dl.Dry(0.8, 1.75, allowed, window, breakers)
    expected = [-p for p in dry_penalties(stage, seen, breakers)]
    assert applied(stage, [0.0] * SIZE, prompt, generated).tolist() == pytest.approx(expected, rel=1e-6)


def test_the_penalty_grows_exponentially_from_the_allowed_length_on(applied):
    seen = [0, 1, 2, 3, 0, 1, 2]  # "0 1 2" came before 3
    for allowed, expected in ((1, 4.0), (2, 2.0), (3, 1.0), (4, 0.0)):
        assert applied(dl.Dry(1.0, 2.0, allowed), [0.0] * SIZE, seen).tolist() == [0.0, 0.0, 0.0, -expected]


def test_the_longest_repetition_before_a_token_counts(applied):
    # 3 came after "2" and after "2 3 1 2".
    assert applied(dl.Dry(1.0, 2.0, 1), [0.0] * 4, [0, 2, 3, 1, 2, 3, 1, 2]).tolist()[3] == -(2.0 ** (4 - 1))


def test_an_endless_repetition_is_penalised_within_float32(applied):
    got = applied(dl.Dry(1e30, 1e30, 1), [1.0, 0.0], [0] * 300)
    assert got.isfinite().all()
    assert float(got[0]) < -1e38


BREAKING = dl.TableModel(["a", "b", "c:", "no", "o\n", "te"], {}, eos=None).vocab


@pytest.mark.parametrize(
    ("breakers", "penalised"),
    [
        ([], True),
        ([":"], False),  # "c:" contains it
        (["b"], False),  # it stands in the repetition
        (["note"], True),  # not in this text
        ([2], False),  # a token id
        ([[1, 2]], False),  # two tokens in this order
        ([[2, 1]], True),
        (["bc"], False),  # a text that two tokens write
    ],
)
def test_a_repetition_does_not_reach_over_a_breaker(applied, breakers, penalised):
    # "a b c: a | a b c:": after the last c: the token a would repeat "a b c: a".
    got = applied(dl.Dry(1.0, 2.0, 3, sequence_breakers=breakers), [0.0] * 6, [0, 1, 2, 0, 0, 1, 2], vocab=BREAKING)
    assert (float(got[0]) < 0) is penalised
    assert not got[1:].any()


def test_a_breaker_itself_is_never_penalised(applied):
    seen = [0, 1, 4, 0, 1]  # then "o\n"
    assert float(applied(dl.Dry(1.0, sequence_breakers=[]), [0.0] * 6, seen, vocab=BREAKING)[4]) < 0
    assert not applied(dl.Dry(1.0), [0.0] * 6, seen, vocab=BREAKING).any()


def test_a_breaker_across_tokens_is_found_while_it_is_generated(applied):
    # "n-o-t-e" is written by "no" and "te"; what follows it starts afresh.
    seen = [3, 5, 0, 1, 3, 5, 0]
    free = applied(dl.Dry(1.0, 2.0, 1, sequence_breakers=[]), [0.0] * 6, seen[:3], seen[3:], BREAKING)
    cut = applied(dl.Dry(1.0, 2.0, 1, sequence_breakers=["note"]), [0.0] * 6, seen[:3], seen[3:], BREAKING)
    assert (float(free[1]), float(cut[1])) == (-4.0, -1.0)


def test_dry_can_look_at_generated_tokens_only(applied):
    stage = dl.Dry(1.0, 2.0, 1, sequence_breakers=[], prompt=False)
    assert not applied(stage, [0.0] * 4, [0, 1, 0]).any()
    assert applied(stage, [0.0] * 4, [], [0, 1, 0]).tolist() == [0.0, -1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"multiplier": -1}, "dry: multiplier must be a finite number, at least 0, got -1"),
        ({"base": 0.5}, "dry: base must be a finite number, at least 1, got 0.5"),
        ({"allowed_length": 0}, "dry: allowed_length must be an integer, at least 1, got 0"),
        ({"window": 0}, "dry: window must be an integer, at least 1, got 0"),
        ({"sequence_breakers": [""]}, "dry: sequence_breakers must hold texts, token ids of at least 0 or lists"),
        ({"sequence_breakers": [-1]}, "dry: sequence_breakers must hold texts, token ids of at least 0 or lists"),
        ({"sequence_breakers": 1.5}, "dry: sequence_breakers must be words, token ids or lists of ids, got 1.5"),
        ({"prompt": "yes"}, "dry: prompt must be one of true, false, got yes"),
    ],
)
def test_dry_refuses_what_means_nothing(arguments: dict[str, Any], message):
    with pytest.raises(InvalidParameter) as error:
        dl.Dry(**arguments)
    assert str(error.value).startswith(message)


def test_a_breaker_of_another_vocabulary_is_a_mismatch(applied):
    with pytest.raises(VocabularyMismatch, match=r"^dry: token id 9 is outside the model's vocabulary of 4; "):
        applied(dl.Dry(sequence_breakers=[[0, 9]]), [0.0] * 4)


@pytest.mark.parametrize("size", [0, -1, 2.5, "two"])
def test_the_size_of_ngrams_must_be_a_number_of_tokens(size):
    with pytest.raises(InvalidParameter, match=r"^no_repeat_ngram: size must be an integer, at least 1, got "):
        dl.NoRepeatNGram(size)


def test_what_they_do_by_default_reads_as_it_should():
    assert str(dl.Dry()) == "dry"
    assert str(dl.Dry(0.5, sequence_breakers=["\n", 7])) == 'dry(multiplier=0.5, sequence_breakers=["\\n", 7])'
    assert dl.parse("dry(sequence_breakers=[[1, 2], 'x'])").stages[0] == dl.Dry(sequence_breakers=[(1, 2), "x"])
    assert dl.parse("dry=0").no_effects() == ["dry=0.0: a multiplier of 0 changes nothing"]
