"""The probability a model gives to a text."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import InvalidParameter, NonFiniteLogits, PromptTooLong, RequestError, UnknownToken
from decodelab.core.notices import PromptWarning
from decodelab.engine.scoring import score_each, score_many, windows

ids = st.lists(st.integers(0, 4), min_size=1, max_size=6).map(tuple)


@given(st.lists(st.tuples(ids.map(lambda p: (6, *p)), ids), min_size=1, max_size=8), st.integers(1, 9))
@settings(max_examples=50)
def test_every_token_gets_its_conditional_log_probability_and_rank(random_table, pairs, max_rows):
    model = random_table(5)
    for (prompt, completion), score in zip(pairs, score_many(model, pairs, max_rows=max_rows), strict=True):
        distributions = [model.probs((*prompt, *completion[:i])) for i in range(len(completion))]
        expected = [
            math.log(distribution[token]) for distribution, token in zip(distributions, completion, strict=True)
        ]
        assert score.token_logprobs == pytest.approx(expected, abs=1e-5)
        assert score.logprob == pytest.approx(math.fsum(expected), abs=1e-4)
        assert score.ranks == tuple(
            1 + sum(p > distribution[t] for p in distribution)
            for distribution, t in zip(distributions, completion, strict=True)
        )
        assert score.tokens == completion


@pytest.fixture(scope="module", params=["pocket-nano", "pocket-small", "stories260K"])
def network(request):
    pocket = request.param.startswith("pocket")
    return dl.load_transformers(request.param if pocket else request.getfixturevalue("stories260k_dir"))


def plain_loss(model, prompt, completion):
    """What transformers gives as loss when the prompt is masked out of the labels."""
    ids = torch.tensor([[*prompt, *completion]])
    labels = ids.clone()
    labels[:, : len(prompt)] = -100
    with torch.no_grad():
        return float(model.model(input_ids=ids, labels=labels, use_cache=False).loss)


def ragged_pairs(model):
    """Completions of different lengths: several of one prompt, prompts of one token and of many."""
    words = [t for t in range(5, 400) if t not in model.vocab.eos_ids]
    prompts = [tuple(words[3:20]), (1,), tuple(words[:90]), tuple(words[3:20])]
    lengths = [(1, 7, 2, 60), (100, 1), (3, 3, 40), (5,)]
    return [(p, tuple(words[n : 2 * n])) for p, ns in zip(prompts, lengths, strict=True) for n in ns]


@pytest.mark.parametrize("max_rows", [1, 3, 64])
def test_log_likelihoods_are_minus_the_loss_of_transformers_whatever_the_batch(network, max_rows):
    pairs = ragged_pairs(network)
    for (prompt, completion), score in zip(pairs, score_many(network, pairs, max_rows=max_rows), strict=True):
        assert -score.mean_logprob == pytest.approx(plain_loss(network, prompt, completion), abs=1e-5)


def test_order_and_company_change_no_score(network):
    pairs = ragged_pairs(network)
    alone = [dl.score(network, *pair).logprob for pair in pairs]
    together = [score.logprob for score in score_many(network, pairs[::-1])][::-1]
    assert together == pytest.approx(alone, abs=1e-3)


class Counting:
    """A model that counts the positions it computes."""

    def __init__(self, model):
        self.model = model
        self.prefilled = self.extended = 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def prefill(self, prompts):
        self.prefilled += sum(map(len, prompts))
        return self.model.prefill(prompts)

    def decode(self, cache, tokens):
        self.extended += tokens.numel()
        return self.model.decode(cache, tokens)


def test_a_prompt_is_prefilled_once_for_all_its_completions(stories):
    model = Counting(stories)
    prompt = tuple(range(10, 310))
    score_many(model, [(prompt, range(20, 24 + i)) for i in range(4)])  # pyright: ignore[reportArgumentType]
    assert model.prefilled == 300
    assert model.extended == 4 * 6  # all but the last token of each, filled up to the longest


def test_single_tokens_after_one_prompt_cost_nothing_but_the_prompt(stories):
    model = Counting(stories)
    letters = score_many(model, [((1, 403), (token,)) for token in range(300)])  # pyright: ignore[reportArgumentType]
    assert (model.prefilled, model.extended) == (2 * 5, 0)  # five batches of 64
    everything = score_many(stories, [((1, 403), (token,)) for token in range(512)])
    assert math.fsum(math.exp(s.logprob) for s in everything) == pytest.approx(1, abs=1e-5)
    assert sorted(s.ranks[0] for s in everything) == list(range(1, 513))
    assert letters[7].logprob == pytest.approx(everything[7].logprob, abs=1e-5)


def test_completions_of_different_lengths_do_not_disturb_one_another():
    # After `b` nothing is defined: feeding any filler after it would be an error.
    model = dl.TableModel(["a", "b"], {(): {"a": 0.5, "b": 0.5}, ("a",): {"a": 1.0}, ("a", "a"): {"b": 1.0}}, bos="<s>")
    found = score_many(model, [("", "b"), ("", "a a b"), ("", "a a")])
    assert [round(s.logprob, 4) for s in found] == [-0.6931, -0.6931, -0.6931]


def test_the_most_probable_tokens_of_each_place_come_with_their_log_probabilities():
    model = dl.TableModel(["a", "b", "c"], {...: {"a": 0.2, "b": 0.4, "c": 0.4}}, bos="<s>")
    first, second = dl.score(model, "", "c a", alternatives=2).alternatives
    assert first == second
    # Equally probable: the lower id comes first, and is what greedy would take.
    assert [(a.token, a.text, round(math.exp(a.logprob), 6)) for a in first] == [(1, "b", 0.4), (2, "c", 0.4)]
    assert dl.score(model, "", "c a").alternatives == ()


def test_ranks_say_whether_greedy_decoding_would_write_it(stories):
    best = dl.generate(stories, ["Once upon"], "greedy", max_new_tokens=20)[0].best
    score = dl.score(stories, "Once upon", best.tokens)
    assert set(score.ranks) == {1}
    assert score.is_greedy
    assert score.token_logprobs == pytest.approx(best.token_logprobs, abs=1e-4)
    assert not dl.score(stories, "Once upon", " zebra").is_greedy


def test_equally_probable_tokens_are_ranked_by_id(uniform):
    assert [s.ranks[0] for s in score_many(uniform, [("", [i]) for i in range(5)])] == [1, 2, 3, 4, 5]


def test_each_score_comes_as_soon_as_it_is_done_and_progress_counts_tokens(stories):
    pairs = [((1,), range(10, 10 + n)) for n in (3, 1, 2)]
    told = []
    found = dict(score_each(stories, pairs, max_rows=1, report=lambda done, of: told.append((done, of))))
    assert [len(found[i].tokens) for i in range(3)] == [3, 1, 2]
    assert told == [(3, 6), (5, 6), (6, 6)]


class TestWindows:
    @given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
    def test_each_new_token_is_scored_once_with_enough_before_it(self, given_tokens, new, context, stride):
        total, stride = given_tokens + new, min(stride, context)
        cut = list(windows(given_tokens, total, context, stride))
        assert [t for w in cut for t in range(w.first, w.end)] == list(range(given_tokens, total))
        for w in cut:
            assert 0 <= w.start < w.first < w.end
            assert w.end - 1 - w.start <= context
            for token in range(w.first, w.end):
                assert token - w.start >= min(token, context - stride + 1)

    def test_what_fits_is_one_window(self):
        assert (
            list(windows(3, 9, 8, None)) == list(windows(3, 9, 8, 2)) == list(windows(3, 9, None, None)) == [(0, 3, 9)]
        )

    def test_a_text_beyond_the_context_is_scored_window_by_window(self, stories, stories260k_dir):
        theirs = dl.load_transformers(stories260k_dir).model
        tokens = tuple(3 + (7 * i * i + i) % 500 for i in range(1300))
        score = dl.score(stories, (1,), tokens, stride=200)
        whole = (1, *tokens)
        expected = []
        for w in windows(1, 1301, 512, 200):
            with torch.no_grad():
                logits = theirs(input_ids=torch.tensor([whole[w.start : w.end - 1]]), use_cache=False).logits[0]
            logprobs = logits.double().log_softmax(-1)[w.first - w.start - 1 :]
            expected += logprobs[torch.arange(len(logprobs)), list(whole[w.first : w.end])].tolist()
        assert score.token_logprobs == pytest.approx(expected, abs=1e-4)
        assert -score.mean_logprob == pytest.approx(-sum(expected) / 1300, abs=1e-5)
        assert score.token_logprobs[:512] == pytest.approx(
            dl.score(stories, (1,), tokens[:512]).token_logprobs, abs=1e-4
        )

    def test_a_prompt_beyond_the_context_keeps_its_end(self, stories):
        prompt = tuple(3 + (5 * i * i + i) % 500 for i in range(900))
        score = dl.score(stories, prompt, (7, 8), stride=2)
        assert score.logprob == pytest.approx(dl.score(stories, prompt[-511:], (7, 8)).logprob, abs=1e-4)

    def test_without_a_stride_a_text_beyond_the_context_is_refused_with_the_way_out(self, stories):
        with pytest.raises(
            PromptTooLong, match=r"700 tokens, the context length is 512; .* give a stride, such as 256"
        ):
            dl.score(stories, (1,), [5] * 699)

    @pytest.mark.parametrize("stride", [0, -3, 513])
    def test_a_stride_that_skips_or_stands_still_is_refused(self, stories, stride):
        with pytest.raises(InvalidParameter, match=rf"stride must be in \[1, 512\].* got {stride}"):
            dl.score(stories, "Once", " upon", stride=stride)


@pytest.mark.parametrize("text", ["Éric a mangé 3 crêpes", "鹿", "Привет", "👩‍👩‍👧‍👦🏽", "a\x00b\u202e", "مرحبا"])
def test_any_script_and_emoji_can_be_scored(network, text):
    score = dl.score(network, "", text)
    assert score.completion == text
    assert math.isfinite(score.logprob)
    assert score.bits_per_byte == pytest.approx(-score.logprob / math.log(2) / len(text.encode()))
    assert score.bits_per_character == pytest.approx(-score.logprob / math.log(2) / len(text))


def test_characters_without_a_token_are_scored_as_unknown_and_that_is_said(babyllama_dir):
    with pytest.warns(PromptWarning, match='does not have "鹿"'):
        score = dl.score(dl.load(babyllama_dir), "a", "鹿")
    assert score.token_texts == ("<unk>",)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"max_rows": 0}, "max_rows must be at least 1, got 0"),
        ({"alternatives": -1}, r"alternatives must be in \[0, 7\], got -1"),
        ({"alternatives": 8}, r"alternatives must be in \[0, 7\], got 8"),
    ],
)
def test_settings_out_of_range_are_refused(random_table, given, why):
    with pytest.raises(InvalidParameter, match=why):
        score_many(random_table(0), [((6,), (1,))], **given)


def test_a_model_that_answers_nan_is_refused(random_table):
    class Broken(Counting):
        def prefill(self, prompts):
            logits, cache = self.model.prefill(prompts)
            return logits * math.nan, cache

    with pytest.raises(NonFiniteLogits, match="table-0 returned NaN"):
        dl.score(Broken(random_table(0)), (6,), (1,))  # pyright: ignore[reportArgumentType]


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
