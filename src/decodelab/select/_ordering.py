"""Ranking by values that sums have rounded."""

from __future__ import annotations

from collections.abc import Sequence


def in_order(values: Sequence[tuple[int, float | None]]) -> list[tuple[int, float]]:
    """Places by value, highest first, equal ones as given; those without a value last."""
    # Sums of the same numbers in another order differ in the last digits, which must not break a tie.
    known = [(i, None if value is None else float(f"{value:.12g}")) for i, value in values]
    lowest = min((value for _, value in known if value is not None), default=0.0)
    ranked = sorted(((i, value) for i, value in known if value is not None), key=lambda each: -each[1])
    return [*ranked, *((i, min(0.0, lowest)) for i, value in known if value is None)]
