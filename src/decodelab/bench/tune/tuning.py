"""Chooses a strategy: tries those of a space on some items, and checks the best on items it was never tried on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from decodelab.bench.stats.pairs import pairs_of
from decodelab.bench.stats.pareto import pareto_front
from decodelab.bench.stats.winner import items_needed
from decodelab.bench.tune.asking import Ask, Items, Measured
from decodelab.bench.tune.proposals import Listed, ParzenProposals, Raced
from decodelab.bench.tune.racing import ALPHA, race, whole
from decodelab.bench.tune.space import Space
from decodelab.core.errors import DecodelabError, RequestError, did_you_mean
from decodelab.metrics.bounded import bounded_mean
from decodelab.metrics.checks import Floats
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.mean import mean

OBJECTIVES = ("score", "score-per-token")
"""What can be made large: the mean score, or the mean over items of score by 1,000 forward tokens."""


@dataclass(frozen=True)
class Trial:
    """A strategy that was tried.

    Attributes:
        strategy: which.
        items: how many it has answered.
        value: the objective, a mean over these.
        score: their mean score.
        forward_tokens: computed for an answer, prompt and all rows; a mean.
        stopped: whether it was stopped early, as worse than what there was.
        on_pareto_front: whether no other complete trial is as good for fewer forward tokens, or better for as many.
        refused: why it could not be tried; None if it could.
    """

    strategy: str
    items: int
    value: float
    score: float
    forward_tokens: float
    stopped: bool = False
    on_pareto_front: bool = False
    refused: str | None = None


@dataclass(frozen=True)
class Contest:
    """Two strategies on the same items.

    Attributes:
        a, b: which.
        difference: of a to b, paired, with its interval.
        p: two-sided, at most 0.05 exactly where the interval leaves out 0 (`pairs_of`).
        items_needed: how many items would separate them with 80 % power at 5 %, if the true difference is the observed;
            None where they are significantly different, or have equal means.
    """

    a: str
    b: str
    difference: Estimate
    p: float
    items_needed: int | None

    @property
    def says(self) -> int:
        """1 if a is better, -1 if it is worse, 0 if they are not significantly different at 5 %."""
        if self.p > ALPHA:
            return 0
        return 1 if self.difference.value > 0 else -1

    @staticmethod
    def of(a: str, x: Floats, b: str, y: Floats, *, most: float = 1.0) -> Contest:
        """The contest of two from their values on some items, which are at least 0 and at most `most`."""
        pairs = pairs_of({a: x / most, b: y / most} if a != b else {})
        pair = pairs.of(a, b)
        if pair is None:
            nothing = Estimate(float(x.mean() - y.mean()), math.nan, math.nan, math.nan, len(x), len(x))
            return Contest(a, b, nothing, 1.0, None)
        d = pair.difference
        open_yet = pair.p > ALPHA and abs(d.value) > 1e-12
        needed = items_needed(d, ALPHA, pair.step) if open_yet else None
        ends = {name: most * getattr(d, name) for name in ("value", "low", "high", "standard_error")}
        return Contest(a, b, replace(d, **ends), pair.p, needed)


@dataclass(frozen=True)
class Check:
    """The choice on items that it was not made on.

    Attributes:
        items: how many.
        values: the objective of baseline, best and runner-up, with intervals.
        to_baseline: the best against the baseline.
        to_runner_up: the best against the runner-up; None if there is none.
        tuned_gain: the lead of the best over the baseline on the items it was chosen on.
    """

    items: int
    values: Mapping[str, Estimate]
    to_baseline: Contest
    to_runner_up: Contest | None
    tuned_gain: float

    @property
    def lost(self) -> float:
        """How much of that gain the fresh items do not show: selection bias."""
        return self.tuned_gain - self.to_baseline.difference.value


@dataclass(frozen=True)
class Tuning:
    """The result of tuning.

    Attributes:
        model, task, objective: of what.
        items: how many were tuned on.
        baseline: what everything is compared with, on the items that were tuned on.
        trials: everything tried, in its order.
        best, runner_up: the two best complete trials, if there are any.
        check: the best on fresh items; None without a best.
        importances: share of the variance of the results that each parameter of the best one's form accounts for; empty
            where there are too few complete trials to tell.
        space_size: how many strategies the space has; None if they cannot be counted.
        unused: combinations of values that stages refused, and how often they came up.
    """

    model: str
    task: str
    objective: str
    items: int
    baseline: Trial
    trials: tuple[Trial, ...]
    best: Trial | None
    runner_up: Trial | None
    check: Check | None
    importances: Mapping[str, float] = field(default_factory=dict)
    space_size: int | None = None
    unused: Mapping[str, int] = field(default_factory=dict)


def tune(
    space: Space,
    ask: Ask,
    model: str,
    items: Items,
    *,
    objective: str = "score",
    trials: int = 40,
    baseline: str = "greedy",
    seed: int = 0,
    report: Callable[[int, str], None] = lambda done, doing: None,
) -> Tuning:
    """Look for the strategy of a space that is best for a model on a task.

    Every strategy answers the same items with the same draws. Those that are shown to be worse than what was there
    before them are stopped early (`race`). A space of no more strategies than trials is gone through whole; otherwise
    optuna proposes. The best is then compared with the baseline on fresh items, the only comparison without selection
    bias.

    Args:
        space: where to look.
        ask: has models answer items.
        model: its name.
        items: to tune on, and to check with.
        objective: one of `OBJECTIVES`.
        trials: how many strategies to try at most.
        baseline: the strategy to be better than.
        seed: of the proposals.
        report: called with how many trials are done, and what is being done.

    Raises:
        RequestError: for an unknown objective, or without optuna.
        DecodelabError: if the baseline cannot be asked.
    """
    check_objective(objective)
    seen: dict[str, list[Measured]] = {}

    def measure(strategies: Sequence[str], start: int, end: int) -> dict[str, list[float] | DecodelabError]:
        found: dict[str, list[float] | DecodelabError] = {}
        for name, answers in ask(model, strategies, items.tuned[start:end]).items():
            if isinstance(answers, DecodelabError):
                found[name] = answers
            else:
                seen.setdefault(name, []).append(answers)
                found[name] = _values(answers, objective).tolist()
        return found

    given = whole(measure, baseline, len(items.tuned))
    # No value exceeds a score of 1 for the shortest prompt.
    most = 1.0 if objective == "score" else 1000 / float(seen[baseline][0].prompt_tokens.min())
    few = space.everything(trials)
    proposals = ParzenProposals(lambda chooser: str(space.choose(chooser)), seed) if few is None else Listed(few)
    raced = race(proposals, measure, [given], items=len(items.tuned), trials=trials, most=most, report=report)
    complete = [r for r in raced if not r.stopped and r.refused is None]
    costs = {r.candidate: _mean(seen[r.candidate], "forward_tokens") for r in (given, *complete)}
    on_front = pareto_front({name: (cost, _mean(seen[name], "scores")) for name, cost in costs.items()})
    ranked = sorted(complete, key=lambda r: (-r.mean, costs[r.candidate]))
    made = {r.candidate: _trial(r, seen.get(r.candidate, []), r.candidate in on_front) for r in (given, *raced)}
    best = ranked[0] if ranked else None
    runner_up = ranked[1] if len(ranked) > 1 else None
    parzen = proposals if isinstance(proposals, ParzenProposals) else None
    return Tuning(
        model,
        items.label,
        objective,
        len(items.tuned),
        made[baseline],
        tuple(made[r.candidate] for r in raced),
        made[best.candidate] if best is not None else None,
        made[runner_up.candidate] if runner_up is not None else None,
        _check(ask, model, items, objective, most, given, best, runner_up) if best is not None else None,
        parzen.importances(best.candidate, seed) if parzen and best else {},
        space.size,
        dict(parzen.refused) if parzen is not None else {},
    )


def check_objective(name: str) -> None:
    """Refuse an unknown objective.

    Raises:
        RequestError: with the nearest one suggested.
    """
    if name not in OBJECTIVES:
        hint = did_you_mean(name, OBJECTIVES) or f"; it is one of {', '.join(OBJECTIVES)}"
        raise RequestError(f"objective: there is none called {name[:60]!r}{hint}")


def _values(answers: Measured, objective: str) -> Floats:
    """The objective of each item."""
    return answers.scores if objective == "score" else 1000 * answers.scores / answers.forward_tokens


def _mean(answers: Sequence[Measured], what: str) -> float:
    """Over all items of some blocks."""
    total = sum(float(getattr(block, what).sum()) for block in answers)
    return total / sum(len(block.scores) for block in answers)


def _trial(raced: Raced[str], answers: Sequence[Measured], on_front: bool) -> Trial:
    if not answers:
        return Trial(raced.candidate, 0, 0.0, 0.0, 0.0, refused=raced.refused)
    return Trial(
        raced.candidate,
        len(raced.values),
        raced.mean,
        _mean(answers, "scores"),
        _mean(answers, "forward_tokens"),
        raced.stopped,
        on_front,
        raced.refused,
    )


def _check(
    ask: Ask,
    model: str,
    items: Items,
    objective: str,
    most: float,
    baseline: Raced[str],
    best: Raced[str],
    runner_up: Raced[str] | None,
) -> Check:
    """Have the best answer what it was not chosen on."""
    names = [raced.candidate for raced in (baseline, best, runner_up) if raced is not None]
    values: dict[str, Floats] = {}
    for name, answers in ask(model, names, items.fresh).items():
        if isinstance(answers, DecodelabError):
            raise answers
        values[name] = _values(answers, objective)
    a, b = best.candidate, baseline.candidate
    second = None
    if runner_up is not None:
        c = runner_up.candidate
        second = Contest.of(a, values[a], c, values[c], most=most)
    return Check(
        len(items.fresh),
        {name: bounded_mean(values[name]) if most == 1 else mean(values[name]) for name in names},
        Contest.of(a, values[a], b, values[b], most=most),
        second,
        best.mean - baseline.mean,
    )
