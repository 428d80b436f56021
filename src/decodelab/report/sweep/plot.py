"""Where things stand in the report's drawings: quality against compute, bars of intervals, reliability."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from decodelab.bench.records import CellStats
from decodelab.bench.stats.confidences import Bin
from decodelab.bench.stats.pareto import pareto_front

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 40
_LETTER, _LINE = 6.2, 13


@dataclass(frozen=True)
class Point:
    """A strategy in a plot: what it is called, what it cost, its score with the ends of its interval (NaN: none)."""

    name: str
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Drawn:
    """A point where it is drawn; `label` is where its name begins or ends, None where it would cover another."""

    point: Point
    front: bool
    x: float
    y: float
    low: float | None
    high: float | None
    label: tuple[float, float, str] | None


@dataclass(frozen=True)
class Plot:
    """A plot of quality against cost.

    Attributes:
        title: what the cost is.
        points: those of the front last, so that they lie on top.
        xticks, yticks: place and number.
        front: the corners of the line that no strategy is better than.
    """

    title: str
    points: tuple[Drawn, ...]
    xticks: tuple[tuple[float, str], ...]
    yticks: tuple[tuple[float, str], ...]
    front: tuple[tuple[float, float], ...]


def points_of(rows: Sequence[CellStats], cost: Callable[[CellStats], float]) -> list[Point]:
    """The scores of the strategies that have answered, over a cost."""
    return [
        Point(row.strategy, cost(row), row.score.value, row.score.low, row.score.high)
        for row in rows
        if row.score is not None
    ]


def plot(title: str, points: Sequence[Point]) -> Plot | None:
    """Place points; None where there are fewer than two, or none costs anything."""
    if len(points) < 2 or not any(p.x > 0 for p in points):
        return None
    costs = [p.x for p in points]
    by_ratio = min(costs) > 0 and max(costs) > 8 * min(costs)
    across = math.log10 if by_ratio else float
    left, right = _padded(across(min(costs)), across(max(costs)), 0.06)
    ends = [v for p in points for v in (p.y, p.low, p.high) if not math.isnan(v)]
    bottom, top = _padded(min(ends), max(ends), 0.08)

    def x(cost: float) -> float:
        return LEFT + (across(cost) - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def y(score: float) -> float:
        return TOP + (top - score) / (top - bottom) * (HEIGHT - TOP - BOTTOM)

    best = pareto_front({p.name: (p.x, p.y) for p in points})
    places = {p.name: (x(p.x), y(p.y)) for p in points}
    labels = _labels(places, best)
    drawn = [
        Drawn(
            p,
            p.name in best,
            *places[p.name],
            None if math.isnan(p.low) else y(p.low),
            None if math.isnan(p.high) else y(p.high),
            labels.get(p.name),
        )
        for p in sorted(points, key=lambda p: (p.name in best, -p.x))
    ]
    steps = sorted(places[name] for name in best)
    corners = [steps[0]]
    for place in steps[1:]:
        corners += [(place[0], corners[-1][1]), place]
    xticks = _decades(left, right) if by_ratio else ticks(left, right)
    return Plot(
        title,
        tuple(drawn),
        tuple(zip(map(x, xticks), _shortest(xticks), strict=True)),
        tuple((y(v), f"{v:g}") for v in ticks(bottom, top)),
        (*corners, (WIDTH - RIGHT, corners[-1][1])),
    )


def _padded(low: float, high: float, by: float) -> tuple[float, float]:
    more = (high - low) * by or abs(high) * by or by
    return low - more, high + more


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram in a square of `SIDE`: bars as x, y, width, height, what is said of each, and whiskers."""

    bars: tuple[tuple[float, float, float, float, str], ...]
    whiskers: tuple[tuple[float, float, float], ...]


SIDE = 150


def reliability(bins: Sequence[Bin]) -> Reliability:
    """Place the bars of a reliability diagram: as wide as their bin, as high as the share that is right."""
    bars, whiskers = [], []
    for b in bins:
        if b.count:
            said = f"{b.count:,} answers of confidence {b.confidence:.2f}: {b.accuracy:.0%} right"
            bars.append((SIDE * b.low, SIDE * (1 - b.accuracy), SIDE * (b.high - b.low), SIDE * b.accuracy, said))
            middle = SIDE * (b.low + b.high) / 2
            if not math.isnan(b.accuracy_low):
                whiskers.append((middle, SIDE * (1 - b.accuracy_high), SIDE * (1 - b.accuracy_low)))
    return Reliability(tuple(bars), tuple(whiskers))


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to high.

    >>> ticks(0.31, 0.87)
    [0.4, 0.5, 0.6, 0.7, 0.8]
    """
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(7, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [round(float(value), 12) for value in found if low <= value <= high]


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two logarithms, or fewer of them where they would be many."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    every = [(m, m * 10.0**k) for k in powers for m in (1, 2, 5) if low <= math.log10(m * 10.0**k) <= high]
    if len(every) <= 9:
        return [value for _, value in every]
    tens = [value for m, value in every if m == 1]
    return tens[:: math.ceil(len(tens) / 9)]


def short(number: float, digits: int = 3) -> str:
    """A cost in a few characters.

    >>> short(0.05), short(1500), short(2e6)
    ('0.05', '1.5k', '2M')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.{digits}g}{letter}"
    return f"{number:.{digits}g}"


def _shortest(numbers: Sequence[float]) -> list[str]:
    """Different numbers in as few characters as tell them apart."""
    found = [[short(number, digits) for number in numbers] for digits in range(3, 16)]
    return next((texts for texts in found if len(set(texts)) == len(texts)), found[-1])


def _labels(places: dict[str, tuple[float, float]], first: Container[str]) -> dict[str, tuple[float, float, str]]:
    """A free place beside each point for its name, those of the front first; none if all are taken."""
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in places.values()]
    found: dict[str, tuple[float, float, str]] = {}
    for name in sorted(places, key=lambda name: name not in first):
        x, y = places[name]
        wide = min(len(name), 24) * _LETTER
        for anchor, dx, dy in (("start", 8, -4), ("end", -8, -4), ("middle", 0, -9), ("middle", 0, 18)):
            begin = x + dx - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
            box = (begin, y + dy - _LINE + 3, begin + wide, y + dy + 3)
            across, down = box[0] >= LEFT and box[2] <= WIDTH, box[1] >= TOP - 6 and box[3] <= HEIGHT - BOTTOM
            if across and down and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                found[name] = (x + dx, y + dy, anchor)
                break
    return found


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
