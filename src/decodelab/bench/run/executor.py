"""Who computes the answers of a sweep: this process, or workers beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Protocol

from decodelab.backends.catalogue import names_text_model
from decodelab.bench.plan import Plan
from decodelab.bench.records import WorkItem
from decodelab.bench.run.text_worker import TextWorker
from decodelab.bench.run.worker import Around, Result, Worker, nothing_around
from decodelab.bench.run.worklist import LoadedTask
from decodelab.core.errors import RequestError, did_you_mean


class Executor(Protocol):
    """Computes answers and hands them back; storing them is the caller's business. A context manager."""

    def __enter__(self) -> Executor:
        """Be ready."""
        ...

    def __exit__(self, *raised: object) -> None:
        """Leave nothing running."""
        ...

    def begin(self, plan: Plan, tasks: Sequence[LoadedTask]) -> None:
        """Take up a plan."""
        ...

    def worklist(self, model: str) -> list[WorkItem]:
        """Everything the plan asks of a model, with its keys (`Worker.worklist`)."""
        ...

    def run(self, model: str, groups: Sequence[Sequence[WorkItem]]) -> Iterator[Result]:
        """Do the work; the pieces of a group share a prompt and stay together."""
        ...


def executor_named(name: str, workers: int, address: str | None, around: Around = nothing_around) -> Executor:
    """The executor of that name: `local`, in this process or with several workers on this machine, or `ray`.

    Args:
        name: which.
        workers: how many.
        address: of a Ray cluster; None: one on this machine, which is started for the run.
        around: entered while a model computes; importable by name.

    Raises:
        RequestError: for an unknown name, or if Ray is not installed or has no room for that many workers.
    """
    from decodelab.bench.run.processes import Processes
    from decodelab.bench.run.worker_pool import PoolExecutor

    if name not in ("local", "ray"):
        raise RequestError(f"--executor must be local or ray, got {name[:60]!r}{did_you_mean(name, ('local', 'ray'))}")
    if name == "ray":
        from decodelab.bench.run.ray_actors import RayActors

        return WithServers(PoolExecutor(RayActors(workers, address, around)))
    if address is not None:
        raise RequestError(
            f"--ray-address is for a Ray cluster, got {address[:60]!r} with --executor local; use --executor ray"
        )
    return WithServers(
        LocalExecutor(Worker(around=around)) if workers == 1 else PoolExecutor(Processes(workers, around))
    )


class WithServers:
    """Has servers compute what is asked of their models, from this process, and another executor all else.

    Args:
        inner: for models of our own.
        texts: for those of servers; None: a new one.
    """

    def __init__(self, inner: Executor, texts: TextWorker | None = None) -> None:
        self._inner, self._texts = inner, texts or TextWorker()

    def __enter__(self) -> WithServers:
        """Have the other executor ready."""
        self._inner.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        """Leave nothing running."""
        self._inner.__exit__(*raised)

    def begin(self, plan: Plan, tasks: Sequence[LoadedTask]) -> None:
        """Take up a plan."""
        self._texts.begin(plan, tasks)
        if not all(names_text_model(name) for name in plan.models):
            self._inner.begin(plan, tasks)

    def worklist(self, model: str) -> list[WorkItem]:
        """Everything the plan asks of a model, with its keys."""
        return (self._texts if names_text_model(model) else self._inner).worklist(model)

    def run(self, model: str, groups: Sequence[Sequence[WorkItem]]) -> Iterator[Result]:
        """Do the work."""
        if names_text_model(model):
            return self._texts.run(model, chain.from_iterable(groups))
        return self._inner.run(model, groups)


class LocalExecutor:
    """Computes in this process, with one engine; a model stays loaded from one plan to the next.

    Args:
        worker: who does the work; None: one that loads models as `decodelab.load` does.
    """

    def __init__(self, worker: Worker | None = None) -> None:
        self._worker = worker or Worker()
        self.begin, self.worklist = self._worker.begin, self._worker.worklist

    def __enter__(self) -> LocalExecutor:
        """Nothing to do."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing to do."""

    def run(self, model: str, groups: Sequence[Sequence[WorkItem]]) -> Iterator[Result]:
        """Do the work, all of it in one running batch."""
        return self._worker.run(model, chain.from_iterable(groups))
