"""When a continuation ends and when it must not: EOS, stop tokens, limits, the context; and what the numbers mean."""

import math
from typing import Any

import pytest
import torch
from transformers.generation.logits_process import MinNewTokensLengthLogitsProcessor

import decodelab as dl


def test_eos_ends_and_is_the_last_token(says):
    best = dl.generate(says("a", "b"), "", "greedy")[0].best
    assert (best.tokens, best.text, best.finish_reason) == ((0, 1, 2), "ab", "eos")


def test_an_eos_at_once_leaves_an_empty_text(says):
    best = dl.generate(says(), "", "greedy")[0].best
    assert (best.tokens, best.text, best.finish_reason) == ((0,), "", "eos")


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_max_new_tokens_counts_new_tokens_alone(uniform, limit):
    best = dl.generate(uniform, "a b c", "greedy", max_new_tokens=limit)[0].best
    assert (len(best.tokens), best.finish_reason) == (limit, "length")


def test_an_eos_that_is_also_the_last_allowed_token_is_an_eos(says):
    assert dl.generate(says("a"), "", "greedy", max_new_tokens=2)[0].best.finish_reason == "eos"


def test_the_context_limits_each_prompt_for_itself(random_table):
    model = random_table(1, eos=0.0, context_length=8)
    found = dl.generate(model, [(6,), (6, 0, 1, 2), (6, 0, 1, 2, 3, 4, 0)], "sample(n=2)", max_new_tokens=20)
    assert [[len(c.tokens) for c in g.candidates] for g in found] == [[7, 7], [4, 4], [1, 1]]
    assert {c.finish_reason for g in found for c in g.candidates} == {"length"}


def test_the_context_of_a_real_model_limits_too(stories):
    prompt = dl.generate(stories, "Once", "sample", max_new_tokens=505, min_new_tokens=505)[0]
    full = (*prompt.prompt_tokens, *prompt.best.tokens)
    best = dl.generate(stories, full, "greedy", max_new_tokens=50, min_new_tokens=50)[0].best
    assert len(full) + len(best.tokens) == 512
    assert best.finish_reason == "length"


def test_any_of_several_eos_ids_ends(stories):
    assert len(stories.vocab.eos_ids) == 2
    found = dl.generate(stories, "", "sample(n=40)", max_new_tokens=400)[0].candidates
    ended = [c for c in found if c.finish_reason == "eos"]
    assert ended
    assert all(c.tokens[-1] in stories.vocab.eos_ids for c in ended)
    assert all(not set(c.tokens[:-1]) & set(stories.vocab.eos_ids) for c in found)
    assert all("<" not in c.text for c in ended)


def test_stop_token_ids_end_and_their_text_stays(says):
    best = dl.generate(says("a", "b", "c"), "", "greedy", stop_token_ids=[1])[0].best
    assert (best.tokens, best.text, best.finish_reason) == ((0, 1), "ab", "stop")


def test_before_min_new_tokens_neither_eos_nor_stop_tokens_can_be_chosen():
    row = {"a": 0.2, "b": 0.1, "c": 0.2, "</s>": 0.5}
    model = dl.TableModel(["a", "b", "c"], {...: row}, bos="<s>")
    (g,) = dl.generate(model, "", "sample(n=300)", min_new_tokens=3, max_new_tokens=12, stop_token_ids=[2])
    for c in g.candidates:
        assert not {2, 3} & set(c.tokens[:3])
        # Renormalised over a and b, while the model's own numbers stay as they are.
        expected = [math.log(p) for p in ([2 / 3, 1 / 3][t] for t in c.tokens[:3])]
        assert c.processed_logprobs[:3] == pytest.approx(expected, abs=1e-6)
        assert c.token_logprobs[:3] == pytest.approx([math.log([0.2, 0.1][t]) for t in c.tokens[:3]], abs=1e-6)
    assert {len(c.tokens) for c in g.candidates if c.finish_reason in ("eos", "stop")} >= {4, 5}


def test_the_minimum_is_that_of_transformers(random_table):
    # min_new_tokens = 2 forbids EOS as the first and the second new token and allows it as the third, there as here.
    theirs: Any = MinNewTokensLengthLogitsProcessor(1, 2, 5, device="cpu")
    scores = torch.zeros(1, 7)
    forbidden = [bool(theirs(torch.zeros(1, 1 + new, dtype=torch.int64), scores)[0, 5].isinf()) for new in range(4)]
    assert forbidden == [True, True, False, False]
    lengths = {
        len(c.tokens)
        for c in dl.generate(random_table(1, eos=50.0), "", "sample(n=50)", min_new_tokens=2)[0].candidates
    }
    assert min(lengths) == 3


def test_min_new_tokens_holds_for_beams(random_table):
    (g,) = dl.generate(random_table(3, eos=50.0), "", "beam(width=4, n=4)", min_new_tokens=3, max_new_tokens=8)
    assert all(len(c.tokens) >= 4 and 5 not in c.tokens[:3] for c in g.candidates)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"max_new_tokens": -3}, "max_new_tokens must be at least 1, got -3"),
        ({"max_new_tokens": 4, "min_new_tokens": 5}, r"min_new_tokens must be in \[0, 4\], got 5"),
        ({"min_new_tokens": -1}, r"min_new_tokens must be in \[0, 128\], got -1"),
        ({"stop": ["a", ""]}, "stop strings must not be empty"),
        ({"stop": ""}, "stop strings must not be empty"),
        ({"stop_token_ids": [99]}, r"stop_token_ids must be in \[0, 5\], got 99"),
        ({"stop_token_ids": [-1]}, r"stop_token_ids must be in \[0, 5\], got -1"),
        ({"max_rows": 0}, "max_rows must be at least 1, got 0"),
        ({"strategy": "sample(n=100000)"}, "needs 100000 rows at once"),
    ],
)
def test_limits_that_make_no_sense_are_refused_in_one_line(uniform, options, message):
    with pytest.raises(dl.DecodelabError, match=message) as error:
        dl.generate(uniform, "", **{"strategy": "greedy", **options})
    assert "\n" not in str(error.value)


# --- what the numbers mean ------------------------------------------------------------------------


def test_token_logprobs_are_the_models_and_processed_logprobs_those_of_the_processed_distribution(random_table):
    model = random_table(2)
    chain = "temperature=0.7 | top_k=3 | top_p=0.95"
    for c in dl.generate(model, [(6, 1)], f"{chain} | sample(n=20)", max_new_tokens=5)[0].candidates:
        prefix = (6, 1)
        for token, own, distribution in zip(c.tokens, c.token_logprobs, c.processed_logprobs, strict=True):
            logits = model.prefill([prefix])[0][0]
            assert own == pytest.approx(float(logits.log_softmax(-1)[token]), abs=1e-6)
            assert distribution == pytest.approx(float(dl.distribution(logits, chain)[token].log()), abs=1e-5)
            prefix = (*prefix, token)
        assert c.score == pytest.approx(c.processed_logprob, abs=1e-9)


def test_without_processors_both_are_the_same(random_table):
    for c in dl.generate(random_table(2), "", "sample(n=9)")[0].candidates:
        assert c.token_logprobs == c.processed_logprobs


@pytest.mark.parametrize("strategy", ["greedy", "temperature=0.8 | sample(n=3)", "beam(width=5, n=3)"])
def test_the_log_probability_of_a_continuation_is_its_score(stories, strategy):
    for g in dl.generate(stories, ["Once upon", "Lily saw a"], strategy, max_new_tokens=24, stop="."):
        for c in g.candidates:
            score = dl.score(stories, g.prompt_tokens, c.tokens)
            assert score.token_logprobs == pytest.approx(c.token_logprobs, abs=1e-4)
            assert score.logprob == pytest.approx(c.logprob, abs=1e-3)


def test_the_score_of_the_text_is_the_score_of_the_tokens(stories):
    (g,) = dl.generate(stories, "Once upon a time", "greedy", max_new_tokens=20)
    assert dl.score(stories, "Once upon a time", g.best.text).tokens == g.best.tokens
    assert dl.score(stories, "Once upon a time", g.best.text).logprob == pytest.approx(g.best.logprob, abs=1e-3)


def test_the_known_story_of_stories260k(stories):
    (g,) = dl.generate(stories, "", "greedy", max_new_tokens=200)
    assert g.best.text.startswith("Once upon a time, there was a little girl named Lily.")
    assert g.prompt_tokens == (1,)
    assert g.strategy == "greedy"
    assert g.model_digest == stories.digest
