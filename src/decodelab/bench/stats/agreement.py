"""How often two strategies give the same answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from decodelab.bench.store.cells import UNREAD, CellColumns
from decodelab.metrics.checks import Ints

_READ = 2**32
"""More than the different answers of any journal."""


@dataclass(frozen=True)
class Agreement:
    """Two strategies on the same items.

    Attributes:
        task, model, first, second: which.
        share: of items on which both gave the same answer, right or wrong; of an item with several samples, the
            share of pairs of samples. Where either gave none that could be read, they do not agree.
        items: that both have answered.
    """

    task: str
    model: str
    first: str
    second: str
    share: float
    items: int


def agreements(cells: Mapping[str, CellColumns]) -> list[Agreement]:
    """The agreement of each pair of strategies that have answered at least one item in common."""
    counted = {name: _counted(answers) for name, answers in cells.items()}
    found = []
    for first, second in combinations(cells, 2):
        (many, given, times), (others, also_given, other_times) = counted[first], counted[second]
        both = (many > 0) & (others > 0)
        if both.any():
            alike, i, j = np.intersect1d(given, also_given, assume_unique=True, return_indices=True)
            item = alike // _READ
            share = float((times[i] * other_times[j] / (many[item] * others[item])).sum() / both.sum())
            cell = cells[first]
            found.append(Agreement(cell.task, cell.model, first, second, share, int(both.sum())))
    return found


def _counted(answers: CellColumns) -> tuple[Ints, Ints, Ints]:
    """How many answers each item has, and the distinct ones that could be read (with their item), with their counts."""
    read = answers.read != UNREAD
    given, times = np.unique(answers.prompt[read] * _READ + answers.read[read], return_counts=True)
    return np.bincount(answers.prompt, minlength=len(answers.asked)), given, times
