"""Workers as Ray actors, on this machine or a cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

from decodelab.bench.plan import Plan
from decodelab.bench.records import WorkItem
from decodelab.bench.run.worker import Around, Worker, nothing_around
from decodelab.bench.run.worker_pool import Died, Done, Message, worker_messages
from decodelab.bench.run.worklist import LoadedTask
from decodelab.core.errors import DecodelabError, RequestError


class RayActors:
    """A pool of Ray actors, each with a `Worker`; every one takes a GPU where the cluster has some.

    Models and, on a cluster, decodelab itself must be there on every node under the same names.

    Args:
        size: how many.
        address: of a cluster; None: a Ray of our own on this machine, which ends with the pool.
        around: entered while a model computes; importable by name.

    Raises:
        RequestError: if Ray is not installed, the cluster is not there, or has no room for that many workers.
    """

    def __init__(self, size: int, address: str | None = None, around: Around = nothing_around) -> None:
        try:
            import ray
        except ImportError:
            raise RequestError(
                "--executor ray: Ray is not installed; pip install 'decodelab[ray]', or use --workers"
            ) from None
        self.size = size
        self._around = around
        self._address = address
        self._ray: Any = ray
        self._actors: list[Any] = [None] * size
        self._streams: dict[Any, int] = {}
        self._began = False
        if address is not None:
            _check_reachable(address)

    def start(self, worker: int, plan: Plan, tasks: Sequence[LoadedTask]) -> None:
        """Start a worker, if it is not there, and let it take up a plan."""
        self._connect()
        if self._actors[worker] is None:
            gpus = 1 if self._room("GPU") else 0
            actor = self._ray.remote(num_cpus=self._cores, num_gpus=gpus, max_restarts=0)(WorkerActor)
            self._actors[worker] = actor.remote(self._cores, self._around)
        self._actors[worker].begin.remote(plan, tasks)

    def send(self, worker: int, model: str, work: Sequence[WorkItem] | None) -> None:
        """Send a worker work, or ask it for the worklist."""
        self._streams[self._actors[worker].work.options(num_returns="streaming").remote(model, work)] = worker

    def receive(self) -> tuple[int, Message]:
        """Wait for a message from any worker."""
        from ray.exceptions import RayActorError, RayTaskError

        (ready,), _ = self._ray.wait(list(self._streams), num_returns=1)
        worker = self._streams[ready]
        try:
            return worker, self._ray.get(next(ready))
        except StopIteration:
            del self._streams[ready]
            return worker, Done()
        except RayActorError as error:
            del self._streams[ready]
            self._actors[worker] = None
            return worker, Died(str(error).splitlines()[0])
        except RayTaskError as error:
            del self._streams[ready]
            if isinstance(error.cause, DecodelabError):
                return worker, error.cause
            raise

    def close(self) -> None:
        """End all workers at once."""
        if self._began:
            self._ray.shutdown()
        self._actors, self._streams, self._began = [None] * self.size, {}, False

    def _connect(self) -> None:
        if self._began:
            return
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        own = {} if self._address is not None else {"num_cpus": max(cores, self.size), "include_dashboard": False}
        try:
            self._ray.init(self._address or "local", log_to_driver=False, logging_level="error", **own)
        except (ConnectionError, ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())[:200]
            place = self._address or "this machine"
            raise RequestError(f"--ray-address: there is no Ray cluster at {place} ({why}); start one") from None
        self._began = True
        room = self._room("CPU")
        if room < self.size:
            raise RequestError(
                f"--workers: the Ray cluster has {room} CPUs, got {self.size} workers; ask for at most {room}"
            )
        self._cores = max(1, room // self.size)

    def _room(self, what: str) -> int:
        return int(self._ray.cluster_resources().get(what, 0))


def _check_reachable(address: str) -> None:
    """Refuse an address where nothing listens, which Ray would retry for a quarter of an hour."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise RequestError(
            f"--ray-address must be HOST:PORT of the head node, or auto, got {address[:60]!r}; "
            "run the command on a node of the cluster"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise RequestError(
            f"--ray-address: nothing answers at {address[:60]} ({error}); start one: ray start --head"
        ) from None


class WorkerActor:
    """A worker in one of Ray's processes."""

    def __init__(self, cores: int, around: Around) -> None:
        import torch

        torch.set_num_threads(cores)
        self.worker = Worker(around=around)

    def begin(self, plan: Plan, tasks: Sequence[LoadedTask]) -> None:
        """Take up a plan."""
        self.worker.begin(plan, tasks)

    def work(self, model: str, work: Sequence[WorkItem] | None) -> Any:
        """Do the work, result by result, or find the worklist."""
        yield from worker_messages(self.worker, model, work)
