"""Sweeps with workers: the same tables as without, whatever dies."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import deque

import pytest

from decodelab.bench.run.executor import executor_named
from decodelab.bench.run.processes import Processes
from decodelab.bench.run.replica import Answered, Refused, Wanted
from decodelab.bench.run.sweep import run
from decodelab.bench.run.workers import PATIENCE, Died, Done, Workers
from decodelab.bench.store.journal import Journal
from decodelab.core.errors import ModelNotFound, RequestError, WorkerLost

needs_kill = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")


class ScriptedCrew:
    """Workers that do as they are told, but die of what is poison to them, and when they load a model that is."""

    def __init__(self, size, poison=(), hopeless=False, kill_once=()):
        self.size, self.poison, self.hopeless, self.kill_once = size, set(poison), hopeless, set(kill_once)
        self.said = deque()
        self.told, self.started = [], 0

    def start(self, worker, plan, items):
        self.started += 1

    def tell(self, worker, model, wanted):
        if self.hopeless:
            self.said.append((worker, Died("signal 9")))
            return
        if wanted is None:
            self.said += [(worker, [("a",), ("b",)]), (worker, Done())]
            return
        self.told.append([one.number for one in wanted])
        for one in wanted:
            if one.number in self.poison | self.kill_once:
                self.kill_once.discard(one.number)
                self.said.append((worker, Died("signal 9")))
                return
            self.said.append((worker, Answered(one, ())))
        self.said.append((worker, Done()))

    def hear(self):
        return self.said.popleft()

    def close(self):
        self.said.clear()


def groups_of(items, strategies=2):
    return [[Wanted(i * strategies + s, 0, ("k",)) for s in range(strategies)] for i in range(items)]


def outcomes(crew, items):
    with Workers(crew) as workers:
        workers.begin(None, [])  # pyright: ignore[reportArgumentType]  (the script needs no plan)
        return list(workers.run("m", groups_of(items)))


def test_work_goes_out_in_shrinking_chunks_that_keep_an_items_strategies_together():
    crew = ScriptedCrew(2)
    found = outcomes(crew, 20)
    assert sorted(one.wanted.number for one in found) == list(range(40))
    sizes = [len(chunk) for chunk in crew.told]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (10, 2)
    assert all(chunk[0] % 2 == 0 and len(chunk) % 2 == 0 for chunk in crew.told)


def test_what_a_dead_worker_had_not_said_is_done_again_and_nothing_twice():
    crew = ScriptedCrew(2, kill_once={3, 21})
    found = outcomes(crew, 20)
    assert sorted(one.wanted.number for one in found) == list(range(40))
    assert all(isinstance(one, Answered) for one in found)
    assert crew.started == 2 + 2


def test_what_kills_every_worker_is_named_and_all_else_is_done():
    crew = ScriptedCrew(2, poison={7})
    found = outcomes(crew, 20)
    refused = [one for one in found if isinstance(one, Refused)]
    assert [one.wanted.number for one in refused] == [7]
    assert "signal 9" in str(refused[0].error)
    assert len(found) == 40
    assert sum(7 in chunk for chunk in crew.told) <= 8


def test_workers_that_cannot_even_begin_are_given_up():
    crew = ScriptedCrew(2, hopeless=True)
    with Workers(crew) as workers:
        workers.begin(None, [])  # pyright: ignore[reportArgumentType]
        with pytest.raises(WorkerLost, match=f"{PATIENCE + 1} workers died one after the other"):
            workers.keys("m")


@needs_kill
def test_two_processes_of_which_one_is_killed_make_the_same_table(small, tmp_path, table):
    plan = small(tasks=[{"name": "pocket-sums", "items": 6, "max_new_tokens": 40}])
    with Journal(tmp_path / "one", writing=True) as journal:
        run(plan, journal)
        whole = table(plan, journal)
    killed = []

    def kill(done, total, doing):
        if done and not killed:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    with Journal(tmp_path / "two", writing=True) as journal:
        with Workers(Processes(2)) as workers:
            outcome = run(plan, journal, kill, workers)
            with pytest.raises(ModelNotFound):
                run(small(models=["nowhere"]), journal, executor=workers)
        assert (outcome.made, outcome.failures) == (12, [])
        assert table(plan, journal) == whole
    assert multiprocessing.active_children() == []


def _alive(group):
    listed = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [pid for pid, pgid, stat in rows if int(pgid) == group and "Z" not in stat]


@needs_kill
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_driver(plan_file, tmp_path, how):
    file = plan_file(
        "models: [pocket-nano]\nstrategies: {hot: temperature=1.5, beam: beam(width=25)}\n"
        "tasks: [{name: pocket-paths, items: 200}]\n"
    )
    place = tmp_path / "plan.journal.sqlite"
    driver = subprocess.Popen(
        [sys.executable, "-c", "from decodelab.cli.main import main; main()", "bench", str(file), "--workers", "2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        while driver.poll() is None and not _answers(place):
            time.sleep(0.1)
        assert driver.poll() is None
        if how == signal.SIGINT:
            os.killpg(driver.pid, how)  # as a terminal does
        else:
            driver.send_signal(how)
        assert driver.wait(30) == (130 if how == signal.SIGINT else -how)
        ends = time.monotonic() + 20
        while _alive(driver.pid) and time.monotonic() < ends:
            time.sleep(0.1)
        assert _alive(driver.pid) == []
    finally:
        if _alive(driver.pid):
            os.killpg(driver.pid, signal.SIGKILL)


def _answers(place):
    try:
        with Journal(place, writing=False) as journal:
            return len(journal.keys())
    except Exception:  # it is being made
        return 0


@pytest.mark.slow
def test_ray_actors_of_which_one_is_killed_make_the_same_table(small, tmp_path, table):
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'decodelab[ray]'")
    plan = small(tasks=[{"name": "pocket-sums", "items": 6, "max_new_tokens": 40}])
    with Journal(tmp_path / "one", writing=True) as journal:
        run(plan, journal)
        whole = table(plan, journal)
    killed = []

    def kill(done, total, doing):
        if done and not killed:
            listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
            killed.append(next(int(line.split()[0]) for line in listed.splitlines() if "ray::ReplicaActor" in line))
            os.kill(killed[0], signal.SIGKILL)

    with Journal(tmp_path / "two", writing=True) as journal:
        with executor_named("ray", 2, None) as workers:
            outcome = run(plan, journal, kill, workers)
            with pytest.raises(ModelNotFound):
                run(small(models=["nowhere"]), journal, executor=workers)
        assert (outcome.made, outcome.failures) == (12, [])
        assert table(plan, journal) == whole
    assert killed
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("name", "workers", "address", "message"),
    [
        ("rey", 1, None, "--executor must be local or ray, got 'rey'; did you mean 'ray'?"),
        ("local", 1, "1.2.3.4:6379", "--ray-address is of a Ray cluster"),
        ("ray", 1, "127.0.0.1:1", "nobody answers at 127.0.0.1:1"),
        ("ray", 1, "ray://127.0.0.1:10001", "must be HOST:PORT of the head node, or auto"),
        ("ray", 1, "127.0.0.1:port", "must be HOST:PORT of the head node, or auto"),
        ("ray", 1, "127.0.0.1:99999", "must be HOST:PORT of the head node, or auto"),
    ],
)
def test_an_executor_that_is_none_is_refused(name, workers, address, message):
    if name == "ray":
        pytest.importorskip("ray", reason="needs pip install 'decodelab[ray]'")
    with pytest.raises(RequestError, match=message):
        executor_named(name, workers, address)
