"""Samples drawn in windows, as the rounds of a search over texts."""

from __future__ import annotations

from decodelab.core.errors import UnsupportedStrategy
from decodelab.core.protocols import Draw, DrawsInWindows, Question, Rounds
from decodelab.core.values import Candidate
from decodelab.strategy.strategy import Strategy


def windows(driver: DrawsInWindows, window: int, total: int, question: Question) -> Rounds:
    """Draw samples in order, a window at a time, until a driver has enough or all are drawn."""
    found: list[Candidate] = []
    drawn = 0
    while drawn < total and not (drawn and driver.settled(found, drawn, total, question)):
        (samples,) = yield [Draw(min(window, total - drawn), drawn)]
        found += [one.candidate for one in samples]
        drawn = min(drawn + window, total)
    return [(candidate, candidate.score) for candidate in found]


def check_windows(strategy: Strategy) -> None:
    """Refuse a search, or a vote, that a driver which draws in windows cannot stop.

    Raises:
        UnsupportedStrategy: saying which would do.
    """
    driver = strategy.driver
    if driver is None or strategy.windowed is None:
        return
    if not strategy.search_stage.samples_by_index:
        raise UnsupportedStrategy(f"{driver} ends the drawing of samples, got {strategy.search}; use sample(n=...)")
    chosen = strategy.stages[-1]
    if chosen.kind == "selection" and None is not chosen.counts() != driver.counts():
        raise UnsupportedStrategy(f"{driver} and {chosen} count different answers; give both the same answer=...")
