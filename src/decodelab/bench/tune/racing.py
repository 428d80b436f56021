"""A race: candidates answer the same items, block by block, and those that are hopeless are stopped early."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from decodelab.bench.tune.proposals import Candidate, Proposals, Raced
from decodelab.core.errors import DecodelabError
from decodelab.metrics.e_value import e_value

FIRST_BLOCK = 8
"""Items after which a candidate is looked at first; then at twice as many, and so on."""
AT_ONCE = 4
"""Candidates that run side by side: they share prompts, and fill the batch."""
ALPHA = 0.05

Measure = Callable[[Sequence[Candidate], int, int], Mapping[Candidate, Sequence[float] | DecodelabError]]
"""Values of candidates on items from one number up to another, or why there are none."""


def blocks(items: int) -> Iterator[tuple[int, int]]:
    """Where blocks of items begin and end: 8, 16, 32, ... and the last.

    >>> list(blocks(60))
    [(0, 8), (8, 16), (16, 32), (32, 60)]
    """
    start, end = 0, FIRST_BLOCK
    while start < items:
        yield start, min(end, items)
        start, end = end, 2 * end


def evidence_against(values: Sequence[float], earlier: Sequence[Raced[Candidate]], most: float) -> float:
    """How strongly a candidate's values say that it is worse than what was there before it.

    The mean of the e-values of its paired differences to each earlier candidate, on the items both have. If it is at
    least as good as all of them, each has an expectation of at most 1 wherever one stops, and so has their mean; that
    the best of the earlier ones is only known after the fact needs no further correction.

    Args:
        values: of the candidate, item by item.
        earlier: those that were there before.
        most: the largest a difference can be.
    """
    found = []
    for other in earlier:
        n = min(len(values), len(other.values))
        if n:
            found.append(e_value(np.subtract(values[:n], other.values[:n]), most=most))
    return sum(found) / len(found) if found else 0.0


def race(
    proposals: Proposals[Candidate],
    measure: Measure[Candidate],
    given: Sequence[Raced[Candidate]],
    *,
    items: int,
    trials: int,
    most: float,
    alpha: float = ALPHA,
    report: Callable[[int, str], None] = lambda done, doing: None,
) -> list[Raced[Candidate]]:
    """Try candidates on the same items, each stopped once it is shown to be worse than what was there before it.

    A candidate at least as good as all before it is stopped with a chance of at most `alpha`, whatever the number of
    looks, for items in random order. Candidates that run side by side are compared with those before them only.

    Args:
        proposals: what to try next; it learns of every result.
        measure: has candidates answer items.
        given: what everything is compared with from the beginning (`whole`).
        items: how many there are.
        trials: how many candidates to try.
        most: the largest a difference of two values of an item can be.
        alpha: the chance that is allowed.
        report: called with how many candidates are done, and what is being done.

    Returns:
        How those that were proposed did, in their order.
    """
    for raced in given:
        proposals.tell(raced)
    tried: list[Raced[Candidate]] = []
    while together := _proposed(proposals, min(AT_ONCE, trials - len(tried))):
        values: dict[Candidate, list[float]] = {candidate: [] for candidate in together}
        done: dict[Candidate, Raced[Candidate]] = {}
        for start, end in blocks(items):
            live = [candidate for candidate in together if candidate not in done]
            if not live:
                break
            report(len(tried) + len(done), f"{live[0]}, {len(live)} at once, {end} of {items} items")
            for candidate, found in measure(live, start, end).items():
                if isinstance(found, DecodelabError):
                    done[candidate] = Raced(candidate, tuple(values[candidate]), refused=str(found))
                    continue
                values[candidate] += found
                if end == items:
                    done[candidate] = Raced(candidate, tuple(values[candidate]))
                elif evidence_against(values[candidate], [*given, *tried], most) >= 1 / alpha:
                    done[candidate] = Raced(candidate, tuple(values[candidate]), stopped=True)
        for candidate in together:
            proposals.tell(done[candidate])
            tried.append(done[candidate])
    report(len(tried), "done")
    return tried


def _proposed(proposals: Proposals[Candidate], most: int) -> list[Candidate]:
    """What is tried next, side by side; nothing when there is nothing left."""
    found: list[Candidate] = []
    while len(found) < most and (candidate := proposals.propose()) is not None:
        found.append(candidate)
    return found


def whole(measure: Measure[Candidate], candidate: Candidate, items: int) -> Raced[Candidate]:
    """Have a candidate answer all items, whatever comes of it.

    Raises:
        DecodelabError: if it cannot be tried.
    """
    found = measure([candidate], 0, items)[candidate]
    if isinstance(found, DecodelabError):
        raise found
    return Raced(candidate, tuple(found))
