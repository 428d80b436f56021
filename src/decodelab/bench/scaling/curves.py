"""Quality against compute: what each selection scores with k samples, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from decodelab.bench.scaling.pools import Pool, Pools
from decodelab.bench.scaling.selecting import ANY, expected, selection_of
from decodelab.core.stage import Stage
from decodelab.metrics.bounded import bounded_mean
from decodelab.metrics.checks import Floats
from decodelab.metrics.estimate import Estimate

ALONE = ""
"""Stands for no selection: a single answer."""


@dataclass(frozen=True)
class Point:
    """A selection among k samples.

    Attributes:
        k: how many.
        score: mean over prompts, with its 95 % interval; each k has its own, they need not hold together.
        monte_carlo: the standard error from taking some subsets only; 0 where all were counted. It is part of the
            interval, as it makes prompts differ.
        tokens, forward_tokens, seconds: of an item, on average: generated, computed with the prompt, and of the k
            samples' share of the time.
    """

    k: int
    score: Estimate
    monte_carlo: float
    tokens: float
    forward_tokens: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Curve:
    """A selection among the samples of one strategy, for several k.

    Attributes:
        task, model, strategy: whose samples.
        selection: as it was written; `ALONE` for the answers of a strategy as they are, `ANY` for a perfect selection.
        points: by k, ascending.
        by_prompt: float64 [points, prompts], the expected score of each prompt; prompts in the order of `prompts`.
        prompts: which.
    """

    task: str
    model: str
    strategy: str
    selection: str
    points: tuple[Point, ...]
    by_prompt: Floats
    prompts: tuple[str, ...]

    @property
    def name(self) -> str:
        """Strategy and selection in a line."""
        return f"{self.strategy} | {self.selection}" if self.selection else self.strategy


@dataclass(frozen=True, eq=False)
class Level:
    """The prompts of one level of difficulty, and the curves of them alone.

    Attributes:
        name: of the level.
        prompts: how many.
        low, high: the least and the highest mean score of a single sample among them.
        curves: by strategy and selection.
    """

    name: str
    prompts: int
    low: float
    high: float
    curves: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)


def counts_up_to(n: int) -> list[int]:
    """The numbers of samples that are shown: the powers of two below n, and n.

    >>> counts_up_to(10)
    [1, 2, 4, 8, 10]
    """
    return [*(k for k in (2**i for i in range(n.bit_length())) if k < n), n]


def curves(
    pools: Pools, selections: Sequence[str], subsets: int, seed: int, advance: Callable[[], None] = lambda: None
) -> Iterator[Curve]:
    """The curves of a task and model: every selection among the samples of every strategy, and strategies as they are.

    Args:
        pools: the samples.
        selections: as strategies write them, or `ANY`.
        subsets: random subsets, for selections without a formula.
        seed: of these.
        advance: called after every item.

    Raises:
        StrategyError, ScorerFailed: what a selection raises.
    """
    for strategy, own in pools.strategies.items():
        if not own:
            continue
        yield _curve(pools, strategy, own, ALONE, None, [1], subsets, seed, advance)
        if (n := pools.samples[strategy]) > 1:
            for text in selections:
                yield _curve(pools, strategy, own, text, selection_of(text), counts_up_to(n), subsets, seed, advance)


def _curve(
    pools: Pools,
    strategy: str,
    own: Sequence[Pool],
    text: str,
    stage: Stage | None,
    ks: Sequence[int],
    subsets: int,
    seed: int,
    advance: Callable[[], None],
) -> Curve:
    scores, errors = [], []
    for pool in own:
        if text == ALONE:
            scores.append(np.array([pool.scores.mean()]))
            errors.append(np.zeros(1))
        else:
            found = expected(stage, pool, ks, subsets, seed)
            scores.append(found.scores)
            errors.append(found.error)
        advance()
    names = [pools.prompts.get(pool.item, pool.item) for pool in own]
    prompts = tuple(dict.fromkeys(names))
    place = np.array([prompts.index(name) for name in names]) if len(prompts) < len(names) else np.arange(len(names))
    table = np.stack(scores, 1)
    share = np.bincount(place, minlength=len(prompts))
    by_prompt = np.stack([np.bincount(place, weights=row, minlength=len(prompts)) / share for row in table])
    monte_carlo = np.sqrt((np.stack(errors, 1) ** 2).sum(1)) / len(own)
    points = []
    for i, k in enumerate(ks):
        costs = [_costs(pool, k) for pool in own]
        tokens, forward, seconds = (float(np.mean(column)) for column in zip(*costs, strict=True))
        points.append(Point(k, bounded_mean(by_prompt[i]), float(monte_carlo[i]), tokens, forward, seconds))
    return Curve(pools.task, pools.model, strategy, text, tuple(points), by_prompt, prompts)


def _costs(pool: Pool, k: int) -> tuple[float, float, float]:
    """What k of its samples cost: generated and computed tokens, and seconds."""
    share = k / len(pool)
    return k * pool.tokens, pool.prompt_tokens + share * pool.decode_tokens, share * pool.seconds


def levels(found: Sequence[Curve], strategy: str, count: int = 3) -> list[Level]:
    """The curves of one strategy's samples by difficulty: prompts in equal parts by the mean score of a single sample.

    That mean is of the same samples, so a level's first point is biased towards its name; compare the curves, not
    their beginnings (Snell et al. 2024, section 3.2, where the difficulty is estimated likewise).

    Args:
        found: curves of one task and model.
        strategy: whose samples.
        count: how many levels.
    """
    own = [curve for curve in found if curve.strategy == strategy]
    alone = next(curve.by_prompt[0] for curve in own if curve.selection == ALONE)
    names = {1: ["all"], 2: ["hard", "easy"], 3: ["hard", "medium", "easy"]}.get(count) or [
        f"{i + 1} of {count}, hardest first" for i in range(count)
    ]
    parts = [part for part in np.array_split(np.argsort(alone, kind="stable"), count) if len(part)]
    return [
        Level(
            name,
            len(part),
            float(alone[part].min()),
            float(alone[part].max()),
            {
                curve.selection: tuple(
                    (point.k, float(row[part].mean())) for point, row in zip(curve.points, curve.by_prompt, strict=True)
                )
                for curve in own
                if curve.selection != ALONE
            },
        )
        for name, part in zip(names, parts, strict=False)
    ]


def real(found: Sequence[Curve]) -> list[Curve]:
    """The curves of what can be done: all but those of a perfect selection."""
    return [curve for curve in found if curve.selection != ANY]
