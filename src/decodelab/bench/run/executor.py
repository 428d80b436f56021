"""Who computes the answers of a sweep: this process, or workers beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from types import TracebackType
from typing import Protocol

from decodelab.bench.plan import Plan
from decodelab.bench.run.replica import Around, Items, Outcome, Replica, Wanted, nothing_around
from decodelab.core.errors import RequestError, did_you_mean


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


def executor_named(name: str, workers: int, address: str | None, around: Around = nothing_around) -> Executor:
    """The executor of that name: `local`, in this process or with several workers on this machine, or `ray`.

    Args:
        name: which.
        workers: how many.
        address: of a Ray cluster; None: one on this machine, which is started for the run.
        around: entered while a model computes; importable by name.

    Raises:
        RequestError: if there is none of that name, or Ray is not installed or has no room for so many.
    """
    from decodelab.bench.run.processes import Processes
    from decodelab.bench.run.workers import Workers

    if name not in ("local", "ray"):
        raise RequestError(f"--executor must be local or ray, got {name[:60]!r}{did_you_mean(name, ('local', 'ray'))}")
    if name == "ray":
        from decodelab.bench.run.ray_actors import RayActors

        return Workers(RayActors(workers, address, around))
    if address is not None:
        raise RequestError(f"--ray-address is of a Ray cluster, got {address[:60]!r} with --executor local; use ray")
    return Local(around) if workers == 1 else Workers(Processes(workers, around))


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
