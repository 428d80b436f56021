"""What tables say of answers: means, compute, agreement, calibration and a verdict, as one computes them by hand."""

import math

import numpy as np
import pytest

from decodelab.bench.run.sweep import run
from decodelab.bench.stats.comparison import compare
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.metrics.mean import mean
from decodelab.report.sweep.table import ONE_PROMPT, advice, title, verdict, verdict_of

RIGHT = np.random.default_rng(0).random((20, 3)) < 0.6


def test_samples_of_an_item_are_a_cluster(told):
    (row,) = told(RIGHT[None, None]).cells
    by_hand = mean(RIGHT.ravel(), [item for item in range(20) for _ in range(3)])
    assert (row.items, row.answers) == (20, 60)
    assert row.score.value == pytest.approx(by_hand.value)
    assert row.score.standard_error == pytest.approx(by_hand.standard_error)


def test_items_of_one_prompt_are_one_observation(told):
    once = RIGHT[:, :1]
    rows = told(np.concatenate([once, once])[None, None], prompts=[str(i % 20) for i in range(40)]).cells
    (row,) = rows
    by_hand = mean(once.ravel())
    assert (row.score.n, row.score.clusters) == (20, 20)
    assert (row.items, row.asked, row.repeats, row.answers) == (20, 20, 20, 40)
    assert row.score.standard_error == pytest.approx(by_hand.standard_error)
    assert title("sums", "nano", rows) == "sums, nano, 20 different prompts (20 further items repeat them)"


def test_repeated_prompts_weigh_no_more_than_others(told):
    scores = np.zeros((1, 1, 10, 1))
    scores[0, 0, :9] = 1
    (row,) = told(scores, prompts=["often"] * 9 + ["once"]).cells
    assert (row.score.value, row.score.n) == (0.5, 2)


def test_of_one_prompt_nothing_is_concluded(told):
    scores = np.stack([np.ones((50, 1)), np.zeros((50, 1))])[None]
    results = told(scores, prompts=["Once upon a time"] * 50, changes=lambda strategy, item, sample: {})
    assert results.winners == ()
    assert results.calibration == ()
    assert [(row.items, row.asked, row.repeats, row.p, row.difference) for row in results.cells] == [
        (1, 1, 49, None, None)
    ] * 2
    assert advice(results) == ONE_PROMPT
    assert verdict_of(results, "pocket-sums", "repetition 0", list(results.cells)) == ONE_PROMPT


def test_what_is_drawn_for_the_only_prompt_has_the_interval_of_its_draws(told):
    (row,) = told(RIGHT[None, None, :, :1], prompts=["Once upon a time"] * 20).cells
    assert (row.score.n, row.score.value) == (20, pytest.approx(RIGHT[:, 0].mean()))
    assert row.score.low < row.score.value < row.score.high


def test_a_strategy_that_draws_nothing_answers_a_prompt_once_and_has_no_interval_there(small, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("Once upon a time,\n" * 6)
    tasks = [{"name": "stories", "file": file, "items": 6, "max_new_tokens": 12}]
    with Journal(tmp_path / "j", writing=True) as journal:
        outcome = run(small(tasks=tasks), journal)
        greedy, hot = compare(small(tasks=tasks), journal).cells
    assert outcome.generated == 1 + 6
    assert (greedy.items, greedy.repeats, greedy.answers, hot.answers) == (1, 5, 1, 6)
    assert greedy.score is not None
    assert hot.score is not None
    assert math.isnan(greedy.score.low)
    assert math.isnan(greedy.score.standard_error)
    assert (hot.score.n, hot.score.low < 1) == (6, True)


def test_an_answer_that_several_items_share_counts_once_with_the_mean_of_its_scores(small, tmp_path):
    file = tmp_path / "q.jsonl"
    row = '{"prompt": "What is 2 + 3?", "answer": "%d", "id": "%d"}\n'
    file.write_text(row % (5, 0) + row % (6, 1) + row.replace("2 + 3", "3 + 4") % (7, 2))
    tasks = [{"name": "jsonl", "file": file, "items": 3, "max_new_tokens": 40, "scorer": "integer"}]
    plan = small(tasks=tasks, strategies={"greedy": "greedy"})
    with Journal(tmp_path / "j", writing=True) as journal:
        run(plan, journal)
        (row,) = compare(plan, journal).cells
        first, again, other = [view.score or 0.0 for view in views.answers(journal, plan.digest, "jsonl")]
    assert (row.items, row.answers, row.repeats) == (2, 2, 1)
    assert row.score is not None
    assert row.score.value == pytest.approx(((first + again) / 2 + other) / 2)


def test_an_item_counts_once_it_has_all_its_answers(told):
    scores = np.ones((1, 2, 4, 2))
    scores[0, 0, 0, 0] = np.nan
    scores[0, 0, 1] = np.nan
    first, second = told(scores).cells
    assert (first.items, first.asked, first.answers) == (2, 4, 5)
    assert (second.items, second.difference.n) == (4, 2)


def test_a_score_has_an_interval_even_where_all_is_right(told):
    first, second = told(np.ones((1, 2, 50, 1))).cells
    assert 0.9 < first.score.low < first.score.high == 1.0
    assert second.p == 1.0
    assert second.difference.value == 0.0
    # The largest difference that 50 items without one leave open.
    assert -second.difference.low == second.difference.high == pytest.approx(1 - 0.025 ** (1 / 50), abs=0.002)


def test_compute_and_pathologies_are_means_of_the_answers(told):
    def changes(strategy, item, sample):
        looping = (1, 2, 3, 4) * 5 if item == 0 else tuple(range(20))
        reason = "length" if item < 2 else "eos"
        zeros = (0.0,) * 20
        lists = {"tokens": looping, "token_logprobs": zeros, "processed_logprobs": zeros}
        return lists | {"prompt_tokens": 10, "decode_tokens": 30 * (item + 1), "seconds": 0.25, "finish_reason": reason}

    (row,) = told(np.ones((1, 1, 4, 1)), changes=changes, read=lambda s, item, n: None if item == 3 else item).cells
    assert row.forward_tokens == 4 * 10 + 30 * (1 + 2 + 3 + 4)
    assert (row.prompt_tokens, row.decode_tokens, row.seconds, row.tokens) == (10, 75, 0.25, 20)
    assert (row.repeated, row.unfinished, row.unread) == (0.25, 0.5, 0.25)


def test_answers_that_were_not_read_are_counted_by_the_reason(told):
    why = (None, "unfinished thought", "empty", "unreadable", "empty")
    (row,) = told(
        np.zeros((1, 1, 5, 1)),
        read=lambda strategy, item, n: 4 if why[item] is None else None,
        lacks=lambda strategy, item, n: why[item],
    ).cells
    assert row.unread == 0.8
    assert row.lacks == {"empty": 2, "unfinished thought": 1, "cut off": 0, "unreadable": 1, "ambiguous": 0}
    assert row.left_out is None


def test_over_answered_items_strategies_are_compared_on_what_both_have_answered(told):
    scores = np.zeros((1, 2, 40, 1))
    scores[0, 0, :20] = scores[0, 1, :25] = 1
    unread = {(0, 39), (0, 38), (1, 0)}
    given = {"read": lambda strategy, item, n: None if (strategy, item) in unread else item}
    every, answered = told(scores, **given), told(scores, **given, answered_only=True)
    assert [row.score.value for row in every.cells] == [20 / 40, 25 / 40]
    assert [row.score.value for row in answered.cells] == [20 / 38, 24 / 39]
    assert [(row.items, row.asked, row.left_out) for row in answered.cells] == [(38, 40, 2), (39, 40, 1)]
    assert answered.cells[1].difference.value == 5 / 37
    assert answered.cells[1].difference.n == 37
    assert answered.winners[0].mean == pytest.approx(24 / 37)
    assert [row.unread for row in answered.cells] == [row.unread for row in every.cells] == [2 / 40, 1 / 40]
    assert [row.tokens for row in answered.cells] == [row.tokens for row in every.cells]


def test_over_answered_items_the_samples_that_were_read_make_the_score_of_an_item(told):
    scores = np.array([[[[1, 0, 0], [0, 0, 0], [1, 1, 1]]]])
    unread = {(0, 1), (1, 0), (1, 1), (1, 2)}
    (row,) = told(scores, read=lambda strategy, item, n: None if (item, n) in unread else n, answered_only=True).cells
    assert (row.score.value, row.items, row.left_out) == (0.75, 2, 1)


def test_over_answered_items_a_strategy_without_an_answer_has_no_score(told):
    found = told(np.zeros((1, 2, 3, 1)), read=lambda strategy, item, n: item if strategy else None, answered_only=True)
    assert [(row.score is None, row.items, row.left_out) for row in found.cells] == [(True, 0, 3), (False, 3, 0)]
    assert found.winners == ()


def test_the_front_is_what_nothing_beats_at_its_price(told):
    scores = np.zeros((1, 4, 10, 1))
    for strategy, right in enumerate((5, 6, 6, 2)):
        scores[0, strategy, :right] = 1
    price = (10, 40, 250, 10)
    rows = told(scores, changes=lambda strategy, item, sample: {"decode_tokens": price[strategy]}).cells
    assert [row.on_pareto_front for row in rows] == [True, True, False, False]


def test_strategies_agree_where_they_read_the_same_be_it_wrong(told):
    read = [["A", "B", None, "C"], ["A", "C", None, "C"], ["A", "B", "D", "C"]]
    scores = np.zeros((1, 3, 4, 1))
    scores[0, 2, 3] = np.nan
    found = told(scores, read=lambda strategy, item, sample: read[strategy][item]).agreement
    by_pair = {(pair.first, pair.second): (pair.share, pair.items) for pair in found}
    assert by_pair == {
        ("s0", "s1"): (2 / 4, 4),  # of two that read nothing, nobody knows
        ("s0", "s2"): (pytest.approx(2 / 3), 3),
        ("s1", "s2"): (pytest.approx(1 / 3), 3),
    }


def test_the_agreement_of_samples_is_that_of_their_pairs(told):
    read = [["A", "A", "B"], ["A", "B", "B"]]
    (pair,) = told(np.zeros((1, 2, 1, 3)), read=lambda strategy, item, sample: read[strategy][sample]).agreement
    assert pair.share == pytest.approx((2 * 1 + 1 * 2) / 9)


def test_the_confidence_of_an_answer_is_its_probability_a_token(told):
    def changes(strategy, item, sample):
        logprob = math.log(0.8) if item < 5 else math.log(0.3)
        return {"tokens": (1, 2), "token_logprobs": (2 * logprob, 0.0), "processed_logprobs": (0.0, 0.0)}

    scores = np.array([1, 1, 1, 1, 0, 0, 1, 0, 0, 0])[None, None, :, None]
    (found,) = told(scores, changes=changes).calibration
    assert (found.source, found.n) == ("likelihood", 10)
    assert found.ece.value == pytest.approx((5 * abs(0.8 - 0.8) + 5 * abs(0.3 - 0.2)) / 10)
    assert found.brier.value == pytest.approx((4 * 0.2**2 + 0.8**2 + 4 * 0.3**2 + 0.7**2) / 10)
    assert found.auroc.value == pytest.approx((4 * 4 + 0.5 * (4 * 1 + 1 * 4)) / 25)
    assert [(b.count, round(b.confidence, 3), b.accuracy) for b in found.bins] == [(5, 0.3, 0.2), (5, 0.8, 0.8)]


def test_the_confidence_of_samples_is_the_share_of_the_majority(told):
    read = [["A", "A", "B"], ["C", None, "D"], ["E", "E", "E"]]
    right = {"A", "D", "E"}
    scores = np.array([[answer in right for answer in item] for item in read], dtype=float)[None, None]
    found = told(scores, read=lambda strategy, item, sample: read[item][sample]).calibration
    (samples,) = [each for each in found if each.source == "samples"]
    assert samples.n == 3
    assert samples.accuracy == pytest.approx(2 / 3)
    assert samples.brier.value == pytest.approx(((1 - 2 / 3) ** 2 + (1 / 3) ** 2 + 0) / 3)


def test_where_all_is_wrong_nothing_can_be_said_of_confidence(told):
    assert told(np.zeros((1, 1, 5, 2))).calibration == ()


def test_many_strategies_do_not_hide_a_difference_that_is_plain(told):
    # 190 pairs: p values of 9,999 exchanges would be too coarse for their correction.
    scores = np.zeros((1, 20, 60, 1))
    scores[0, 7] = 1
    (winner,) = told(scores).winners
    assert (winner.best, winner.undecided, len(winner.worse)) == ("s7", (), 19)


def test_who_has_not_answered_is_left_out_of_the_verdict(told):
    scores = np.ones((1, 3, 20, 1))
    scores[0, 1, :15] = 0
    scores[0, 2, 1:] = np.nan
    (winner,) = told(scores).winners
    assert (winner.best, winner.worse, winner.left_out) == ("s0", ("s1",), ("s2",))


def test_intervals_leave_out_0_exactly_where_p_values_are_small(told):
    rng = np.random.default_rng(5)
    lead = np.linspace(0, 0.4, 5)[None, :, None, None]
    right = rng.random((10, 5, 30, 1)) + lead > 0.6
    shares = np.clip(rng.random((10, 5, 30, 1)) * 0.6 + lead, 0, 1)
    rows = told(np.concatenate([right, shares])).cells
    small = [row.p <= 0.05 for row in rows if row.p is not None]
    apart = [row.difference.low > 0 or row.difference.high < 0 for row in rows if row.difference is not None]
    assert small == apart
    assert 10 < sum(small) < len(small) - 10


def test_as_good_is_what_no_other_can_beat_by_more_than_the_margin(told):
    scores = np.ones((1, 3, 400, 1))
    scores[0, 1, :2] = 0
    scores[0, 2, :200] = 0
    (winner,) = told(scores).winners
    assert (winner.best, winner.as_good, winner.worse, winner.undecided) == ("s0", ("s0", "s1"), ("s2",), ())
    (strict,) = told(scores, margin=0.001).winners
    assert (strict.as_good, strict.worse, strict.undecided, strict.nearest) == ((), ("s2",), ("s1",), "s1")


def test_a_lower_mean_that_is_not_significantly_different_is_undecided_not_as_good(told):
    scores = np.zeros((1, 2, 30, 1))
    scores[0, 0, :12] = 1
    scores[0, 1, 10:16] = 1
    results = told(scores)
    (winner,) = results.winners
    assert (winner.best, winner.as_good, winner.undecided) == ("s0", (), ("s1",))
    assert winner.items_needed > 30
    assert verdict(winner) == (
        f"s0 has the highest mean (0.400). Undecided: s1; about {winner.items_needed} items would decide."
    )
    assert advice(results) == (
        "s0 has the highest mean in the one table. "
        "Undecided: too few items to show which strategies are as good, within 0.05."
    )


@pytest.mark.parametrize(("task", "read"), [("pocket-stories", False), ("stories", False), ("pocket-sums", True)])
def test_agreement_is_of_answers_that_are_read(told, task, read):
    assert bool(told(np.ones((1, 2, 3, 1)), task=task, read=lambda *_: {"words": 3}).agreement) == read


def test_a_task_adds_its_own_figures(told):
    measures = [
        {"rouge1": 0.5, "rouge2": 0.25, "rouge_l": 0.5, "rouge_lsum": 0.5},
        {"rouge1": 1.0, "rouge2": 0.75, "rouge_l": 0.5, "rouge_lsum": 1.0},
    ]
    (row,) = told([[[[0.5], [0.5]]]], task="summaries", read=lambda strategy, item, sample: measures[item]).cells
    assert row.more == {"rouge1": 0.75, "rouge2": 0.5, "rouge_l": 0.5, "rouge_lsum": 0.75}
