"""The best way to spend a budget, and what it is worth on prompts that it was not chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from decodelab.bench.scaling.curves import ALONE, Curve
from decodelab.metrics.bounded import bounded_mean
from decodelab.metrics.checks import Floats
from decodelab.metrics.estimate import Estimate

FOLDS = 5


class _Option(NamedTuple):
    name: str
    k: int
    cost: float
    scores: Floats


@dataclass(frozen=True)
class Choice:
    """The best of all that a budget allows.

    Attributes:
        budget: forward tokens of an item.
        name: strategy and selection of the highest mean score on all prompts.
        k: how many samples.
        cost: forward tokens of an item that it takes.
        seen: its mean score on the prompts it was chosen on: too high, as it is the highest of several.
        fresh: the mean score of what is chosen on the other prompts, on those left out, with its interval.
        agreed: in how many of the parts the same was chosen without them.
        parts: how many there are.
    """

    budget: float
    name: str
    k: int
    cost: float
    seen: float
    fresh: Estimate
    agreed: int
    parts: int


def compute_optimal(found: Sequence[Curve], seed: int = 0) -> list[Choice]:
    """The best choice for each budget that something costs, where it differs from the one before.

    Prompts are dealt to five parts by lot; for each part the choice is made on the four others. What is reported as
    `fresh` is the score of that choice on the part, so that a lucky curve gains nothing by being chosen.

    Args:
        found: the curves of one task and model that can be chosen.
        seed: of the lot.
    """
    shared = set.intersection(*(set(curve.prompts) for curve in found)) if found else set[str]()
    if len(shared) < 2:
        return []
    options = [
        _Option(curve.name, point.k, point.forward_tokens, _of(curve, row, shared))
        for curve in found
        for point, row in zip(curve.points, curve.by_prompt, strict=True)
        if point.k > 1 or curve.selection == ALONE  # of one sample every selection takes that
    ]
    parts = np.random.default_rng(seed).permutation(len(shared)) % min(FOLDS, len(shared))
    choices: list[Choice] = []
    for budget in sorted({option.cost for option in options}):
        choice = _choice(budget, [option for option in options if option.cost <= budget], parts)
        if not choices or (choice.name, choice.k) != (choices[-1].name, choices[-1].k):
            choices.append(choice)
    return choices


def _of(curve: Curve, row: Floats, shared: set[str]) -> Floats:
    """The scores of the prompts that all curves have, in one order for all."""
    by_prompt = dict(zip(curve.prompts, row.tolist(), strict=True))
    return np.array([by_prompt[prompt] for prompt in sorted(shared)])


def _choice(budget: float, options: Sequence[_Option], parts: np.ndarray) -> Choice:
    best = _best(options, np.ones(len(parts), dtype=bool))
    fresh = np.zeros(len(parts))
    agreed = 0
    count = int(parts.max()) + 1
    for part in range(count):
        chosen = _best(options, parts != part)
        fresh[parts == part] = chosen.scores[parts == part]
        agreed += chosen[:2] == best[:2]
    seen = float(best.scores.mean())
    return Choice(budget, best.name, best.k, best.cost, seen, bounded_mean(fresh), agreed, count)


def _best(options: Sequence[_Option], prompts: np.ndarray) -> _Option:
    """The option of the highest mean on these prompts; of equal ones the cheapest."""
    return max(options, key=lambda option: (round(float(option.scores[prompts].mean()), 12), -option.cost))
