"""Looks for settings under which the larger of two models does worse than the smaller."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from decodelab.bench.tune.asking import Ask, Items
from decodelab.bench.tune.proposals import Listed, ParzenProposals, Raced
from decodelab.bench.tune.racing import race, whole
from decodelab.bench.tune.space import Space
from decodelab.bench.tune.tuning import Contest
from decodelab.core.errors import DecodelabError, ModelError
from decodelab.metrics.bounded import bounded_mean
from decodelab.metrics.checks import Floats
from decodelab.metrics.estimate import Estimate
from decodelab.models.loading import model_info
from decodelab.tasks.task import Example


@dataclass(frozen=True)
class Settings:
    """The strategy of each model; the same for both, unless each may have its own."""

    small: str
    large: str

    def __str__(self) -> str:
        """One strategy, or both."""
        return self.small if self.small == self.large else f"{self.small} (smaller), {self.large} (larger)"


@dataclass(frozen=True)
class Pair:
    """Both models under some settings, on some items.

    Attributes:
        settings: which.
        items: how many were answered.
        small, large: mean scores.
        stopped: whether the settings were stopped early, as less of a reversal than others.
        refused: why they could not be tried; None if they could.
    """

    settings: Settings
    items: int
    small: float
    large: float
    stopped: bool = False
    refused: str | None = None

    @property
    def lead(self) -> float:
        """The lead of the smaller model."""
        return self.small - self.large


@dataclass(frozen=True)
class Faced:
    """Both models under some settings on fresh items: scores with intervals, and the smaller against the larger."""

    settings: Settings
    small: Estimate
    large: Estimate
    contest: Contest


@dataclass(frozen=True)
class Reversal:
    """The result of the search.

    Attributes:
        small, large: the models.
        task: of what.
        items: how many were searched on.
        baseline: both models under the baseline there.
        trials: all settings that were tried, in their order.
        best: those under which the smaller was furthest ahead; None if none were complete.
        fresh: how many fresh items.
        usual: both models under the baseline on them; None without a best.
        checked: and under the best settings.
        unused: combinations of values that stages refused, and how often they came up.
    """

    small: str
    large: str
    task: str
    items: int
    baseline: Pair
    trials: tuple[Pair, ...]
    best: Pair | None
    fresh: int
    usual: Faced | None
    checked: Faced | None
    unused: Mapping[str, int] = field(default_factory=dict)

    @property
    def confirmed(self) -> bool:
        """Whether it is one: the smaller is ahead on fresh items by more than chance, and not under the baseline."""
        if self.usual is None or self.checked is None:
            return False
        return self.checked.contest.says > 0 and self.usual.contest.difference.value <= 0


def find_reversal(
    space: Space,
    ask: Ask,
    small: str,
    large: str,
    items: Items,
    *,
    own_settings: bool = False,
    trials: int = 40,
    baseline: str = "greedy",
    seed: int = 0,
    report: Callable[[int, str], None] = lambda done, doing: None,
) -> Reversal:
    """Look for the settings under which the smaller model is furthest ahead of the larger, and check them.

    Both models answer the same items with the same draws, under one strategy. Settings that are shown to be less of a
    reversal than those before them are stopped early. The best are tried on fresh items, beside the baseline.

    Args:
        space: where to look.
        ask: has models answer items.
        small, large: names of the models.
        items: to search on, and to check with.
        own_settings: whether each model may have a strategy of its own. It is then easily found: bad settings for one,
            good ones for the other.
        trials: how many settings to try at most.
        baseline: the strategy under which the larger model is expected to be at least as good.
        seed: of the proposals.
        report: called with how many trials are done, and what is being done.

    Raises:
        RequestError: without optuna.
        DecodelabError: if a model cannot be asked under the baseline.
    """
    seen: dict[Settings, list[tuple[Floats, Floats]]] = {}

    def measure(settings: Sequence[Settings], start: int, end: int) -> dict[Settings, list[float] | DecodelabError]:
        found: dict[Settings, list[float] | DecodelabError] = {}
        for each, scores in _scores(ask, small, large, settings, items.tuned[start:end]).items():
            if isinstance(scores, DecodelabError):
                found[each] = scores
            else:
                seen.setdefault(each, []).append(scores)
                found[each] = (scores[0] - scores[1]).tolist()
        return found

    few = space.everything(trials)
    pairs = None if few is None else [Settings(a, b) for a in few for b in few if own_settings or a == b]
    if pairs is not None and len(pairs) <= trials:
        proposals = Listed(pairs)
    elif own_settings:
        proposals = ParzenProposals(
            lambda chooser: Settings(str(space.choose(chooser, "smaller, ")), str(space.choose(chooser, "larger, "))),
            seed,
        )
    else:
        proposals = ParzenProposals(lambda chooser: Settings(*[str(space.choose(chooser))] * 2), seed)
    given = whole(measure, Settings(baseline, baseline), len(items.tuned))
    raced = race(
        proposals,
        measure,
        [given],
        items=len(items.tuned),
        trials=trials,
        most=2.0,  # from behind by 1 to ahead by 1
        report=report,
    )
    made = {r.candidate: _pair(r, seen.get(r.candidate, [])) for r in (given, *raced)}
    complete = [made[r.candidate] for r in raced if not r.stopped and r.refused is None]
    best = max(complete, key=lambda pair: pair.lead, default=None)
    usual = checked = None
    if best is not None:
        listed = [given.candidate, best.settings]
        scores = _scores(ask, small, large, listed, items.fresh)
        usual, checked = (_faced(settings, scores[settings], small, large) for settings in listed)
    return Reversal(
        small,
        large,
        items.label,
        len(items.tuned),
        made[given.candidate],
        tuple(made[r.candidate] for r in raced),
        best,
        len(items.fresh),
        usual,
        checked,
        dict(proposals.refused) if isinstance(proposals, ParzenProposals) else {},
    )


def by_size(a: str, b: str) -> tuple[str, str]:
    """Two models, the smaller first; as they are given where their sizes are not known before they are loaded.

    >>> by_size("pocket-small", "pocket-nano")
    ('pocket-nano', 'pocket-small')
    """
    try:
        return (a, b) if model_info(a).parameters <= model_info(b).parameters else (b, a)
    except ModelError:
        return a, b


def _scores(
    ask: Ask, small: str, large: str, settings: Sequence[Settings], items: Sequence[Example]
) -> Mapping[Settings, tuple[Floats, Floats] | DecodelabError]:
    """What both models score under settings, item by item."""
    of_small = ask(small, list(dict.fromkeys(each.small for each in settings)), items)
    of_large = ask(large, list(dict.fromkeys(each.large for each in settings)), items)
    found: dict[Settings, tuple[Floats, Floats] | DecodelabError] = {}
    for each in settings:
        a, b = of_small[each.small], of_large[each.large]
        if isinstance(a, DecodelabError):
            found[each] = a
        else:
            found[each] = b if isinstance(b, DecodelabError) else (a.scores, b.scores)
    return found


def _pair(raced: Raced[Settings], scores: Sequence[tuple[Floats, Floats]]) -> Pair:
    """What is known of settings."""
    n = len(raced.values)
    small, large = (sum(float(block[model].sum()) for block in scores) / n if n else 0.0 for model in (0, 1))
    return Pair(raced.candidate, n, small, large, raced.stopped, raced.refused)


def _faced(
    settings: Settings,
    scores: tuple[Floats, Floats] | DecodelabError,
    small: str,
    large: str,
) -> Faced:
    if isinstance(scores, DecodelabError):
        raise scores
    contest = Contest.of(small, scores[0], large, scores[1])
    return Faced(settings, bounded_mean(scores[0]), bounded_mean(scores[1]), contest)
