"""When a vote is settled, and what each rule promises about the vote of all samples."""

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats

import decodelab as dl
from decodelab.core.errors import InvalidParameter
from decodelab.core.protocols import Question
from decodelab.core.values import Candidate
from decodelab.select.settled import beta_confidence, counted, dirichlet_confidence, surely_ahead
from decodelab.testing.stage import check_stage

Answers = Sequence[Hashable | None]


def winner(answers: Answers) -> Hashable | None:
    """The answer of a vote, ties to the one seen first."""
    given = [a for a in answers if a is not None]
    return max(dict.fromkeys(given), key=given.count, default=None)


def orders(votes: Mapping[Any, int]) -> Iterator[tuple[Hashable | None, ...]]:
    """All orders of these answers, each once."""
    if not any(votes.values()):
        yield ()
    for answer, left in votes.items():
        if left:
            yield from ((answer, *rest) for rest in orders({**votes, answer: left - 1}))


@cache
def ahead(counts: tuple[int, ...], drawn: int, total: int, error: float) -> bool:
    return surely_ahead(counts, drawn, total, error)


def ended(answers: Answers, error: float) -> int:
    """How many samples the error rule draws, looking after each."""
    total = len(answers)
    return next(n for n in range(1, total + 1) if n == total or ahead(tuple(counted(answers[:n])), n, total, error))


class TestError:
    @pytest.mark.parametrize("error", [0.4, 0.1])
    def test_for_any_votes_the_answer_is_another_in_at_most_that_share_of_all_orders(self, error):
        wrong: list[float] = []
        for a, b, c in itertools.product(range(10), repeat=3):
            if a >= b >= c and 8 <= a + b + c <= 9:
                found = [
                    winner(o[: ended(o, error)]) != winner(o)
                    for o in orders({"a": a, "b": b, "c": c, None: 9 - a - b - c})
                ]
                wrong.append(float(np.mean(found)))
        assert max(wrong) <= error
        assert max(wrong) > 0  # it is a bound that something comes near

    def test_without_error_it_ends_exactly_when_nothing_that_may_come_changes_the_winner(self):
        total = 6
        for n in range(1, total):
            for drawn in itertools.product(["a", "b", None], repeat=n):
                counts = tuple(counted(drawn))
                rest = itertools.product(["a", "b", "c", None], repeat=total - n)
                winners = {winner((*drawn, *more)) for more in rest}
                assert surely_ahead(counts, n, total, 0.0) == (len(winners) == 1)

    def test_an_error_that_is_allowed_never_has_it_draw_more(self):
        for votes in ({"a": 5, "b": 3, None: 1}, {"a": 3, "b": 3, "c": 3}):
            for order in itertools.islice(orders(votes), 0, None, 40):
                lengths = [ended(order, error) for error in (0.0, 0.01, 0.1, 0.3)]
                assert lengths == sorted(lengths, reverse=True)

    def test_forty_samples_that_agree_take_eight(self):
        assert [ended("7" * 40, error) for error in (0.0, 0.001, 0.01, 0.05)] == [20, 10, 8, 6]

    def test_a_thousand_samples_are_no_trouble(self):
        assert surely_ahead([60, 20], 80, 1000, 0.01)
        assert not surely_ahead([60, 50], 110, 1000, 0.01)


class TestConfidence:
    @pytest.mark.parametrize("counts", [[1], [4], [3, 2], [2, 3], [17, 9, 1], [400, 380]])
    def test_beta_is_the_posterior_of_the_first_two(self, counts):
        first, second = sorted([*counts, 0], reverse=True)[:2]
        assert beta_confidence(counts) == pytest.approx(stats.beta.sf(0.5, first + 1, second + 1), rel=1e-9)

    @pytest.mark.parametrize("counts", [[4, 1], [4], [2, 2]])
    def test_of_two_answers_dirichlet_is_beta(self, counts):
        assert dirichlet_confidence(counts) == pytest.approx(beta_confidence(counts), abs=1e-9)

    @pytest.mark.parametrize("counts", [[5, 3, 1], [2, 2, 2, 2], [1, 1, 9, 1], [60, 40, 3]])
    def test_dirichlet_is_how_often_the_leader_is_the_largest_of_a_draw(self, counts):
        drawn = np.random.default_rng(0).dirichlet([c + 1 for c in counts], size=100_000)
        share = float((drawn.argmax(axis=1) == int(np.argmax(counts))).mean())
        assert dirichlet_confidence(counts) == pytest.approx(share, abs=0.006)

    def test_nothing_is_known_without_answers(self):
        assert (beta_confidence([]), dirichlet_confidence([])) == (0.0, 0.0)


def settled(stage: dl.Until, texts: Sequence[str], total: int = 40) -> bool:
    candidates = [Candidate((0,), text, (-1.0,), (-1.0,), "eos", i, 0.0) for i, text in enumerate(texts)]
    return stage.settled(candidates, len(texts), total, Question.of(""))


class TestRules:
    def test_four_that_agree_are_enough_for_beta_at_its_default(self):
        assert not settled(dl.Until("beta"), ["7"] * 3)
        assert settled(dl.Until("beta"), ["7"] * 4)
        assert settled(dl.Until("dirichlet"), ["So 7.", "It is 7", "7", "7!"])

    def test_beta_looks_at_two_answers_and_dirichlet_at_all(self):
        texts = [*"77777", "8", *"9"]
        assert settled(dl.Until("beta", confidence=0.93), texts)
        assert not settled(dl.Until("dirichlet", confidence=0.93), texts)

    def test_a_window_must_agree_and_nothing_before_it_counts(self):
        stage = dl.Until("window", window=3)
        assert settled(stage, ["1", "2", "3", "7", "7", "7"])
        assert not settled(stage, ["7", "7", "7", "7", "7", "8"])
        assert not settled(stage, ["7", "7", "none"])

    def test_texts_without_an_answer_are_drawn_and_vote_for_nothing(self):
        stage = dl.Until(error=0.0)
        assert not settled(stage, ["7", "7", "7", "none", "none"], total=9)  # four may come for another
        assert settled(stage, ["7", "7", "7", "none", "none"], total=8)

    def test_answers_are_read_as_the_vote_reads_them(self):
        texts = ["Hm.\nB"] * 4
        assert settled(dl.Until("beta", answer="line"), texts)
        assert not settled(dl.Until("beta"), texts)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("until(rule=bayes)", "rule must be one of error, beta, dirichlet, window"),
        ("until(error=1)", r"error must be in \[0, 1\)"),
        ("until(rule=beta, confidence=1)", r"confidence must be in \(0, 1\)"),
        ("until(window=0)", "window must be an integer, at least 1"),
        ("until(rule=window, window=1)", "window must be an integer, at least 2"),
        ("until(rule=beta, error=0.05)", "error has no effect under rule=beta"),
        ("until(confidence=0.9)", "confidence has no effect under rule=error"),
        ("until(answer=lines)", "did you mean 'line'"),
    ],
)
def test_bad_parameters_are_refused(text, why):
    with pytest.raises(InvalidParameter, match=why):
        dl.Strategy.of(f"sample(n=8) | {text}")


@pytest.mark.parametrize(
    "stage", [dl.Until(), dl.Until("beta", confidence=0.9), dl.Until("window", "line", window=3), dl.Until(error=0)]
)
def test_it_is_a_stage_that_reads_back(stage):
    check_stage(stage)
