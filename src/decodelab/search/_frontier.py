"""A priority queue that is a value: pushing and popping give another queue and leave the old one as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")


class Frontier(NamedTuple, Generic[Item]):
    """A leftist heap: the item of the smallest key, and two heaps of the others.

    Source: Crane 1972; the persistent form as in Okasaki, "Purely Functional Data Structures" (1998), section 3.1. Both
    operations take time logarithmic in the number of items.

    Attributes:
        rank: length of the rightmost path, which is kept the shortest.
        key: of the item; keys must be comparable and all different.
        item: what is queued.
        left: one part of the rest.
        right: the other part, of no greater rank.
    """

    rank: int
    key: tuple[float, ...]
    item: Item
    left: Frontier[Item] | None
    right: Frontier[Item] | None


def push(frontier: Frontier[Item] | None, key: tuple[float, ...], item: Item) -> Frontier[Item]:
    """The queue with one more item; None is the empty queue."""
    merged = _merged(frontier, Frontier(1, key, item, None, None))
    assert merged is not None
    return merged


def pop(frontier: Frontier[Item]) -> tuple[Item, Frontier[Item] | None]:
    """The item of the smallest key, and the queue without it.

    >>> queue = push(push(None, (2,), "later"), (1,), "first")
    >>> item, rest = pop(queue)
    >>> item, pop(rest)[0], pop(queue)[0]
    ('first', 'later', 'first')
    """
    return frontier.item, _merged(frontier.left, frontier.right)


def items(frontier: Frontier[Item] | None) -> Iterator[Item]:
    """All items, in no order."""
    rest = [frontier]
    while rest:
        heap = rest.pop()
        if heap is not None:
            yield heap.item
            rest += [heap.left, heap.right]


def _merged(one: Frontier[Item] | None, other: Frontier[Item] | None) -> Frontier[Item] | None:
    if one is None or other is None:
        return one or other
    first, second = (one, other) if one.key <= other.key else (other, one)
    right = _merged(first.right, second)
    left = first.left
    if (left.rank if left else 0) < (right.rank if right else 0):
        left, right = right, left
    return Frontier((right.rank if right else 0) + 1, first.key, first.item, left, right)
