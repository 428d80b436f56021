"""What more samples buy, from stored samples: expected scores without bias, costs, the best for a budget."""

import numpy as np
import pytest

from decodelab.bench.scaling.curves import ALONE, Curve, Point, counts_up_to, curves, levels
from decodelab.bench.scaling.optimal import compute_optimal
from decodelab.bench.scaling.pools import Pool, Pools
from decodelab.bench.scaling.selecting import expected, selection_of
from decodelab.core.errors import StrategyError
from decodelab.core.values import Candidate
from decodelab.metrics.bounded import bounded_mean
from decodelab.metrics.pass_at_k import pass_at_k

Row = tuple[str, float, float]
"""A sample: its text, its log-probability and its score."""


def pool(rows: list[Row], item: str = "0", decoded: int = 0) -> Pool:
    candidates = tuple(
        Candidate((7, 2), text, (logprob, 0.0), (logprob, 0.0), "eos", i, 0.0)
        for i, (text, logprob, _) in enumerate(rows)
    )
    read = tuple(text if text.isdigit() else None for text, _, _ in rows)
    scores = np.array([score for _, _, score in rows])
    return Pool(item, f"prompt {item}", candidates, scores, read, 10, decoded or 2 * len(rows), 1.0)


SUMS = pool([("5", -1, 1), ("6", -2, 0), ("x", -3, 0), ("5", -2.5, 1), ("6", -0.5, 0), ("5", -4, 1), ("7", -5, 0)])


def test_a_perfect_selection_is_pass_at_k():
    found = expected(None, SUMS, [1, 2, 3, 7], subsets=2, seed=0)
    assert found.scores == pytest.approx([pass_at_k(7, 3, k) for k in (1, 2, 3, 7)])
    assert not found.error.any()


@pytest.mark.parametrize(
    ("formula", "drawn"),
    [("vote", "weighted_vote(weight=rank, power=0)"), ("best_of(by=logprob)", "soft_best_of(temperature=1e-9)")],
)
def test_random_subsets_come_to_what_the_formula_says_within_their_error(formula, drawn):
    ks = [1, 2, 3, 5, 7]
    exact = expected(selection_of(formula), SUMS, ks, subsets=2, seed=0)
    met = expected(selection_of(drawn), SUMS, ks, subsets=800, seed=1)
    assert not exact.error.any()
    assert np.abs(met.scores - exact.scores) == pytest.approx(np.zeros(5), abs=1e-12 + 4 * float(met.error.max()))
    assert met.scores[-1] == pytest.approx(exact.scores[-1], abs=1e-12)  # of all samples there is one subset


def test_a_vote_can_go_by_what_the_task_read():
    assert expected(selection_of("vote(answer=task)"), SUMS, [7], 2, 0).scores == [1.0]


def test_what_is_no_selection_is_refused():
    for text in ("greedy", "vote | best_of", "sample(n=3) | vote"):
        with pytest.raises(StrategyError, match="must be one selection such as vote or best_of"):
            selection_of(text)


def pools(*own: Pool, prompts: dict[str, str] | None = None) -> Pools:
    alone = tuple(pool([("5", -1.0, 0.5)], p.item, 2) for p in own)
    strategies = {"hot": own, "greedy": alone}
    return Pools("t", "m", strategies, {"hot": len(own[0]), "greedy": 1}, {"hot": 0, "greedy": 0}, prompts or {})


def test_a_curve_is_the_mean_over_prompts_and_counts_what_is_computed():
    found = {c.name: c for c in curves(pools(SUMS, pool([("5", -1, 1)] * 7, "1")), ["any", "vote"], 2, 0)}
    assert list(found) == ["hot", "hot | any", "hot | vote", "greedy"]
    points = found["hot | any"].points
    assert [p.k for p in points] == [1, 2, 4, 7]
    assert [p.score.value for p in points] == pytest.approx([(pass_at_k(7, 3, k) + 1) / 2 for k in (1, 2, 4, 7)])
    assert [p.forward_tokens for p in points] == [12, 14, 18, 24]  # the prompt once, and two tokens a sample
    assert [p.tokens for p in points] == [2, 4, 8, 14]
    assert points[0].score.clusters == 2
    assert found["greedy"].points[0].score.value == 0.5


def test_items_with_one_prompt_are_one_observation():
    own = pools(SUMS, pool([("5", -1, 1)] * 7, "1"), pool([("5", -1, 0)] * 7, "2"), prompts={"1": "same", "2": "same"})
    curve = next(c for c in curves(own, ["any"], 2, 0) if c.selection == "any")
    assert curve.points[0].score.clusters == 2
    assert curve.by_prompt[0] == pytest.approx([3 / 7, 0.5])


def test_levels_of_difficulty_are_equal_parts_by_the_score_of_one_sample():
    own = [pool([("5", -1, float(j < i)) for j in range(6)], str(i)) for i in range(7)]
    found = list(curves(pools(*own), ["any"], 2, 0))
    three = levels(found, "hot")
    assert [(level.name, level.prompts) for level in three] == [("hard", 3), ("medium", 2), ("easy", 2)]
    assert [level.low for level in three] == pytest.approx([0, 3 / 6, 5 / 6])
    assert three[0].curves["any"][-1] == (6, pytest.approx(2 / 3))  # one of the three is never right


def test_numbers_of_samples_are_powers_of_two_and_all():
    assert [counts_up_to(n) for n in (1, 2, 3, 16)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8, 16]]


def alone(name: str, cost: float, scores: np.ndarray) -> Curve:
    point = Point(1, bounded_mean(scores), 0.0, cost, cost, 0.0)
    return Curve("t", "m", name, ALONE, (point,), scores[None], tuple(map(str, range(len(scores)))))


def test_what_is_chosen_among_equals_is_worth_no_more_on_fresh_prompts():
    # Twenty strategies that are equally good: the highest of their means is not what the next prompts will give.
    rng = np.random.default_rng(3)
    seen, fresh = [], []
    for _ in range(60):
        (choice,) = compute_optimal([alone(str(i), 1.0, rng.random(30).round()) for i in range(20)])
        seen.append(choice.seen)
        fresh.append(choice.fresh.value)
    assert np.mean(seen) > 0.62
    assert np.mean(fresh) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(60 * 30))


def test_the_best_for_a_budget_is_named_where_it_changes():
    rng = np.random.default_rng(0)
    scores = {"cheap": rng.random(50) * 0.5, "dear": 0.5 + rng.random(50) * 0.5, "dearer": rng.random(50)}
    costs = {"cheap": 10.0, "dear": 60.0, "dearer": 300.0}
    found = compute_optimal([alone(name, costs[name], scores[name]) for name in scores])
    assert [(c.name, c.budget, c.agreed) for c in found] == [("cheap", 10.0, 5), ("dear", 60.0, 5)]
    assert found[1].fresh.value == pytest.approx(found[1].seen)
