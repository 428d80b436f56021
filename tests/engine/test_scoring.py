"""The probability a model gives to a text."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import PromptTooLong, RequestError, UnknownToken
from decodelab.engine.scoring import score_many

ids = st.lists(st.integers(0, 4), min_size=1, max_size=6).map(tuple)


@given(st.lists(st.tuples(ids.map(lambda p: (6, *p)), ids), min_size=1, max_size=8), st.integers(1, 9))
@settings(max_examples=50)
def test_every_token_gets_its_conditional_log_probability(random_table, pairs, max_rows):
    model = random_table(5)
    for (prompt, completion), score in zip(pairs, score_many(model, pairs, max_rows=max_rows), strict=True):
        expected = [math.log(model.probs((*prompt, *completion[:i]))[token]) for i, token in enumerate(completion)]
        assert score.token_logprobs == pytest.approx(expected, abs=1e-5)
        assert score.logprob == pytest.approx(math.fsum(expected), abs=1e-4)
        assert score.tokens == completion


def test_completions_of_different_lengths_do_not_disturb_one_another():
    # After `b` nothing is defined: feeding any filler after it would be an error.
    model = dl.TableModel(["a", "b"], {(): {"a": 0.5, "b": 0.5}, ("a",): {"a": 1.0}, ("a", "a"): {"b": 1.0}}, bos="<s>")
    found = score_many(model, [("", "b"), ("", "a a b"), ("", "a a")])
    assert [round(s.logprob, 4) for s in found] == [-0.6931, -0.6931, -0.6931]


def test_a_long_prompt_with_a_short_completion_fits_beside_the_reverse(stories):
    long, short = (1, *[403] * 500), (1, 403)
    pairs = [(long, (410, 411)), (short, (410,) * 400)]
    for pair, score in zip(pairs, score_many(stories, pairs), strict=True):
        assert score.token_logprobs == pytest.approx(dl.score(stories, *pair).token_logprobs, abs=1e-4)


def test_the_last_token_of_a_completion_needs_no_room(stories):
    assert len(dl.score(stories, [1] * 510, [403, 404, 405]).tokens) == 3
    with pytest.raises(PromptTooLong, match="prompt and completion have 514 tokens"):
        dl.score(stories, [1] * 510, [403, 404, 405, 406])


def test_text_is_scored_token_by_token(stories):
    score = dl.score(stories, "Once upon", " a time")
    assert "".join(score.token_texts) == " a time"
    assert (score.prompt, score.completion) == ("Once upon", " a time")
    assert score.logprob > math.log(0.5)
    assert score.perplexity < 1.5
    assert dl.score(stories, "Once upon", " zebra").logprob < score.logprob


def test_a_chain_of_scores_is_the_score_of_the_whole(stories):
    tokens = stories.vocab.encode("Once upon a time there was a cat")
    whole = dl.score(stories, tokens[:2], tokens[2:])
    parts = [dl.score(stories, tokens[:2], tokens[2:6]), dl.score(stories, tokens[:6], tokens[6:])]
    assert whole.logprob == pytest.approx(sum(p.logprob for p in parts), abs=1e-3)


def test_what_is_impossible_scores_minus_infinity():
    model = dl.TableModel(["a", "b"], {...: {"a": 1.0}}, bos="<s>")
    score = dl.score(model, "", "a b")
    assert score.token_logprobs == (0.0, -math.inf)
    assert score.perplexity == math.inf


@pytest.mark.parametrize("completion", ["", (), []])
def test_an_empty_completion_is_refused(stories, completion):
    with pytest.raises(RequestError, match="no tokens to score"):
        dl.score(stories, "Once", completion)


def test_ids_that_are_none_are_refused(stories):
    with pytest.raises(UnknownToken, match=r"^completion: token ids must be in \[0, 511\], got 512"):
        dl.score(stories, "Once", [512])
    with pytest.raises(RequestError, match=r"^completion must be text or token ids"):
        dl.score(stories, "Once", [1.5])  # pyright: ignore[reportArgumentType]
