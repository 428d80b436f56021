"""Sweeps over servers: the journal has the same answers as of a local model, and a killed server loses none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from decodelab.bench.plan import Plan
from decodelab.bench.run.sweep import Outcome, run
from decodelab.bench.scaling.study import scaling
from decodelab.bench.stats.comparison import compare
from decodelab.bench.store.journal import Journal

STRATEGIES = {"greedy": "greedy", "sampled": "temperature=0.7", "voted": "temperature=0.7 | sample(n=3) | vote"}


def sweep(place: Path, *models: str, **more: Any) -> Outcome:
    plan = plan_of(*models, **more)
    with Journal(place, writing=True) as journal:
        return run(plan, journal)


def plan_of(*models: str, **more: Any) -> Plan:
    task = {"name": "pocket-sums", "items": 6, "max_new_tokens": 12}
    given = {"models": list(models), "strategies": STRATEGIES, "tasks": [task], "samples": 3, **more}
    return Plan.of(given, "test", Path())


def texts(place: Path, model: str) -> list[tuple[str, str, int, str]]:
    with Journal(place, writing=False) as journal:
        columns = "strategy, prompt, sample, text"
        rows = journal.select(f"SELECT {columns} FROM answers WHERE model = ? ORDER BY {columns}", model)
        return [(s, p, n, t) for s, p, n, t in rows]


def test_our_server_fills_the_journal_as_a_local_model_does(address: str, tmp_path: Path):
    place, name = tmp_path / "j.sqlite", f"decodelab:{address}#nano"
    here, there = sweep(place, "pocket-nano"), sweep(place, name)
    assert (there.failures, there.generated, there.selected) == ([], here.generated, here.selected)
    assert texts(place, name) == texts(place, "pocket-nano")
    again = sweep(place, name)
    assert (again.generated, again.reused) == (0, there.asked)


def test_tables_and_scaling_read_a_sweep_over_a_server(address: str, tmp_path: Path):
    place, name = tmp_path / "j.sqlite", f"openai:{address}/v1#nano"
    done = sweep(place, name, "pocket-nano")
    assert done.failures == []
    with Journal(place, writing=False) as journal:
        cells = {(c.model, c.strategy): c for c in compare(plan_of(name, "pocket-nano"), journal).cells}
    assert cells[name, "greedy"].score == cells["pocket-nano", "greedy"].score
    assert 0 < cells[name, "voted"].tokens < 13
    with Journal(place, writing=False) as journal:
        found = list(scaling(plan_of(name, "pocket-nano"), journal))
    curves = [c for s in found if s.model == name for c in s.curves]
    assert {"any", "vote(answer=task)"} <= {c.selection for c in curves}
    assert "best_of" not in {c.selection for c in curves}  # its log-probabilities are not known


@contextmanager
def serving(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`decodelab serve` in a process of its own, which is killed at the end."""
    command = [sys.executable, "-m", "decodelab", "serve", "-m", "pocket-nano", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                httpx2.get(f"http://127.0.0.1:{port}/health")
                break
            except httpx2.HTTPError:
                time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_loses_no_answer(tmp_path: Path):
    """kill -9 while a sweep runs; another one takes its place, and the same sweep goes on by itself."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    name, place = f"decodelab:http://127.0.0.1:{port}#pocket-nano", tmp_path / "j.sqlite"
    plan = plan_of(name, samples=12)
    done = threading.Event()

    def progress(answers: int, total: int, doing: str) -> None:
        if answers >= total // 4:
            done.set()

    outcome: list[Outcome] = []

    def work() -> None:
        with Journal(place, writing=True) as journal:
            outcome.append(run(plan, journal, progress))

    with serving(port) as first:
        sweeping = threading.Thread(target=work, daemon=True)
        sweeping.start()
        assert done.wait(60)
        assert not outcome
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        with serving(port):
            sweeping.join(120)
    assert not sweeping.is_alive()
    assert outcome[0].failures == []
    sweep(place, "pocket-nano", samples=12)
    assert texts(place, name) == texts(place, "pocket-nano")
