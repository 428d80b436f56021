"""Quality against compute: the Pareto front of strategies."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def pareto_front(found: Mapping[Name, tuple[float, float]]) -> set[Name]:
    """The Pareto-optimal ones: no other is at least as good at no higher cost, and better or cheaper.

    Args:
        found: cost and quality by name.

    >>> sorted(pareto_front({"greedy": (10, 0.5), "beam": (40, 0.6), "wide": (250, 0.6), "hot": (11, 0.2)}))
    ['beam', 'greedy']
    """
    return {
        name
        for name, (cost, quality) in found.items()
        if not any(c <= cost and q >= quality and (c < cost or q > quality) for c, q in found.values())
    }
