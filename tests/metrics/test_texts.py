"""Text metrics: worked examples, equality with sacrebleu and rouge-score, every script, empty texts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.core.errors import InvalidData
from decodelab.core.integers import read_integer
from decodelab.core.words import rouge_words, words
from decodelab.metrics.closeness import area, divergence_curve, mauve
from decodelab.metrics.diversity import (
    coherence,
    compression_ratio,
    distinct_n,
    pairwise_distance,
    self_bleu,
    unique_n_grams,
    vocabulary_diversity,
    vocabulary_size,
)
from decodelab.metrics.fluency import accepted, rating_prompt, stated_rating
from decodelab.metrics.overlap import (
    bleu,
    chrf,
    exact_match,
    integer_match,
    mean_rouge,
    rouge,
)
from decodelab.metrics.repetition import ends_in_loop, repetition_rate, seq_rep_n, token_repetition

sequences = st.lists(st.lists(st.integers(0, 5), max_size=12), max_size=5)
ENGLISH = ["the cat sat on the mat", "a dog ran over the hill today", "there is a cat on the mat"]
REFERENCES = [["the cat is on the mat", "there sat a cat"], ["the dog runs over hills today"], ["a cat sat on a mat"]]
SCRIPTS = [
    "你好\N{IDEOGRAPHIC FULL STOP}世界",
    "Привет, мир",
    "नमस्ते दुनिया",
    "مرحبا بالعالم",
    "👨‍👩‍👧 😀",
    "สวัสดี",
    "שלום",
    "e\N{COMBINING ACUTE ACCENT}t",
]


@given(sequences, st.integers(1, 3))
def test_unique_n_grams_are_distinct_n_without_the_division(seqs, n):
    total = sum(max(0, len(s) - n + 1) for s in seqs)
    if total:
        assert unique_n_grams(seqs, n) == pytest.approx(distinct_n(seqs, n) * total)
    else:
        assert unique_n_grams(seqs, n) == 0
    assert vocabulary_size(seqs) == len({t for s in seqs for t in s})


def test_vocabulary_diversity_is_a_mean_over_texts_and_distinct_1_is_not():
    same = ["one two three"] * 10
    assert vocabulary_diversity(same) == 1.0
    assert distinct_n([t.split() for t in same], 1) == 0.1
    assert math.isnan(vocabulary_diversity(["", "  "]))


def test_self_bleu_is_sacrebleu_of_each_against_the_others():
    from sacrebleu import sentence_bleu

    expected = [sentence_bleu(t, ENGLISH[:i] + ENGLISH[i + 1 :]).score for i, t in enumerate(ENGLISH)]
    assert self_bleu(ENGLISH) == pytest.approx(np.mean(expected))
    assert self_bleu(["all the same words"] * 4) == pytest.approx(100)
    assert math.isnan(self_bleu(["alone"]))


def test_self_bleu_of_many_texts_looks_at_some_and_says_the_same_each_time():
    texts = [f"{i} cats sat on {i * 7 % 13} mats" for i in range(30)]
    assert self_bleu(texts, at_most=8) == self_bleu(texts, at_most=8)
    # More references make a match more likely: values of different numbers of texts cannot be compared.
    assert self_bleu(texts, at_most=8) < self_bleu(texts)


@given(st.lists(st.text(max_size=30), max_size=5))
def test_compression_is_defined_for_any_text(texts):
    ratio = compression_ratio(texts)
    assert ratio > 0 or math.isnan(ratio)
    assert math.isnan(compression_ratio([]))


def test_repetition_compresses():
    assert compression_ratio(["again and again"] * 100) > 20 > 3 > compression_ratio(ENGLISH)


@given(st.integers(0, 2**31))
def test_pairwise_distance_is_the_mean_over_pairs(seed):
    x = np.random.default_rng(seed).normal(size=(5, 3))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    pairs = [1 - unit[i] @ unit[j] for i in range(5) for j in range(i)]
    assert pairwise_distance(x) == pytest.approx(np.mean(pairs))


def test_pairwise_distance_of_one_text_is_nan_and_of_equal_texts_0():
    assert math.isnan(pairwise_distance([[1.0, 2.0]]))
    assert pairwise_distance([[1.0, 2.0]] * 3) == pytest.approx(0)
    assert coherence([[1.0, 0.0]], [[-3.0, 0.0]]) == -1


@given(sequences, st.integers(1, 3))
def test_seq_rep_n_of_one_sequence_is_1_minus_distinct_n(seqs, n):
    for s in seqs:
        found, distinct = seq_rep_n([s], n), distinct_n([s], n)
        assert found == pytest.approx(1 - distinct, nan_ok=True)


def test_token_repetition_looks_back_over_its_window():
    assert token_repetition([[1, 1, 1, 1]]) == 3 / 4
    assert token_repetition([[1, 2, 3, 1]], window=2) == 0
    assert token_repetition([[1, 2, 3, 1]], window=3) == 1 / 4
    assert math.isnan(token_repetition([]))


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("a b a b a b", True),
        ("once upon a time and then and then and then", True),
        ("a b a b", False),
        ("a a a", False),
        ("a a a a a a", True),
        ("a b a b a b c", False),
        ("", False),
    ],
)
def test_a_loop_is_a_phrase_of_two_tokens_three_times_at_the_end(text, loops):
    assert ends_in_loop(text.split()) is loops
    assert repetition_rate([text.split(), [1, 2, 3]]) == (0.5 if loops else 0)


@given(st.lists(st.integers(0, 2), max_size=12))
def test_loops_agree_with_the_definition(tokens):
    n = len(tokens)
    expected = any(
        tokens[n - k :] == tokens[n - 2 * k : n - k] == tokens[n - 3 * k : n - 2 * k] for k in range(2, n // 3 + 1)
    )
    assert ends_in_loop(tokens) == expected


@pytest.mark.parametrize("stem", [True, False])
def test_rouge_equals_rouge_score_on_ascii(stem):
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=stem)
    rng = np.random.default_rng(0)
    vocabulary = ["cats", "cat", "running", "runs", "the", "don't", "U.S.", "1,200", "mats!", "a"]
    for _ in range(40):
        prediction, reference = (" ".join(rng.choice(vocabulary, rng.integers(0, 12))) for _ in range(2))
        expected = theirs.score(reference, prediction)
        found = rouge(prediction, reference, stem=stem)
        assert found.rouge1 == pytest.approx(expected["rouge1"].fmeasure)
        assert found.rouge2 == pytest.approx(expected["rouge2"].fmeasure)
        assert found.rouge_l == pytest.approx(expected["rougeL"].fmeasure)


def test_rouge_lsum_is_rouge_scores_with_a_line_for_each_sentence():
    from rouge_score.rouge_scorer import RougeScorer

    text, reference = "The cat sat. A dog ran off!", "A dog ran away. The cat sat down."
    theirs = RougeScorer(["rougeLsum"], use_stemmer=True)
    expected = theirs.score("A dog ran away.\nThe cat sat down.", "The cat sat.\nA dog ran off!")["rougeLsum"].fmeasure
    assert rouge(text, reference).rouge_lsum == pytest.approx(expected)
    assert rouge(text.replace(". ", ".\n"), reference.replace(". ", ".\n")).rouge_lsum == pytest.approx(expected)
    assert rouge(text, reference).rouge_lsum > rouge(text, reference).rouge_l


@pytest.mark.parametrize(
    ("text", "reference"), [("the cat", "the cat"), ("cat", "cat"), ("the cat", "a cat"), ("a b c d", "a b c e")]
)
def test_bleu_of_a_single_text_is_sacrebleus_of_a_sentence(text, reference):
    from sacrebleu import sentence_bleu

    assert bleu([text], [[reference]]) == pytest.approx(sentence_bleu(text, [reference]).score)
    assert (bleu([text], [[reference]]) == pytest.approx(100)) is (text == reference)


def test_bleu_and_chrf_equal_sacrebleu_with_different_numbers_of_references():
    import sacrebleu

    padded = [[r[0] for r in REFERENCES], [r[1] if len(r) > 1 else None for r in REFERENCES]]
    assert bleu(ENGLISH, REFERENCES) == pytest.approx(sacrebleu.corpus_bleu(ENGLISH, padded).score)  # pyright: ignore
    assert chrf(ENGLISH, REFERENCES) == pytest.approx(sacrebleu.corpus_chrf(ENGLISH, padded).score)  # pyright: ignore
    assert mean_rouge(ENGLISH, REFERENCES).rouge1 == pytest.approx(
        np.mean([rouge(t, r).rouge1 for t, r in zip(ENGLISH, REFERENCES, strict=True)])
    )


@pytest.mark.parametrize("text", SCRIPTS)
def test_a_text_equals_itself_in_any_script(text):
    assert words(text)
    assert exact_match(text, f"  {text}\n")
    assert chrf([text], [[text]]) == pytest.approx(100)
    if rouge_words(text):
        assert rouge(text, text).rouge1 == pytest.approx(1)
        assert rouge(text, "something else").rouge1 == 0


def test_rouge_sees_words_where_rouge_score_sees_nothing():
    assert rouge("我喜欢猫", "我喜欢狗").rouge1 == pytest.approx(3 / 4)
    assert rouge("Привет мир", "Привет всем").rouge1 == pytest.approx(1 / 2)


def test_words_follow_unicode():
    assert words("It's 3.14, isn't it?") == ["It's", "3.14", "isn't", "it"]
    assert words("👨‍👩‍👧👍🏽") == ["👨‍👩‍👧", "👍🏽"]
    assert words("  \n… ") == []


@given(st.text(max_size=60))
def test_words_of_any_text_are_pieces_of_it(text):
    assert all(w and w in text for w in words(text))


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_breaks_a_comparison(prediction, reference):
    for value in vars(rouge(prediction, reference)).values():
        assert 0 <= value <= 1
    assert 0 <= chrf([prediction], [[reference]]) <= 100 + 1e-9
    assert 0 <= bleu([prediction], [[reference]]) <= 100 + 1e-9
    assert exact_match(prediction, prediction)


def test_composed_and_decomposed_letters_match():
    assert exact_match("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("The answer is 12.", 12),
        ("-3", -3),
        ("5-3", 3),
        ("1,234,567 eggs", 1234567),
        ("x", None),
        ("", None),
        ("12,34", 34),
        ("9" * 2000, None),
    ],
)
def test_the_last_integer_of_a_text(text, value):
    assert read_integer(text) == value
    assert integer_match(text, text) is (value is not None)


def test_empty_texts_score_nothing():
    assert rouge("", "a b").rouge1 == 0
    assert bleu([""], [["a b"]]) == 0
    assert not integer_match("", "")


def test_mauve_is_1_for_the_same_texts_and_small_for_others():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 10))
    assert mauve(x, x).value == pytest.approx(1.0)
    near = mauve(x, rng.normal(size=(300, 10))).value
    far = mauve(x, rng.normal(size=(300, 10)) + 3).value
    assert 0.9 < near <= 1
    assert far < 0.1
    assert mauve(x, x + 0.1, seed=3).value == mauve(x, x + 0.1, seed=3).value


@given(st.integers(0, 2**31))
def test_the_divergence_curve_is_monotone_and_its_area_symmetric(seed):
    p, q = np.random.default_rng(seed).dirichlet(np.ones(6), 2)
    curve = divergence_curve(p, q)
    assert (np.diff(curve[:, 0]) <= 1e-12).all()
    assert (np.diff(curve[:, 1]) >= -1e-12).all()
    assert area(curve) == pytest.approx(area(divergence_curve(q, p)))
    assert 0 <= area(curve) <= 1


def test_the_area_of_two_distributions_as_mauve_text_has_it():
    # What mauve-text 0.4.0 gives for these two histograms.
    assert area(divergence_curve([0.5, 0.2, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4])) == pytest.approx(0.5750414118633534)


def test_texts_accepted_by_a_grammar():
    assert accepted(["ab", "b"], lambda t: t.startswith("a")) == 0.5
    assert math.isnan(accepted([], bool))


@pytest.mark.parametrize(
    ("answer", "rating"),
    [("7", 7.0), ("Rating: 8.5/10", 8.5), ("11", 10.0), ("great", None), ("", None), ("9" * 99999, 10.0)],
)
def test_ratings_of_a_judge(answer, rating):
    assert stated_rating(answer) == rating
    assert rating_prompt("A text.").endswith("A text.\nRating:")


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: unique_n_grams([[1]], 0), "n must be at least 1, got 0"),
        (lambda: self_bleu(["a", "b"], at_most=1), "at_most must be at least 2"),
        (lambda: token_repetition([[1]], window=0), "window must be at least 1"),
        (lambda: ends_in_loop([1], times=1), "times must be at least 2"),
        (lambda: pairwise_distance([[0.0, 0.0], [1.0, 0.0]]), "a row of zeros"),
        (lambda: pairwise_distance([[math.nan, 0.0], [1.0, 0.0]]), "must be finite"),
        (lambda: coherence([[1.0]], [[1.0, 2.0]]), "one embedding each"),
        (lambda: rouge("a", []), "at least one reference"),
        (lambda: bleu([], []), "at least one text"),
        (lambda: bleu(["a"], []), "got 0 for 1"),
        (lambda: bleu(["a"], [[]]), "item 0 needs a list"),
        (lambda: bleu(["a"], [["a"]], tokenize="words"), "must be one of"),
        (lambda: mauve([[1.0], [2.0]], [[1.0, 2.0]]), "at least 2 texts on each side"),
        (lambda: mauve([[1.0], [2.0]], [[1.0], [2.0]], clusters=9), "from 2 to the number of texts 4, got 9"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, why):
    with pytest.raises(InvalidData) as caught:
        call()
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
