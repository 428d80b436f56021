"""Biased, banned and allowed words: ids, texts, sequences; and what cannot be a word."""

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import NoBadWordsLogitsProcessor, SequenceBiasLogitsProcessor

import decodelab as dl
from decodelab.core.errors import EmptySupport, InvalidParameter, UnknownToken, VocabularyMismatch

SIZE = 5
sequence = st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=3).map(tuple)
text = st.lists(st.integers(0, SIZE - 1), max_size=6)
GLUED = dl.TableModel(["a", "b", "ab", " a", " ", "c"], {}, eos=None, separator="").vocab
SPACED = dl.TableModel(["a", "b", "new", "york"], {}).vocab


def ends_with(text: list[int], tail: tuple[int, ...]) -> bool:
    return tuple(text[len(text) - len(tail) :]) == tail and len(text) >= len(tail)


# --- logit_bias -------------------------------------------------------------------------------------


@given(st.dictionaries(sequence, st.floats(-10, 10), max_size=4), text, text)
@settings(max_examples=60)
def test_a_bias_is_added_to_the_token_that_completes_its_sequence(applied, biases, prompt, generated):
    expected = [
        math.fsum(b for s, b in biases.items() if s[-1] == token and ends_with(prompt + generated, s[:-1]))
        for token in range(SIZE)
    ]
    got = applied(dl.LogitBias(biases), [0.0] * SIZE, prompt, generated)
    assert got.tolist() == pytest.approx(expected, abs=1e-5)


@given(st.dictionaries(sequence, st.floats(-10, 10), min_size=1, max_size=4), st.integers(1, 6), st.integers(0, 2**31))
@settings(max_examples=40)
def test_sequence_bias_is_that_of_transformers(applied, biases, length, seed):
    generator = torch.Generator().manual_seed(seed)
    ids, values = torch.randint(SIZE, (3, length), generator=generator), torch.randn(3, SIZE, generator=generator)
    listed: Any = [[list(tokens), bias] for tokens, bias in biases.items()]
    theirs = SequenceBiasLogitsProcessor(listed)(ids, values)  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(applied(dl.LogitBias(listed), values, ids.tolist()), theirs, rtol=1e-5, atol=1e-5)


def test_a_text_is_biased_exactly_as_it_stands(applied):
    zeros = [0.0] * GLUED.size
    assert applied(dl.LogitBias({"a": 1.5}), zeros, vocab=GLUED).tolist() == [1.5, 0, 0, 0, 0, 0]
    assert applied(dl.LogitBias({" a": 1.5}), zeros, vocab=GLUED).tolist() == [0, 0, 0, 1.5, 0, 0]
    # "ca" is two tokens: the second is biased after the first.
    assert not applied(dl.LogitBias({"ca": 1.5}), zeros, vocab=GLUED).any()
    assert applied(dl.LogitBias({"ca": 1.5}), zeros, prompt=[5], vocab=GLUED).tolist() == [1.5, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "written",
    [
        "logit_bias={2: -1.5, ' cat': 2}",
        'logit_bias=[[2, -1.5], [" cat", 2]]',
        "logit_bias(bias={2: -1.5, ' cat': 2})",
        [{"logit_bias": {"bias": [[2, -1.5], [" cat", 2]]}}],
        [{"logit_bias": [[[2], -1.5], [" cat", 2.0]]}],
        dl.LogitBias({2: -1.5, " cat": 2}),
    ],
)
def test_biases_are_a_map_or_pairs_and_read_back_from_every_form(written):
    strategy = dl.Strategy.of(written)
    assert str(strategy) == 'logit_bias=[[2, -1.5], [" cat", 2.0]] | sample'
    forms = (str(strategy), strategy.to_json(), [str(s) for s in strategy.stages])
    assert all(dl.Strategy.of(form) == strategy for form in forms)
    assert dl.Strategy.from_yaml(strategy.to_yaml()) == strategy
    assert hash(strategy) == hash(dl.Strategy.of(str(strategy)))


# --- ban --------------------------------------------------------------------------------------------


@given(st.lists(sequence, max_size=4), text, text, st.booleans())
@settings(max_examples=60)
def test_a_banned_word_cannot_be_completed(applied, words, prompt, generated, with_prompt):
    seen = (prompt if with_prompt else []) + generated
    kept = [not any(w[-1] == token and ends_with(seen, w[:-1]) for w in words) for token in range(SIZE)]
    got = applied(dl.Ban(words, prompt=with_prompt), [0.5] * SIZE, prompt, generated)
    assert got.isfinite().tolist() == kept
    assert set(got.tolist()) <= {0.5, -math.inf}


@given(st.lists(sequence.map(list), min_size=1, max_size=4), st.integers(1, 6), st.integers(0, 2**31))
@settings(max_examples=40)
def test_ban_is_the_bad_words_of_transformers(applied, words, length, seed):
    generator = torch.Generator().manual_seed(seed)
    ids, values = torch.randint(SIZE, (3, length), generator=generator), torch.randn(3, SIZE, generator=generator)
    theirs = NoBadWordsLogitsProcessor(words)(ids, values)  # pyright: ignore[reportArgumentType]
    assert torch.equal(applied(dl.Ban(words), values, ids.tolist()), theirs)


def test_a_text_is_banned_with_and_without_a_space_before_it(applied):
    kept = applied(dl.Ban("a"), [0.0] * GLUED.size, vocab=GLUED).isfinite().tolist()
    assert kept == [False, True, True, False, True, True]  # "ab" contains it and is another word
    kept = applied(dl.Ban(" a"), [0.0] * GLUED.size, vocab=GLUED).isfinite().tolist()
    assert kept == [True, True, True, False, True, True]


def test_a_word_of_several_tokens_falls_at_its_last_also_when_it_begins_in_the_prompt(applied):
    zeros = [0.0] * SPACED.size
    assert applied(dl.Ban("new york"), zeros, vocab=SPACED).isfinite().all()
    assert not applied(dl.Ban("new york"), zeros, prompt=[2], vocab=SPACED)[3].isfinite()
    assert applied(dl.Ban("new york", prompt=False), zeros, prompt=[2], vocab=SPACED).isfinite().all()
    assert not applied(dl.Ban("new york", prompt=False), zeros, generated=[2], vocab=SPACED)[3].isfinite()


@pytest.mark.parametrize("word", ["York", " London", "\n", "<|endoftext|>", "antidisestablishmentarianism"])
def test_a_banned_text_of_a_real_tokenizer_is_not_generated_where_the_tokenizer_would_write_it(gpt2, word):
    # A model that says nothing but the word, in each of the ways the tokenizer writes it after some text.
    for before in ("", "I saw", "I saw "):
        prompt = gpt2.encode(before) or (0,)
        said = gpt2.encode_completion(prompt, word)
        state = dl.Ban(word).init([prompt], gpt2, None)  # pyright: ignore[reportArgumentType]
        allowed = []
        for token in said:
            logits = dl.Ban(word).apply(torch.zeros(1, gpt2.size), state)
            allowed.append(bool(logits[0, token].isfinite()))
            state = dl.Ban(word).update(state, logits, torch.tensor([token]))
        assert allowed == [True] * (len(said) - 1) + [False]


# --- allow ------------------------------------------------------------------------------------------


def sentences(words: set[tuple[int, ...]], length: int) -> set[tuple[int, ...]]:
    """Every beginning, of this many tokens, of words one after another."""
    made = {()}
    for _ in range(length):
        made |= {start + word for start, word in itertools.product(made, words) if len(start) < length}
    return {s[:length] for s in made if len(s) >= length}


@given(st.sets(sequence, min_size=1, max_size=4), st.integers(1, 4))
@settings(max_examples=40)
def test_what_can_be_generated_is_exactly_the_words_one_after_another(applied, words, length):
    stage = dl.Allow(sorted(words), eos=False)
    possible: set[tuple[int, ...]] = {()}
    for _ in range(length):
        possible = {
            (*past, token)
            for past in possible
            for token in applied(stage, [0.0] * SIZE, prompt=[0], generated=past).isfinite().nonzero()[:, 0].tolist()
        }
    assert possible == sentences(words, length)


def test_a_generation_may_end_between_words_only():
    table = {...: {"a": 0.05, "b": 0.05, "new": 0.3, "york": 0.1, "</s>": 0.5}}
    model = dl.TableModel(["a", "b", "new", "york"], table)
    (out,) = dl.generate(model, "b", 'allow=["new york", a] | sample(n=30)', max_new_tokens=6, seed=2)
    whole = {c.text for c in out.candidates if c.finish_reason == "eos"}
    assert "" in whole
    assert any("york" in t for t in whole)
    for said in whole:
        assert said.replace("new york", "").replace("a", "").strip() == ""


def test_an_end_can_be_forbidden_and_ids_alone_are_a_mask(applied):
    zeros = [0.0] * SPACED.size
    assert applied(dl.Allow([0, 2]), zeros, vocab=SPACED).isfinite().tolist() == [True, False, True, False, True]
    assert applied(dl.Allow([0, 2], eos=False), zeros, generated=[0, 2], vocab=SPACED).isfinite().sum() == 2


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dl.Ban([""]), "ban: words must hold texts, token ids of at least 0 or lists of ids, got "),
        (lambda: dl.Ban([[]]), "ban: words must hold texts, token ids of at least 0 or lists of ids, got []; "),
        (lambda: dl.Ban([-1]), "ban: words must hold texts, token ids of at least 0 or lists of ids, got -1; "),
        (lambda: dl.Ban([True]), "ban: words must hold texts, token ids of at least 0 or lists of ids, got true; "),
        (
            lambda: dl.Ban([[1, "a"]]),  # pyright: ignore
            "ban: words must hold texts, token ids of at least 0 or lists of ids, got [1, ",
        ),
        (lambda: dl.Ban(None), "ban: words must be words, token ids or lists of ids, got none; "),  # pyright: ignore
        (lambda: dl.Allow([]), "allow: words must hold at least one word, got none; leave allow out to allow all"),
        (lambda: dl.Allow(["a"], eos=1), "allow: eos must be one of true, false, got 1; "),  # pyright: ignore
        (lambda: dl.LogitBias(5), "logit_bias: bias must be a map or a list of pairs, got 5; "),  # pyright: ignore
        (lambda: dl.LogitBias([5]), "logit_bias: bias must hold pairs of a word and a number, got 5; "),  # pyright: ignore
        (lambda: dl.LogitBias({5: "x"}), "logit_bias: the bias of 5 must be a number within 1e30"),  # pyright: ignore
        (lambda: dl.LogitBias({5: -math.inf}), "logit_bias: the bias of 5 must be a number within 1e30 of 0, got -inf"),
        (lambda: dl.LogitBias({"": 1.0}), "logit_bias: bias must hold texts, token ids of at least 0 or lists of ids"),
    ],
)
def test_an_invalid_word_is_refused(make, message):
    with pytest.raises(InvalidParameter) as error:
        make()
    assert str(error.value).startswith(message)


STAGES = {
    "ban": dl.Ban,
    "allow": dl.Allow,
    "logit_bias": lambda words: dl.LogitBias([(word, 1.0) for word in words]),
    "suppress_at_begin": dl.SuppressAtBegin,
}


@pytest.mark.parametrize("name", STAGES)
def test_an_id_outside_the_vocabulary_is_a_mismatch(applied, name):
    with pytest.raises(VocabularyMismatch, match=rf"^{name}: token id 7 is outside the model's vocabulary of 5; are"):
        applied(STAGES[name]([1, 7]), [0.0] * SPACED.size, vocab=SPACED)


@pytest.mark.parametrize("name", ["ban", "allow", "logit_bias"])
def test_a_word_that_is_not_a_token_is_refused_by_name(applied, name):
    with pytest.raises(UnknownToken, match=rf"^{name}: \" \" becomes no tokens in this vocabulary; leave it out"):
        applied(STAGES[name](["a", " "]), [0.0] * SPACED.size, vocab=SPACED)
    with pytest.raises(UnknownToken, match=rf"^{name}: zebra cannot be written; .*'zebra' is not in the table's"):
        applied(STAGES[name](["a", "zebra"]), [0.0] * SPACED.size, vocab=SPACED)


@pytest.mark.parametrize("strategy", ["ban=[a, b]", "allow=b | ban=[b]", "temperature=0.5 | ban=[0, 1] | top_p=0.5"])
def test_a_chain_that_removes_every_token_is_an_error_naming_the_stage(strategy):
    model = dl.TableModel(["a", "b"], {...: {"a": 0.5, "b": 0.5}}, eos=None)
    guilty = "ban=[b]" if "allow" in strategy else strategy.split(" | ")[-2 if "top_p" in strategy else -1]
    with pytest.raises(EmptySupport) as error:
        dl.generate(model, "a", f"{strategy} | sample", max_new_tokens=2)
    assert str(error.value).startswith(f"{guilty} left no token to choose from for prompt 0 at new token 1; ")


def test_allow_without_anything_that_the_model_can_say_is_an_error_naming_it():
    model = dl.TableModel(["a", "b"], {...: {"a": 1.0}}, eos=None)
    with pytest.raises(EmptySupport, match=r"^allow=\[b\] left no token to choose from"):
        dl.generate(model, "a", "allow=b | greedy", max_new_tokens=2)


def test_nothing_banned_and_biases_of_zero_are_reported():
    assert dl.Strategy.of(dl.Ban([]) | dl.Sample()).no_effects() == ["ban=[]: no words are given"]
    assert dl.parse("logit_bias={5: 0}").no_effects() == ["logit_bias=[[5, 0.0]]: all biases are 0"]
