"""A race stops what is hopeless, seldom what is not, and learns from both."""

import numpy as np
import pytest

from decodelab.bench.tune.proposals import Listed, ParzenProposals, Raced
from decodelab.bench.tune.racing import AT_ONCE, blocks, evidence_against, race, whole
from decodelab.core.errors import RequestError, StrategyError, UnsupportedStrategy


def measure_of(scores, asked=None):
    """Scores [items] by name, handed out block by block."""

    def measure(candidates, start, end):
        if asked is not None:
            asked.append((tuple(candidates), start, end))
        return {name: list(scores[name][start:end]) for name in candidates}

    return measure


def raced(proposals, measure, first, *, items, trials, most=1.0):
    """How candidates do in a race against some that answer everything first."""
    given = [whole(measure, candidate, items) for candidate in first]
    return race(proposals, measure, given, items=items, trials=trials, most=most)


def test_blocks_double_and_cover_every_item_once():
    for items in (1, 7, 8, 9, 60, 100):
        covered = [i for start, end in blocks(items) for i in range(start, end)]
        assert covered == list(range(items))


def test_what_is_hopeless_is_stopped_and_what_is_not_is_seen_through():
    scores = {"greedy": np.ones(64), "broken": np.zeros(64), "good": np.ones(64)}
    asked = []
    tried = raced(Listed(["broken", "good"]), measure_of(scores, asked), ["greedy"], items=64, trials=9, most=1.0)
    broken, good = tried
    assert (broken.stopped, len(broken.values), broken.mean) == (True, 8, 0.0)
    assert (good.stopped, len(good.values)) == (False, 64)
    assert (("good",), 8, 16) in asked


def test_only_what_was_there_before_counts_against_a_candidate():
    earlier = [Raced("a", (1.0,) * 60), Raced("refused", (), refused="why"), Raced("b", (0.0,) * 8, stopped=True)]
    assert evidence_against([1.0] * 60, earlier[:1], 1.0) == 1.0
    alone, beside = evidence_against([0.0] * 30, earlier[:1], 1.0), evidence_against([0.0] * 30, earlier, 1.0)
    assert beside == pytest.approx((alone + 1) / 2)
    assert evidence_against([0.0], [], 1.0) == 0.0


@pytest.mark.parametrize("kind", ["right or wrong", "thirds", "alike items"])
def test_equals_are_stopped_no_more_often_than_promised(kind):
    rng = np.random.default_rng(7)
    stopped, trials = 0, 0
    for _ in range(40):
        hard = rng.beta(0.5, 0.5, 60) if kind == "alike items" else np.full(60, 0.5)
        draw = rng.integers(0, 4, (21, 60)) / 3 if kind == "thirds" else rng.random((21, 60)) < hard
        scores = {f"{n}": row.astype(float) for n, row in enumerate(draw)}
        tried = raced(Listed([*scores][1:]), measure_of(scores), ["0"], items=60, trials=20, most=1.0)
        stopped += sum(each.stopped for each in tried)
        trials += len(tried)
    assert trials == 800
    assert stopped / trials <= 0.05


def test_proposals_that_have_seen_the_results_do_not_raise_the_error_rate():
    rng = np.random.default_rng(3)
    stopped, trials = 0, 0
    for seed in range(3):
        noise = rng.random((1001, 60)) < 0.6

        def measure(candidates, start, end, noise=noise):
            return {x: noise[round(1000 * x), start:end].astype(float).tolist() for x in candidates}

        proposals = ParzenProposals(lambda chooser: round(chooser.suggest_float("x", 0, 1), 3), seed)
        tried = raced(proposals, measure, [0.0], items=60, trials=25, most=1.0)
        stopped += sum(each.stopped for each in tried)
        trials += len(tried)
    assert stopped / trials <= 0.05


def test_of_several_that_run_side_by_side_each_is_judged_by_itself():
    scores = {"greedy": np.ones(32)} | {f"{n}": np.full(32, float(n % 2)) for n in range(6)}
    asked = []
    tried = raced(
        Listed([f"{n}" for n in range(6)]), measure_of(scores, asked), ["greedy"], items=32, trials=6, most=1.0
    )
    assert [each.stopped for each in tried] == [True, False] * 3
    assert asked[1] == (("0", "1", "2", "3"), 0, 8)
    assert asked[2] == (("1", "3"), 8, 16)
    assert AT_ONCE == 4


def test_what_cannot_be_tried_is_told_and_the_others_go_on():
    def measure(candidates, start, end):
        return {
            name: UnsupportedStrategy("not with this model") if name == "odd" else [1.0] * (end - start)
            for name in candidates
        }

    odd, good = raced(Listed(["odd", "good"]), measure, ["greedy"], items=20, trials=5, most=1.0)
    assert (odd.refused, odd.values) == ("not with this model", ())
    assert good.mean == 1.0
    with pytest.raises(UnsupportedStrategy):
        raced(Listed(["good"]), measure, ["odd"], items=20, trials=5, most=1.0)


def parabola(candidates, start, end):
    return {x: [1 - (x - 0.7) ** 2] * (end - start) for x in candidates}


def test_the_same_seed_proposes_the_same_and_finds_what_is_good():
    def tried(seed):
        proposals = ParzenProposals(lambda chooser: chooser.suggest_float("x", 0, 1), seed)
        found = raced(proposals, parabola, [0.0], items=10, trials=24, most=1.0)
        return [each.candidate for each in found]

    first = tried(0)
    assert first == tried(0) != tried(1)
    assert min(abs(x - 0.7) for x in first) < 0.1


def test_nothing_is_tried_twice_and_a_small_space_ends_the_race():
    proposals = ParzenProposals(lambda chooser: chooser.suggest_int("x", 1, 5), 0)
    found = raced(proposals, parabola, [1], items=8, trials=40, most=50.0)
    assert sorted(each.candidate for each in found) == [2, 3, 4, 5]


def test_combinations_that_stages_refuse_are_counted_and_passed_over():
    def choose(chooser):
        x = chooser.suggest_int("x", 0, 9)
        if x % 2:
            raise StrategyError("odd")
        return x

    proposals = ParzenProposals(choose, 0)
    found = raced(proposals, lambda c, a, b: {x: [0.5] * (b - a) for x in c}, [0], items=8, trials=4, most=1.0)
    assert all(each.candidate % 2 == 0 for each in found)
    assert proposals.refused["odd"] > 0


def test_optuna_says_nothing_and_its_manners_are_left_as_they_were(capsys):
    import optuna

    before = optuna.logging.get_verbosity()
    raced(ParzenProposals(lambda c: c.suggest_float("x", 0, 1), 0), parabola, [0.0], items=8, trials=15, most=1.0)
    assert capsys.readouterr().err == ""
    assert optuna.logging.get_verbosity() == before


def test_without_optuna_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(RequestError, match=r"pip install 'decodelab\[tune\]'"):
        ParzenProposals(lambda chooser: 0, 0)
