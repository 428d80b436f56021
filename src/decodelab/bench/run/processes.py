"""Workers as processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from decodelab.bench.plan import Plan
from decodelab.bench.records import WorkItem
from decodelab.bench.run.worker import Around, Worker, nothing_around
from decodelab.bench.run.worker_pool import Died, Done, Message, worker_messages
from decodelab.bench.run.worklist import LoadedTask
from decodelab.core.errors import DecodelabError
from decodelab.models.loading import load


class Processes:
    """A pool of processes, each with its own model and its share of the cores; of several GPUs, each uses one.

    Args:
        size: how many.
        around: entered while a model computes; importable by name, as processes get it by its name.
    """

    def __init__(self, size: int, around: Around = nothing_around) -> None:
        self.size = size
        self._around = around
        # Where processes can be forked from one that has loaded torch already, they start at once.
        methods = multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            first = "decodelab.bench.run.ends_with_parent"
            self._context.set_forkserver_preload(
                [first, "decodelab.bench.run.worker", "decodelab.models.transformers_model"]
            )
        self._processes: list[Any] = [None] * size
        self._pipes: list[Connection | None] = [None] * size

    def start(self, worker: int, plan: Plan, tasks: Sequence[LoadedTask]) -> None:
        """Start a worker, if it is not there, and let it take up a plan."""
        pipe = self._pipes[worker]
        if pipe is None:
            pipe, theirs = self._context.Pipe()
            process = self._context.Process(target=_work, args=(theirs, worker, self.size, self._around), daemon=True)
            process.start()
            theirs.close()  # so that the end of the worker is the end of the pipe
            self._processes[worker], self._pipes[worker] = process, pipe
        _send(pipe, (plan, tasks))

    def send(self, worker: int, model: str, work: Sequence[WorkItem] | None) -> None:
        """Send a worker work, or ask it for the worklist."""
        pipe = self._pipes[worker]
        if pipe is not None:
            _send(pipe, (model, work))

    def receive(self) -> tuple[int, Message]:
        """Wait for a message from any worker."""
        pipe = cast(Connection, wait([pipe for pipe in self._pipes if pipe is not None])[0])
        worker = self._pipes.index(pipe)
        try:
            return worker, pipe.recv()
        except (EOFError, OSError):  # also in the middle of a message
            return worker, Died(self._reap(worker))

    def _reap(self, worker: int) -> str:
        """Clean up after a worker that died; what it died of."""
        process, pipe = self._processes[worker], self._pipes[worker]
        process.join(5)
        if pipe is not None:
            pipe.close()
        self._processes[worker] = self._pipes[worker] = None
        code = process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"

    def close(self) -> None:
        """End all workers at once."""
        started = [process for process in self._processes if process is not None]
        for process in started:
            process.kill()  # they store nothing
        for process in started:
            process.join()
        for pipe in self._pipes:
            if pipe is not None:
                pipe.close()
        self._processes, self._pipes = [None] * self.size, [None] * self.size


def _send(pipe: Connection, message: Any) -> None:
    """Send, unless the worker has died, which `receive` reports."""
    with suppress(OSError):
        pipe.send(message)


def _work(pipe: Connection, number: int, size: int, around: Around) -> None:
    """The loop of a worker: do what is sent, until the pipe or the process at its other end is gone."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends its workers
    threading.Thread(target=_leave_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // size))
    count = torch.cuda.device_count()
    device = f"cuda:{number % count}" if count > 1 else "auto"
    working = Worker(lambda name: load(name, device=device), around)
    while True:
        try:
            first, second = pipe.recv()
        except (EOFError, OSError):
            return
        if isinstance(first, Plan):
            working.begin(first, second)
            continue
        try:
            for message in worker_messages(working, first, second):
                pipe.send(message)
            pipe.send(Done())
        except DecodelabError as error:
            pipe.send(error)


def _leave_with(parent: Any) -> None:
    """End this process when its parent has, whatever it is computing."""
    wait([parent.sentinel])
    os._exit(1)
