"""Minimum Bayes risk among the candidates themselves."""

import math
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from unittest.mock import MagicMock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

import decodelab as dl
from decodelab.core.errors import UtilityFailed
from decodelab.core.protocols import Question
from decodelab.core.values import Candidate
from decodelab.metrics.overlap import rouge
from decodelab.select.utility import UTILITIES
from decodelab.select.utility.catalogue import compared
from decodelab.testing import check_selection, check_utility

SENTENCE = "the a cat dog sat, ran on mat. big red 3.5 U.S. it's -- x-y é 你好 &amp; don't I"
WORDS = SENTENCE.split()


def candidates(texts: Sequence[str], logprobs: Sequence[float] = ()) -> list[Candidate]:
    of = logprobs or [-1.0] * len(texts)
    return [Candidate((i,), t, (p,), (p,), "eos", i, p) for i, (t, p) in enumerate(zip(texts, of, strict=True))]


def rank(stage: dl.MBR, texts: Sequence[str], logprobs: Sequence[float] = ()) -> list[tuple[str, float]]:
    return [(c.text, score) for c, score in stage.rank(candidates(texts, logprobs), Question.of(""))]


def variants(rng: random.Random, most: int) -> list[str]:
    """Texts that differ in a few words, as samples of one prompt do."""
    words = [rng.choice(WORDS) for _ in range(rng.randrange(12))]
    found = []
    for _ in range(rng.randrange(1, most)):
        one = list(words)
        for _ in range(rng.randrange(4)):
            one.insert(rng.randrange(len(one) + 1), rng.choice(WORDS))
        found.append(" ".join(one[rng.randrange(3) :]))
    return found


@given(st.lists(st.text("ab .\n\u2028é你\ud800", max_size=12), min_size=1, max_size=4, unique=True))
@settings(max_examples=60)
def test_utilities_of_n_grams_are_sacrebleus(texts):
    sacre = {"chrf": CHRF(), "bleu": BLEU(effective_order=True)}
    places = range(len(texts))
    for name, metric in sacre.items():
        expected = [[metric.sentence_score(h, [r]).score for r in texts] for h in texts]
        assert compared(name, texts).utilities(places, places) == pytest.approx(np.array(expected), abs=1e-9)


@given(st.lists(st.text("ab c", max_size=9), min_size=1, max_size=4, unique=True))
@settings(max_examples=15)
def test_utilities_of_sequences_are_what_they_are_defined_as(texts):
    places = range(len(texts))
    edits = compared("edit", texts).utilities(places, places)
    longest = compared("rouge_l", texts).utilities(places, places)
    for h in places:
        for r in places:
            length = max(len(texts[h]), len(texts[r]), 1)
            assert edits[h, r] == pytest.approx(1 - levenshtein(texts[h], texts[r]) / length)
            assert longest[h, r] == pytest.approx(rouge(texts[h], texts[r]).rouge_l)


def levenshtein(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


class TestExpectedUtility:
    def test_the_text_most_like_the_others_wins_though_none_is_drawn_twice(self):
        texts = ["it is red", "the cat sat on the mat", "a cat sat on the mat", "the cat sat on a mat"]
        assert rank(dl.MBR(), texts)[0][0] == "the cat sat on the mat"

    def test_each_sample_weighs_the_same_so_duplicates_count(self):
        equal = dl.MBR(utility="exact")
        assert rank(equal, ["a", "b", "b", "c"]) == [("b", 0.5), ("b", 0.5), ("a", 0.25), ("c", 0.25)]

    def test_by_probability_each_different_text_weighs_what_the_model_gives_it(self):
        # "b" comes twice with the same tokens, which is one sequence, and once with others: 0.2 + 0.2 of 0.9.
        pool = candidates(["a", "b", "b", "b"], [math.log(p) for p in (0.5, 0.2, 0.2, 0.2)])
        pool[2] = Candidate((1,), "b", pool[1].token_logprobs, pool[1].token_logprobs, "eos", 2, 0.0)
        ranked = dl.MBR(utility="exact", weight="probability").rank(pool, Question.of(""))
        assert [(c.text, round(s, 9)) for c, s in ranked] == [("a", round(5 / 9, 9))] + [("b", round(4 / 9, 9))] * 3

    def test_exact_match_of_answers_is_a_vote(self):
        texts = ["So 12.", "no idea", "7", "12!", "it is 8", "7"]
        by_answer = dl.MBR(utility="exact", answer="integer").rank(candidates(texts), Question.of(""))
        voted = dl.Vote().rank(candidates(texts), Question.of(""))
        assert {c.sample: score for c, score in by_answer} == pytest.approx({c.sample: score for c, score in voted})
        assert (by_answer[0][0].text, by_answer[-1][0].text) == ("So 12.", "no idea")

    def test_what_is_no_answer_comes_last_and_helps_nobody(self):
        ranked = rank(dl.MBR(), ["<think> the cat </think>", "the cat", "a dog"])
        assert ranked[-1] == ("<think> the cat </think>", 0.0)
        assert ranked[0][1] < 50

    def test_ties_go_to_the_earlier_sample_whatever_rounding_does(self):
        texts = [
            " ".join(words) for words in ("a b c", "c a b", "b c a", "a c b", "c b a", "b a c") for words in [words]
        ]
        assert [t for t, _ in rank(dl.MBR(utility=lambda h, r: 0.1 if h != r else 0.3), texts)] == texts

    def test_a_function_compares_each_pair_of_different_texts_once(self):
        asked: list[tuple[str, str]] = []

        def longer(hypothesis: str, reference: str) -> float:
            asked.append((hypothesis, reference))
            return len(hypothesis) - len(reference)

        assert rank(dl.MBR(utility=longer), ["a", "bb", "a"])[0] == ("bb", pytest.approx(2 / 3))
        assert sorted(asked) == [("a", "a"), ("a", "bb"), ("bb", "a"), ("bb", "bb")]

    @pytest.mark.parametrize("weight", ["count", "probability"])
    def test_some_of_a_pool_are_ranked_as_if_they_were_all(self, weight):
        rng = random.Random(1)
        pool = candidates(texts := variants(rng, 20), [-rng.random() for _ in texts])
        for aggregate in (False, True):
            stage = dl.MBR(weight=weight, aggregate=aggregate)
            ranker = stage.prepare(pool, Question.of(""))
            for _ in range(10):
                places = sorted(rng.sample(range(len(pool)), rng.randrange(1, len(pool) + 1)))
                alone = stage.rank([pool[i] for i in places], Question.of(""))
                assert [(pool[i], pytest.approx(score)) for i, score in ranker(places)] == alone


class TestPruning:
    def test_the_winner_is_mostly_the_same_with_fewer_comparisons(self):
        rng = random.Random(3)
        asked = 0

        def shared(hypothesis: str, reference: str) -> float:
            nonlocal asked
            asked += 1
            a, b = set(hypothesis.split()), set(reference.split())
            return len(a & b) / max(len(a | b), 1)

        same = whole = few = 0
        for _ in range(6):
            texts = [" ".join(rng.sample(WORDS[: rng.choice((6, 20))], 5)) for _ in range(64)]
            asked = 0
            best = dict(rank(dl.MBR(utility=shared), texts))
            whole, asked = whole + asked, 0
            found = rank(dl.MBR(utility=shared, prune=0.9), texts)
            few += asked
            assert sorted(t for t, _ in found) == sorted(texts)
            assert [s for _, s in found] == sorted((s for _, s in found), reverse=True)
            same += best[found[0][0]] >= max(best.values()) - 0.01
        assert few < 0.6 * whole
        assert same >= 5

    def test_without_enough_candidates_to_drop_any_it_is_the_same(self):
        texts = ["the cat", "the cat sat", "a dog", "<think>"]
        assert rank(dl.MBR(prune=0.99), texts)[0] == rank(dl.MBR(), texts)[0]

    def test_it_draws_by_the_seed_alone(self):
        assert not dl.Strategy.of("sample(n=4) | mbr(prune=0.9)").deterministic
        assert dl.MBR().deterministic()


@pytest.mark.parametrize("stage", [*(dl.MBR(utility=name) for name in UTILITIES), dl.MBR(prune=0.9)], ids=str)
def test_whatever_the_texts_every_candidate_is_ranked_once(stage):
    check_selection(stage)
    check_utility(stage.utility)


@pytest.mark.parametrize(
    ("utility", "message"),
    [
        (lambda h, r: math.nan, "must give a finite number, got nan for one against one; fix the utility"),
        (lambda h, r: 1 / 0, "raised ZeroDivisionError: .* for one against one"),
    ],
)
def test_a_function_that_gives_no_number_is_named_with_the_texts(utility, message):
    with pytest.raises(UtilityFailed, match=message):
        rank(dl.MBR(utility=utility), ["one"])


def test_a_utility_that_does_not_give_a_number_for_each_pair_is_named():
    class Flat:
        def read(self, texts: Sequence[str]) -> "Flat":
            return self

        def utilities(self, hypotheses: Sequence[int], references: Sequence[int]) -> np.ndarray:
            return np.zeros(len(hypotheses))

    with pytest.raises(UtilityFailed, match=r"numbers \[2 hypotheses, 2 references\], got shape \[2\]"):
        rank(dl.MBR(utility=Flat()), ["a", "b"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mbr(utility=comet)", "mbr: utility must be one of chrf, bleu, rouge_l, edit, exact, got comet"),
        ("mbr(utility=blue)", ".*did you mean 'bleu'"),
        ("mbr(weight=logprob)", "mbr: weight must be one of count, probability, got logprob"),
        ("mbr(prune=1)", r"mbr: prune must be in \[0, 1\), got 1"),
        ("mbr(utility=edit, aggregate=true)", "mbr: aggregate needs a utility of n-gram counts, got utility=edit"),
        ("mbr(aggregate=true, prune=0.9)", "mbr: prune must be 0 with aggregate"),
        ("mbr(weight=probability, prune=0.9)", "mbr: prune resamples samples, so weight must be count"),
    ],
)
def test_unknown_choices_are_refused_with_what_there_is(text, message):
    with pytest.raises(dl.DecodelabError, match=f"^{message}"):
        dl.Strategy.of(f"sample(n=4) | {text}")


@pytest.mark.skipif(
    find_spec("mbrs") is None,
    reason="mbrs is not installed; it asks for transformers 4, so make peers installs it without what it asks for",
)
def test_winners_are_those_of_mbrs_on_1000_sets_of_candidates(monkeypatch):
    for model in ("bertscore", "bleurt", "comet", "cometkiwi", "metricx", "ter", "xcomet"):
        monkeypatch.setitem(__import__("sys").modules, f"mbrs.metrics.{model}", MagicMock())  # need transformers 4
    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor", ThreadPoolExecutor)  # a pool for each set is slow
    import mbrs.decoders as decoders  # pyright: ignore[reportMissingImports]
    import mbrs.metrics as metrics  # pyright: ignore[reportMissingImports]
    import torch

    rng = random.Random(7)
    theirs = {"chrf": metrics.MetricChrF, "bleu": metrics.MetricBLEU}
    theirs = {name: metric(metric.Config(num_workers=1)) for name, metric in theirs.items()}
    for number in range(1000):
        utility = ("chrf", "bleu")[number % 2]
        aggregate, by_probability = number % 4 >= 2, number % 8 >= 4
        decoder = decoders.DecoderAggregateMBR if aggregate else decoders.DecoderMBR
        texts = variants(rng, 9)
        logprobs = [-3 * rng.random() for _ in texts]
        if by_probability:
            texts = list(dict.fromkeys(texts))
            logprobs = logprobs[: len(texts)]
        given = torch.tensor(logprobs) if by_probability else None
        found = decoder(decoder.Config(), theirs[utility]).decode(
            texts, texts, nbest=len(texts), reference_lprobs=given
        )
        scores = dict(zip(found.idx, found.score, strict=True))
        stage = dl.MBR(utility=utility, weight="probability" if by_probability else "count", aggregate=aggregate)
        mine = stage.rank(candidates(texts, logprobs), Question.of(""))
        assert {c.sample: score for c, score in mine} == pytest.approx(scores, abs=1e-3), texts  # theirs are float32
        assert scores[mine[0][0].sample] == pytest.approx(max(scores.values()), abs=1e-4), texts
