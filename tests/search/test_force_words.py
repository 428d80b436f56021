"""Texts that must hold words: against enumeration when the beam is wide, and what banks do when it is narrow."""

import math
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import EmptySupport, InvalidParameter, UnknownToken
from decodelab.core.notices import FewerCandidates


def holds(text: str, phrases) -> bool:
    return all(any(t in text for t in ([p] if isinstance(p, str) else p)) for p in phrases)


def by_enumeration(model, phrases, limit: int, penalty: float):
    """All texts that hold the phrases, best first."""
    found = [
        (o.logprob / len(o.tokens) ** penalty, o.tokens)
        for o in model.enumerate("", limit)
        if holds(model.vocab.decode(o.tokens), phrases)
    ]
    return sorted(found, key=lambda pair: -pair[0])


def run(model, phrases, limit: int, **parameters):
    stage = dl.ForceWords(phrases, **parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewerCandidates)
        (g,) = dl.generate(model, "", stage, max_new_tokens=limit)
    return g.candidates


PHRASES = [["w0 w1"], ["w2", "w0"], [["w1", "w2 w2"], "w0"], ["w1 w1 w2"], [["w0", "w1"]]]


@given(seed=st.integers(0, 2**32 - 1), phrases=st.sampled_from(PHRASES), penalty=st.sampled_from([0.0, 1.0]))
@settings(max_examples=8)
def test_a_wide_beam_finds_what_enumeration_finds_in_that_order(random_table, seed, phrases, penalty):
    model = random_table(seed, size=3)
    theirs = by_enumeration(model, phrases, 4, penalty)
    ours = run(model, phrases, 4, width=600, n=600, length_penalty=penalty, early_stopping="never")
    assert sorted(c.tokens for c in ours) == sorted(tokens for _, tokens in theirs)
    assert [c.score for c in ours] == pytest.approx([score for score, _ in theirs], abs=1e-5)


def test_without_phrases_it_is_a_beam(random_table):
    model = random_table(3)
    with pytest.warns(UserWarning, match="no phrases are given"):
        ours = dl.generate(model, "", dl.ForceWords([], width=4, n=4), max_new_tokens=5)[0].candidates
    theirs = dl.generate(model, "", dl.Beam(width=4, n=4), max_new_tokens=5)[0].candidates
    assert [c.tokens for c in ours] == [c.tokens for c in theirs]


def stubborn() -> dl.TableModel:
    """A model that would hardly ever say c d."""
    distribution = {"a": 0.4, "b": 0.2, "c": 0.001, "d": 0.001, "</s>": 0.398}
    return dl.TableModel(["a", "b", "c", "d"], {...: distribution}, bos="<s>")


def test_banks_bring_through_what_a_beam_of_that_width_never_says():
    plain = dl.generate(stubborn(), "", "beam(width=4, n=4)", max_new_tokens=6)[0].candidates
    assert not any("c d" in c.text for c in plain)
    best = dl.generate(stubborn(), "", "force_words(phrases=['c d'], width=4)", max_new_tokens=6)[0].best
    assert "c d" in best.text
    narrow = dl.generate(stubborn(), "", "force_words(phrases=['c d', 'b b'], width=1)", max_new_tokens=9)[0].best
    assert "c d" in narrow.text
    assert "b b" in narrow.text


def test_of_alternatives_one_is_enough_and_the_likelier_is_taken():
    stage = dl.ForceWords([["c d", "b"]], width=6, length_penalty=0.0)
    best = dl.generate(stubborn(), "", stage, max_new_tokens=6)[0].best
    assert best.text == "b"


def test_a_text_that_lacks_a_phrase_does_not_end():
    found = run(stubborn(), ["c d"], 8, width=8, n=8)
    assert all("c d" in c.text for c in found)


def test_phrases_that_share_tokens_may_share_them_in_the_text():
    found = run(stubborn(), ["a b", "b a"], 6, width=40, n=40, length_penalty=0.0)
    assert found[0].text == "a b a"
    assert math.isclose(found[0].score, found[0].logprob, abs_tol=1e-6)


def test_jobs_in_a_batch_are_what_they_are_alone(random_table):
    model = random_table(11)
    stage = dl.ForceWords(["w1 w2"], width=5, n=3)
    prompts = [(5,), (5, 0), (5, 1, 1)]
    together = dl.generate(model, prompts, stage, max_new_tokens=6)
    for prompt, g in zip(prompts, together, strict=True):
        assert dl.generate(model, [prompt], stage, max_new_tokens=6)[0].candidates == g.candidates


def test_a_real_model_says_words_as_its_tokenizer_spells_them():
    prompts = ["Once upon a time, there was a little dog", "Once upon a time"]
    stage = dl.ForceWords(["rain", ["ball", "kite"]], width=4)
    for g in dl.generate(dl.load("pocket-nano"), prompts, stage, max_new_tokens=20):
        assert "rain" in g.best.text
        assert "ball" in g.best.text or "kite" in g.best.text


def test_what_cannot_be_said_is_an_error_not_an_endless_search():
    with pytest.raises(EmptySupport, match="force_words: found no text with 'c d' in it; allow more new tokens"):
        dl.generate(stubborn(), "", "ban=[c] | force_words(phrases=['c d'], width=4)", max_new_tokens=20)
    with pytest.raises(EmptySupport, match="force_words"):
        dl.generate(stubborn(), "", "force_words(phrases=['c d'], width=4)", max_new_tokens=1)
    with pytest.raises(UnknownToken, match=r"force_words: .*zebra.* cannot be written"):
        dl.generate(stubborn(), "", "force_words(phrases=[zebra])", max_new_tokens=9)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"phrases": [""]}, "force_words: phrases must hold texts or lists of texts"),
        ({"phrases": [[]]}, "force_words: phrases must hold texts or lists of texts"),
        ({"phrases": [3]}, "force_words: phrases must hold texts or lists of texts, got 3"),
        ({"phrases": 3}, "force_words: phrases must be a list of texts, got 3"),
        ({"phrases": ["a"], "width": 0}, "force_words: width must be"),
        ({"phrases": ["a"], "width": 2, "n": 3}, "force_words: n must be"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(InvalidParameter, match=message):
        dl.ForceWords(**parameters)
