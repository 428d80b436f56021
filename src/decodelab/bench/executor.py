"""Who computes the answers of a sweep: this process, or workers beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from types import TracebackType
from typing import Protocol

from decodelab.bench.plan import Plan
from decodelab.bench.replica import Around, Items, Outcome, Replica, Wanted, nothing_around


class Executor(Protocol):
    """Computes answers and hands them back; what is kept of them is the caller's business. A context manager."""

    def __enter__(self) -> Executor:
        """Be ready."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing running."""
        ...

    def begin(self, plan: Plan, items: Items) -> None:
        """Take up a plan."""
        ...

    def keys(self, model: str) -> list[tuple[str, ...]]:
        """The keys of the answers to each question of the plan (`Replica.keys`)."""
        ...

    def run(self, model: str, groups: Sequence[Sequence[Wanted]]) -> Iterator[Outcome]:
        """Generate what is wanted; what stands in one group shares its prompt and stays together."""
        ...


class Local:
    """Computes in this process, with one engine; a model stays loaded from one plan to the next.

    Args:
        around: entered while a model computes, to choose its threads, say.
    """

    def __init__(self, around: Around = nothing_around) -> None:
        self._replica = Replica(around=around)

    def __enter__(self) -> Local:
        """Nothing to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to do."""

    def begin(self, plan: Plan, items: Items) -> None:
        """Take up a plan."""
        self._replica.begin(plan, items)

    def keys(self, model: str) -> list[tuple[str, ...]]:
        """The keys of the answers to each question of the plan."""
        return self._replica.keys(model)

    def run(self, model: str, groups: Sequence[Sequence[Wanted]]) -> Iterator[Outcome]:
        """Generate what is wanted, all of it in one running batch."""
        return self._replica.run(model, chain.from_iterable(groups))
