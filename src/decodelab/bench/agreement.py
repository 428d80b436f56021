"""How often two strategies answer alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from decodelab.bench.cells import UNREAD, Answers


@dataclass(frozen=True)
class Agreement:
    """Two strategies on the same items.

    Attributes:
        task, model, first, second: which.
        share: of items on which both gave the same answer, be it right or wrong; of an item with several samples, the
            share of pairs of samples. Where either gave none that could be read, they do not agree.
        items: that both have answered.
    """

    task: str
    model: str
    first: str
    second: str
    share: float
    items: int


def agreements(cells: Mapping[str, Answers]) -> list[Agreement]:
    """The agreement of each pair of strategies that have answered an item in common."""
    read = {name: _by_item(answers) for name, answers in cells.items()}
    found = []
    for first, second in combinations(cells, 2):
        shares = [_share(answers, read[second][item]) for item, answers in read[first].items() if item in read[second]]
        if shares:
            cell = cells[first].cell
            found.append(Agreement(cell.task, cell.model, first, second, float(np.mean(shares)), len(shares)))
    return found


def _by_item(answers: Answers) -> dict[int, Counter[int]]:
    """How often each answer was read, by item."""
    found: dict[int, Counter[int]] = {}
    for item, read in zip(answers.item.tolist(), answers.read.tolist(), strict=True):
        found.setdefault(item, Counter())[read] += 1
    return found


def _share(a: Counter[int], b: Counter[int]) -> float:
    """Of pairs of one's and the other's answers to an item, the share that is equal."""
    return sum(count * b[read] for read, count in a.items() if read != UNREAD) / (a.total() * b.total())
