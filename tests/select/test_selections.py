"""Which finished candidate wins."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.values import Candidate


def candidate(sample: int, text: str = "", logprob: float = -1.0, tokens: int = 1) -> Candidate:
    each = (logprob / tokens,) * tokens if tokens else ()
    return Candidate((0,) * tokens, text, each, each, "eos", sample, 0.0)


def order(ranked: list[tuple[Candidate, float]]) -> list[int]:
    return [c.sample for c, _ in ranked]


class TestBestOf:
    def test_the_mean_does_not_favour_short_texts_and_the_sum_does(self):
        short, long = candidate(0, logprob=-2.0, tokens=1), candidate(1, logprob=-3.0, tokens=3)
        assert order(dl.BestOf().rank([short, long])) == [1, 0]
        assert order(dl.BestOf(by="logprob").rank([short, long])) == [0, 1]

    def test_scores_are_the_log_probabilities_ranked_by(self):
        ranked = dl.BestOf().rank([candidate(0, logprob=-6.0, tokens=3), candidate(1, logprob=-1.0)])
        assert [score for _, score in ranked] == [-1.0, -2.0]

    def test_ties_go_to_the_lower_sample(self):
        assert order(dl.BestOf().rank([candidate(2), candidate(0), candidate(1)])) == [0, 1, 2]

    def test_an_empty_candidate_counts_as_certain(self):
        # It has no token that could have cost anything.
        assert order(dl.BestOf().rank([candidate(0), candidate(1, tokens=0)])) == [1, 0]

    def test_the_impossible_comes_last(self):
        assert order(dl.BestOf().rank([candidate(0, logprob=-math.inf), candidate(1, logprob=-900.0)])) == [1, 0]

    @given(st.permutations(range(6)))
    def test_the_order_of_candidates_does_not_matter(self, shuffled):
        candidates = [candidate(i, logprob=-float(i % 3)) for i in range(6)]
        assert order(dl.BestOf().rank([candidates[i] for i in shuffled])) == [0, 3, 1, 4, 2, 5]

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
        ranked = dl.Vote().rank([candidate(i, t) for i, t in enumerate(texts)])
        assert order(ranked) == [0, 2, 4, 1, 3]
        assert [share for _, share in ranked] == [0.6, 0.6, 0.6, 0.2, 0.2]

    def test_ties_go_to_the_answer_seen_first(self):
        assert order(dl.Vote().rank([candidate(i, t) for i, t in enumerate(["5", "6", "6", "5"])])) == [0, 3, 1, 2]

    def test_texts_without_an_answer_have_no_vote_and_come_last(self):
        ranked = dl.Vote().rank([candidate(i, t) for i, t in enumerate(["none", "no idea", "4"])])
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
        assert dl.Vote().answer_of(text) == answer

    @pytest.mark.parametrize(("text", "answer"), [("a\n b \n\n", "b"), ("one", "one"), ("  \n", None)])
    def test_the_line_answer_is_the_last_line_with_something_on_it(self, text, answer):
        assert dl.Vote(answer="line").answer_of(text) == answer

    @pytest.mark.parametrize(("text", "answer"), [(" a\nb \n", "a\nb"), (" ", None)])
    def test_the_text_answer_is_the_text(self, text, answer):
        assert dl.Vote(answer="text").answer_of(text) == answer

    @given(st.lists(st.text(max_size=12), min_size=1, max_size=6))
    def test_whatever_the_texts_every_candidate_is_ranked_once(self, texts):
        for answer in ("integer", "line", "text"):
            ranked = dl.Vote(answer=answer).rank([candidate(i, t) for i, t in enumerate(texts)])
            assert sorted(order(ranked)) == list(range(len(texts)))
            shares = [share for _, share in ranked]
            assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample(n=4) | vote(answer=word)", "vote: answer must be one of integer, line, text, got word"),
        ("sample(n=4) | best_of(by=length)", "best_of: by must be one of mean_logprob, logprob, got length"),
    ],
)
def test_unknown_choices_are_refused_with_what_there_is(text, message):
    with pytest.raises(dl.DecodelabError, match=f"^{message}"):
        dl.Strategy.of(text)
