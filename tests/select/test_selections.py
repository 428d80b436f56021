"""Which finished candidate wins."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import ScorerFailed, UnsupportedStrategy
from decodelab.core.notices import NoQuorum
from decodelab.core.protocols import Question, Selection
from decodelab.core.values import Candidate, Confidences
from decodelab.select.readers import READERS


def candidate(sample: int, text: str = "", logprob: float = -1.0, tokens: int = 1) -> Candidate:
    each = (logprob / tokens,) * tokens if tokens else ()
    return Candidate((0,) * tokens, text, each, each, "eos", sample, 0.0)


def rank(selection: Selection, candidates: Sequence[Candidate]) -> list[tuple[Candidate, float]]:
    return selection.rank(candidates, Question.of(""))


def order(ranked: list[tuple[Candidate, float]]) -> list[int]:
    return [c.sample for c, _ in ranked]


class TestBestOf:
    def test_the_mean_does_not_favour_short_texts_and_the_sum_does(self):
        short, long = candidate(0, logprob=-2.0, tokens=1), candidate(1, logprob=-3.0, tokens=3)
        assert order(rank(dl.BestOf(), [short, long])) == [1, 0]
        assert order(rank(dl.BestOf(by="logprob"), [short, long])) == [0, 1]

    def test_scores_are_the_log_probabilities_ranked_by(self):
        ranked = rank(dl.BestOf(), [candidate(0, logprob=-6.0, tokens=3), candidate(1, logprob=-1.0)])
        assert [score for _, score in ranked] == [-1.0, -2.0]

    def test_ties_go_to_the_lower_sample(self):
        assert order(rank(dl.BestOf(), [candidate(2), candidate(0), candidate(1)])) == [0, 1, 2]

    def test_an_empty_candidate_counts_as_certain(self):
        # It has no token that could have cost anything.
        assert order(rank(dl.BestOf(), [candidate(0), candidate(1, tokens=0)])) == [1, 0]

    def test_the_impossible_comes_last(self):
        assert order(rank(dl.BestOf(), [candidate(0, logprob=-math.inf), candidate(1, logprob=-900.0)])) == [1, 0]

    @given(st.permutations(range(6)))
    def test_the_order_of_candidates_does_not_matter(self, shuffled):
        candidates = [candidate(i, logprob=-float(i % 3)) for i in range(6)]
        assert order(rank(dl.BestOf(), [candidates[i] for i in shuffled])) == [0, 3, 1, 4, 2, 5]

    def test_it_ranks_what_a_search_returned(self):
        model = dl.TableModel(["a", "b"], {(): {"a": 0.6, "b": 0.4}, "a": {"</s>": 1.0}, "b": {"</s>": 1.0}}, bos="<s>")
        (g,) = dl.generate(model, "", "sample(n=8) | best_of(by=logprob)")
        assert g.best.text == "a"
        assert [c.score for c in g.candidates] == sorted((c.score for c in g.candidates), reverse=True)
        assert g.best.score == pytest.approx(math.log(0.6), abs=1e-6)


class TestVote:
    def test_what_was_cut_in_a_thought_that_the_prompt_opened_has_no_vote(self):
        words = dl.TableModel(["7", "8", "<think>", "</think>"], {...: {"7": 0.5, "8": 0.5}}, bos="<s>")
        strategy = "sample(n=4) | vote"
        (cut,) = dl.generate(words, "<think>", strategy, max_new_tokens=1)
        (said,) = dl.generate(words, "<think> </think>", strategy, max_new_tokens=1)
        assert [c.score for c in cut.candidates] == [0.0] * 4
        assert {c.text.strip() for c in cut.candidates} <= {"7", "8"}
        assert said.candidates[0].score >= 0.5

    def test_the_majority_answer_wins_whatever_the_wording(self):
        texts = ["So it is 12.", "7", "The answer is 12", "I say 8", "12!"]
        ranked = rank(dl.Vote(), [candidate(i, t) for i, t in enumerate(texts)])
        assert order(ranked) == [0, 2, 4, 1, 3]
        assert [share for _, share in ranked] == [0.6, 0.6, 0.6, 0.2, 0.2]

    def test_ties_go_to_the_answer_seen_first(self):
        assert order(rank(dl.Vote(), [candidate(i, t) for i, t in enumerate(["5", "6", "6", "5"])])) == [0, 3, 1, 2]

    def test_texts_without_an_answer_have_no_vote_and_come_last(self):
        ranked = rank(dl.Vote(), [candidate(i, t) for i, t in enumerate(["none", "no idea", "4"])])
        assert order(ranked) == [2, 0, 1]
        assert [share for _, share in ranked] == [pytest.approx(1 / 3), 0.0, 0.0]

    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            ("7 + 1,005 is 1,012.", "1012"),
            ("= 007", "7"),
            ("-12", "-12"),
            ("-0", "0"),
            ("000", "0"),
            ("from 3 to 4, 5", "5"),
            ("5 - 3 = 2\nDone.", "2"),
            ("10-3", "3"),
            ("pages 3-4", "4"),
            ("x = -3", "-3"),
            ("1,2,3", "3"),
            ("1,000,000 and 12,34", "34"),
            ("no number", None),
            ("", None),
        ],
    )
    def test_the_integer_answer_is_the_last_integer(self, text, answer):
        assert READERS.load("integer")(text) == answer

    @pytest.mark.parametrize(("text", "answer"), [("a\n b \n\n", "b"), ("one", "one"), ("  \n", None)])
    def test_the_line_answer_is_the_last_line_with_something_on_it(self, text, answer):
        assert READERS.load("line")(text) == answer

    @pytest.mark.parametrize(("text", "answer"), [(" a\nb \n", "a\nb"), (" ", None)])
    def test_the_text_answer_is_the_text(self, text, answer):
        assert READERS.load("text")(text) == answer

    def test_what_is_no_integer_can_be_voted_on_too(self):
        letters = ["(b)", "The answer is B.", "A", "A or B"]
        assert order(rank(dl.Vote(answer="letter"), [candidate(i, t) for i, t in enumerate(letters)])) == [0, 1, 2, 3]
        fields = [
            '{"a": 1}',
            '{"a": {"a": 2}} so {"b": 0}',
            '```json\n{"a": 1.0, "b": 2}\n```',
            '{"a": NaN}',
            "{" * 5000,
        ]
        ranked = rank(dl.Vote(answer="json.a"), [candidate(i, t) for i, t in enumerate(fields)])
        assert order(ranked) == [0, 2, 1, 3, 4]
        assert [share for _, share in ranked] == [0.4, 0.4, 0.2, 0.0, 0.0]

    def test_the_reader_of_a_task_is_taken_where_a_task_asks(self):
        question = Question.of("", read=lambda text: text[:1])
        texts = [candidate(i, t) for i, t in enumerate(["x1", "y1", "y2"])]
        assert order(dl.Vote(answer="task").rank(texts, question)) == [1, 2, 0]
        with pytest.raises(UnsupportedStrategy, match="no task asks here"):
            rank(dl.Vote(answer="task"), texts)

    def test_below_the_quorum_the_first_sample_is_taken_and_that_is_said(self):
        texts = [candidate(i, t) for i, t in enumerate(["none", "5", "5", "6"])]
        assert order(rank(dl.Vote(quorum=0.5), texts)) == [1, 2, 3, 0]
        with pytest.warns(
            NoQuorum, match=r"no answer has a share of 0.6 of the votes \(\"?5\"? has most of them, 0.5\)"
        ):
            assert rank(dl.Vote(quorum=0.6), texts[::-1]) == [(c, 0.0) for c in texts]

    @given(st.lists(st.text(max_size=12), min_size=1, max_size=6))
    def test_whatever_the_texts_every_candidate_is_ranked_once(self, texts):
        for answer in ("integer", "letter", "line", "text", "json.a"):
            ranked = rank(dl.Vote(answer=answer), [candidate(i, t) for i, t in enumerate(texts)])
            assert sorted(order(ranked)) == list(range(len(texts)))
            shares = [share for _, share in ranked]
            assert shares == sorted(shares, reverse=True)


class TestWeightedVote:
    def test_a_few_sure_voices_may_outweigh_many(self):
        texts = [candidate(0, "5", -0.1), candidate(1, "6", -3.0), candidate(2, "6", -3.0)]
        assert order(rank(dl.Vote(), texts)) == [1, 2, 0]
        assert order(rank(dl.WeightedVote(by="probability"), texts)) == [0, 1, 2]

    def test_bordas_count_goes_by_place(self):
        # Kang et al. 2025, section 3.3: the r-th of n has (n - r + 1)^p votes: 4^p for 5, 3^p + 2^p + 1 for 6.
        texts = [candidate(0, "5", -1.0), candidate(1, "6", -2.0), candidate(2, "6", -3.0), candidate(3, "6", -4.0)]
        by_place = {p: rank(dl.WeightedVote(by="logprob", weight="rank", power=p), texts) for p in (1.0, 3.0)}
        assert {p: (ranked[0][0].text, round(ranked[0][1], 6)) for p, ranked in by_place.items()} == {
            1.0: ("6", 0.6),
            3.0: ("5", 0.64),
        }

    def test_keep_lets_only_the_highest_ratings_vote(self):
        # Fu et al. 2025, section 3.2: filtering before the vote.
        texts = [candidate(0, "6", -3.0), candidate(1, "6", -4.0), candidate(2, "5", -1.0), candidate(3, "6", -2.0)]
        ranked = rank(dl.WeightedVote(by="logprob", weight="rank", power=0, keep=0.25), texts)
        assert [(c.sample, share) for c, share in ranked] == [(2, 1.0), (3, 0.0), (0, 0.0), (1, 0.0)]

    def test_weights_are_not_negative(self):
        with pytest.raises(ScorerFailed, match="must not be negative, got -1 from by=logprob; use weight=exp"):
            rank(dl.WeightedVote(by="logprob"), [candidate(0, "5"), candidate(1, "6")])

    def test_equal_weights_are_a_vote_and_tiny_ones_do_not_underflow(self):
        texts = [candidate(i, t, -2000.0) for i, t in enumerate(["5", "6", "6", "7", "x"])]
        assert rank(dl.WeightedVote(by="logprob", weight="exp"), texts) == rank(dl.Vote(), texts)


class TestConfidence:
    """Windows as in DeepConf's code: the mean of every run of `window` tokens."""

    @staticmethod
    def confident(sample: int, *top: float) -> Candidate:
        each = (0.0,) * len(top)
        return Candidate((0,) * len(top), "", each, each, "eos", sample, 0.0, Confidences(each, each, top))

    @pytest.mark.parametrize(
        ("by", "rating"), [("confidence", 4.0), ("lowest_group", 1.5), ("bottom_groups", 1.5), ("tail", 5.0)]
    )
    def test_ratings_of_groups(self, by, rating):
        ranked = rank(dl.BestOf(by=by, window=2), [self.confident(0, 5.0, 1.0, 2.0, 3.0, 6.0, 4.0, 5.0, 10.0, 0.0)])
        assert ranked[0][1] == pytest.approx(rating)

    def test_they_are_the_models_own_whatever_the_processors(self):
        model = dl.TableModel.one_step({"a": 0.5, "b": 0.3, "c": 0.2})
        (g,) = dl.generate(model, "", "top_k=1 | sample(n=2) | best_of(by=entropy)", max_new_tokens=1)
        seen = g.best.confidences
        assert seen is not None
        p = [0.5, 0.3, 0.2]
        assert seen.entropy[0] == pytest.approx(-sum(x * math.log(x) for x in p), abs=1e-6)
        assert seen.self_certainty[0] == pytest.approx(-sum(math.log(3 * x) for x in p) / 3, abs=1e-6)
        assert seen.top[0] == pytest.approx(-sum(map(math.log, p)) / 3, abs=1e-6)

    def test_they_are_recorded_for_those_who_read_them_only(self):
        model = dl.TableModel.one_step({"a": 0.5, "b": 0.5})
        (g,) = dl.generate(model, "", "sample(n=2) | best_of", max_new_tokens=1)
        assert g.best.confidences is None
        assert "confidences" not in g.to_dict()["candidates"][0]

    def test_speculative_decoding_records_the_same(self):
        strategy = "sample(n=3) | {}best_of(by=self_certainty)"
        plain, fast = (
            dl.generate("pocket-nano", "One day", strategy.format(driver), max_new_tokens=12)[0]
            for driver in ("", "speculative(draft=ngram) | ")
        )
        for one, other in zip(plain.candidates, fast.candidates, strict=True):
            assert one.confidences is not None
            assert other.confidences is not None
            assert one.tokens == other.tokens
            assert one.confidences.top == pytest.approx(other.confidences.top, abs=1e-4)

    def test_where_they_are_not_known_that_is_said(self):
        model = dl.TableModel.one_step({"a": 0.5, "b": 0.5})
        with pytest.raises(UnsupportedStrategy, match="best_of: by=tail needs how sure the model was"):
            dl.generate(model, "", "k_best(n=2) | best_of(by=tail)", max_new_tokens=1)


def test_a_scorer_rates_and_what_it_computes_is_counted():
    strategy = "sample(n=3){}"
    plain, rated, free = (
        dl.generate("pocket-nano", "One day", strategy.format(select), max_new_tokens=8, seed=1)[0]
        for select in ("", " | best_of(by=self_eval)", " | best_of(by=logprob)")
    )
    assert plain.cost.forward_tokens == free.cost.forward_tokens < rated.cost.forward_tokens
    assert rated.best.score == max(c.score for c in rated.candidates)


def test_a_scorer_that_gives_nan_is_named_with_the_text():
    def broken(prompt: str, texts: Sequence[str]) -> list[float]:
        return [math.nan for _ in texts]

    with pytest.raises(ScorerFailed, match="must give a finite number, got nan for the text five"):
        rank(dl.BestOf(by=broken), [candidate(0, "five")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample(n=4) | weighted_vote(weight=log)", "weighted_vote: weight must be one of value, exp, rank, got log"),
        ("sample(n=4) | weighted_vote(keep=0)", "weighted_vote: keep must be in .0, 1., got 0"),
        ("sample(n=4) | soft_best_of(temperature=0)", "soft_best_of: temperature must be .* greater than 0, got 0"),
        ("sample(n=4) | vote(quorum=2)", "vote: quorum must be in .0, 1., got 2"),
        ("sample(n=4) | best_of(window=0)", "best_of: window must be an integer, at least 1, got 0"),
        (
            "sample(n=4) | vote(answer=word)",
            "vote: answer must be one of task, json.FIELD, integer, number, letter, line, text, got word",
        ),
        (
            "sample(n=4) | best_of(by=length)",
            "best_of: by must be one of mean_logprob, logprob, mean_probability, .*path_cost, reward, got length",
        ),
    ],
)
def test_unknown_choices_are_refused_with_what_there_is(text, message):
    with pytest.raises(dl.DecodelabError, match=f"^{message}"):
        dl.Strategy.of(text)
