"""Tuning finds what is better, says so only of fresh items, and takes chance for chance."""

import numpy as np
import pytest

from decodelab.bench.tune.asking import Items, Measured
from decodelab.bench.tune.reversal import find_reversal
from decodelab.bench.tune.space import Space
from decodelab.bench.tune.tuning import Contest, tune
from decodelab.core.errors import RequestError, UnsupportedStrategy
from decodelab.pocket.item import digest
from decodelab.strategy.strategy import Strategy
from decodelab.tasks.task import Example, task_named


def items(tuned=60, fresh=60):
    made = [Example(f"{n}", f"prompt {n}", "") for n in range(tuned + fresh)]
    return Items("fake", task_named("pocket-sums"), tuple(made[:tuned]), tuple(made[tuned:]))


class Fake:
    """A model whose chance of being right is known for each strategy; every strategy sees the same luck in an item."""

    def __init__(self, chance, cost=lambda strategy: 100.0, own_luck=0.0):
        self.chance, self.cost, self.own_luck = chance, cost, own_luck
        self.asked = []

    def __call__(self, model, strategies, items):
        self.asked += [(model, strategy, item.id) for strategy in strategies for item in items]
        return {strategy: self.answer(model, strategy, items) for strategy in strategies}

    def answer(self, model, strategy, items):
        chance = self.chance(model, strategy)
        if chance is None:
            return UnsupportedStrategy(f"{strategy}: not with {model}")
        luck = []
        for item in items:
            common, own = digest("luck", item.id), digest("own", model, strategy, item.id)
            luck.append((own if digest("whose", item.id, strategy) / 2**64 < self.own_luck else common) / 2**64)
        cost = np.full(len(items), self.cost(strategy))
        return Measured((np.array(luck) < chance).astype(float), cost, np.full(len(items), 40.0))


def near(best):
    """Greedy is right in half of the items, temperatures near the best one more often."""

    def chance(model, strategy):
        if strategy == "greedy":
            return 0.5
        temperature = Strategy.of(strategy).processors[0].temperature  # pyright: ignore[reportAttributeAccessIssue]
        return max(0.0, 0.95 - abs(temperature - best))

    return chance


TEMPERATURES = Space.of(["temperature=0.1..2"])


def test_what_is_better_is_found_and_holds_on_fresh_items():
    found = tune(TEMPERATURES, Fake(near(0.7), own_luck=0.3), "m", items(), trials=20)
    assert found.best is not None
    assert found.check is not None
    best = Strategy.of(found.best.strategy).processors[0].temperature  # pyright: ignore[reportAttributeAccessIssue]
    assert abs(best - 0.7) < 0.2
    assert found.check.to_baseline.says == 1
    assert found.check.items == 60
    assert found.check.lost == pytest.approx(found.check.tuned_gain - found.check.to_baseline.difference.value)
    assert any(trial.stopped for trial in found.trials)
    assert all(trial.items == 60 for trial in found.trials if not trial.stopped)


def test_fresh_items_are_asked_of_the_best_two_and_the_baseline_only():
    fake, drawn = Fake(near(0.7)), items(16, 16)
    found = tune(TEMPERATURES, fake, "m", drawn, trials=6)
    assert found.best is not None
    assert found.runner_up is not None
    late = {strategy for _, strategy, item in fake.asked if int(item) >= 16}
    assert late == {"greedy", found.best.strategy, found.runner_up.strategy}


def test_no_item_is_asked_twice():
    fake = Fake(near(0.7))
    tune(TEMPERATURES, fake, "m", items(20, 20), trials=6)
    assert len(fake.asked) == len(set(fake.asked))


def test_among_equals_nothing_is_said_to_be_better():
    """Fifteen strategies as good as greedy: the best looks better where it was chosen, and seldom where it was not."""
    better, flattered = 0, []
    space = Space.of([f"temperature={{{', '.join(str(t / 10) for t in range(1, 16))}}}"])
    for study in range(40):
        fake = Fake(lambda model, strategy, study=study: 0.5, own_luck=1.0)
        made = [Example(f"{study}/{n}", f"{study}/{n}", "") for n in range(40)]
        drawn = Items("fake", task_named("pocket-sums"), tuple(made[:20]), tuple(made[20:]))
        found = tune(space, fake, "m", drawn, trials=15)
        assert found.check is not None
        better += found.check.to_baseline.says > 0
        flattered.append(found.check.tuned_gain)
    # At 2.5 % one-sided, 5 or more of 40 would come up once in 300 times.
    assert better <= 4
    assert np.mean(flattered) > 0.1


def test_by_tokens_the_cheaper_of_equals_wins():
    space = Space.of(["beam(width=1..8)"])
    cost = lambda strategy: 60.0 + 40 * getattr(Strategy.of(strategy).search, "width", 1)  # noqa: E731
    found = tune(space, Fake(lambda m, s: 0.8, cost), "m", items(), objective="score-per-token", trials=8)
    assert found.best is not None
    assert found.best.strategy == "beam(width=1)"
    assert found.best.value == pytest.approx(1000 * found.best.score / 100)
    front = [trial.strategy for trial in (found.baseline, *found.trials) if trial.on_pareto_front]
    assert front == ["greedy", "beam(width=1)"]


def test_a_small_space_is_gone_through_whole():
    found = tune(Space.of(["greedy", "top_k={1, 5}", "beam(width=2..4)"]), Fake(lambda m, s: 0.5), "m", items(9, 9))
    assert [trial.strategy for trial in found.trials] == [
        "top_k=1 | sample", "top_k=5 | sample", "beam(width=2)", "beam(width=3)", "beam(width=4)",
    ]  # fmt: skip
    assert found.space_size == 6


def test_the_same_seed_tries_the_same_and_another_something_else():
    def tried(seed):
        found = tune(TEMPERATURES, Fake(near(0.7)), "m", items(9, 9), trials=12, seed=seed)
        return [trial.strategy for trial in found.trials]

    assert tried(0) == tried(0) != tried(1)


def test_strategies_that_cannot_be_tried_are_told_and_a_baseline_that_cannot_is_refused():
    fake = Fake(lambda model, strategy: None if "beam" in strategy else 0.5)
    found = tune(Space.of(["top_k=5", "beam(width=2)"]), fake, "m", items(9, 9))
    assert [trial.refused for trial in found.trials] == [None, "beam(width=2): not with m"]
    alone = tune(Space.of(["beam(width=2)"]), fake, "m", items(9, 9))
    assert (alone.best, alone.check) == (None, None)
    with pytest.raises(UnsupportedStrategy):
        tune(Space.of(["top_k=5"]), fake, "m", items(9, 9), baseline="beam(width=2)")


def test_what_mattered_is_told_from_enough_trials():
    def chance(model, strategy):
        if strategy == "greedy":
            return 0.5
        temperature, top_p, _ = Strategy.of(strategy).stages
        return 0.9 - 0.2 * abs(temperature.temperature - 1) - 0.01 * top_p.p  # pyright: ignore[reportAttributeAccessIssue]

    space = Space.of(["temperature=0.1..3 | top_p=0.5..1"])
    found = tune(space, Fake(chance), "m", items(), trials=25)
    assert sum(found.importances.values()) == pytest.approx(1)
    assert found.importances["temperature"] > found.importances["top_p"]


def test_of_results_that_are_all_the_same_nothing_is_said_to_have_mattered():
    space = Space.of(["temperature=0.1..3 | top_p=0.5..1"])
    assert tune(space, Fake(lambda m, s: 0.0), "m", items(9, 9), trials=14).importances == {}


def test_an_objective_that_is_none_is_refused():
    with pytest.raises(RequestError, match="did you mean 'score-per-token'"):
        tune(TEMPERATURES, Fake(near(0.7)), "m", items(9, 9), objective="score-per-tokens")


@pytest.mark.parametrize("most", [1.0, 40.0])
def test_the_interval_of_a_contest_leaves_out_0_where_its_p_value_is_small(most):
    rng = np.random.default_rng(0)
    sides = set()
    for lead in np.linspace(0, 0.5, 40):
        x, y = most * np.clip(rng.random(30) + lead, 0, 1), most * rng.random(30)
        contest = Contest.of("a", x, "b", y, most=most)
        assert (contest.p <= 0.05) == (contest.difference.low > 0 or contest.difference.high < 0)
        assert contest.difference.value == pytest.approx((x - y).mean())
        sides.add(contest.says)
    assert sides == {0, 1}
    same = np.full(30, most / 2)
    assert Contest.of("a", same, "b", same, most=most).p == 1.0


def reversal_chance(model, strategy):
    """The larger model is better when greedy, and falls apart sooner as the temperature rises."""
    if strategy == "greedy":
        return {"small": 0.6, "large": 0.8}[model]
    temperature = Strategy.of(strategy).processors[0].temperature  # pyright: ignore[reportAttributeAccessIssue]
    return {"small": 0.6 - 0.1 * temperature, "large": 0.8 - 0.3 * temperature}[model]


def test_a_reversal_that_is_there_is_found_and_confirmed():
    found = find_reversal(TEMPERATURES, Fake(reversal_chance), "small", "large", items(), trials=16)
    assert found.confirmed
    assert found.best is not None
    assert found.checked is not None
    assert found.usual is not None
    assert found.best.settings.small == found.best.settings.large
    assert found.checked.contest.difference.value > 0 > found.usual.contest.difference.value
    assert (found.baseline.small, found.baseline.large) < (0.8, 1.0)


def test_where_there_is_none_none_is_confirmed():
    fake = Fake(lambda model, strategy: {"small": 0.4, "large": 0.7}[model], own_luck=0.5)
    found = find_reversal(TEMPERATURES, fake, "small", "large", items(), trials=12)
    assert not found.confirmed


def test_a_smaller_model_that_is_ahead_anyway_is_no_reversal():
    found = find_reversal(
        TEMPERATURES, Fake(lambda model, s: {"small": 0.9, "large": 0.2}[model]), "small", "large", items(), trials=4
    )
    assert found.checked is not None
    assert found.checked.contest.says == 1
    assert not found.confirmed


def test_with_settings_of_their_own_bad_ones_are_found_for_the_larger():
    found = find_reversal(TEMPERATURES, Fake(reversal_chance), "small", "large", items(), own_settings=True, trials=16)
    assert found.best is not None
    small, large = (
        Strategy.of(text).processors[0].temperature  # pyright: ignore[reportAttributeAccessIssue]
        for text in (found.best.settings.small, found.best.settings.large)
    )
    assert small < large
    assert found.confirmed


def test_a_small_space_is_paired_with_itself():
    space = Space.of(["top_k={1, 5}"])
    same = find_reversal(space, Fake(lambda m, s: 0.5), "small", "large", items(9, 9))
    assert [str(pair.settings) for pair in same.trials] == ["top_k=1 | sample", "top_k=5 | sample"]
    own = find_reversal(space, Fake(lambda m, s: 0.5), "small", "large", items(9, 9), own_settings=True)
    assert len(own.trials) == 4
