"""The order in which waiting requests begin: by priority, and within one in turns between clients."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Waiting items of several clients: of the lowest priority first, each client in turn, its own in order.

    So a client with a thousand requests does not keep another waiting: that one's first request is next but one.

    >>> queue = FairQueue()
    >>> for client, item in [("a", 1), ("a", 2), ("a", 3), ("b", 4)]:
    ...     queue.put(item, client)
    >>> list(queue.drain())
    [1, 4, 2, 3]
    """

    def __init__(self) -> None:
        self._lines: dict[int, OrderedDict[str, deque[Item]]] = {}
        self._length = 0

    def __len__(self) -> int:
        """Items that wait."""
        return self._length

    def put(self, item: Item, client: str, priority: int = 0) -> None:
        """Add an item at the end of its client's line."""
        self._lines.setdefault(priority, OrderedDict()).setdefault(client, deque()).append(item)
        self._length += 1

    def get(self) -> Item:
        """Take the next item; IndexError if there is none."""
        if not self._length:
            raise IndexError("nothing waits")
        priority = min(self._lines)
        clients = self._lines[priority]
        client, line = clients.popitem(last=False)
        item = line.popleft()
        if line:
            clients[client] = line  # at the end: the others are next
        elif not clients:
            del self._lines[priority]
        self._length -= 1
        return item

    def remove(self, item: Item) -> bool:
        """Take an item out of its line; whether it was waiting."""
        for priority, clients in self._lines.items():
            for client, line in clients.items():
                if item in line:
                    line.remove(item)
                    self._length -= 1
                    if not line:
                        del clients[client]
                        if not clients:
                            del self._lines[priority]
                    return True
        return False

    def __iter__(self) -> Iterator[Item]:
        """The items that wait, by client."""
        return (item for clients in self._lines.values() for line in clients.values() for item in line)

    def drain(self) -> Iterator[Item]:
        """Take all items, in order."""
        while self._length:
            yield self.get()
