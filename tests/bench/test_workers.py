"""Sweeps with workers: the same tables as without, whatever dies."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import deque

import pytest

from decodelab.bench.records import WorkItem
from decodelab.bench.run.executor import executor_named
from decodelab.bench.run.processes import Processes
from decodelab.bench.run.sweep import run
from decodelab.bench.run.worker_pool import PATIENCE, Died, Done, Noted, PoolExecutor
from decodelab.bench.store.journal import Journal
from decodelab.core.errors import ModelNotFound, RequestError, WorkerLost
from decodelab.core.notices import NoTests, PromptWarning, notes

needs_kill = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")


class ScriptedPool:
    """Workers that do as they are told, but die of what is poison to them, and when they load a model that is."""

    def __init__(self, size, poison=(), hopeless=False, kill_once=()):
        self.size, self.poison, self.hopeless, self.kill_once = size, set(poison), hopeless, set(kill_once)
        self.said = deque()
        self.told, self.started = [], 0

    def start(self, worker, plan, tasks):
        self.started += 1

    def send(self, worker, model, work):
        if self.hopeless:
            self.said.append((worker, Died("signal 9")))
            return
        if work is None:
            self.said += [
                (worker, [WorkItem("m", "t", "0", "s", keys=("a",)), WorkItem("m", "t", "1", "s", keys=("b",))]),
                (worker, Done()),
            ]
            return
        self.told.append([number(one) for one in work])
        for one in work:
            if number(one) in self.poison | self.kill_once:
                self.kill_once.discard(number(one))
                self.said.append((worker, Died("signal 9")))
                return
            self.said.append((worker, (one, ())))
        self.said.append((worker, Done()))

    def receive(self):
        return self.said.popleft()

    def close(self):
        self.said.clear()


def number(one):
    return int(one.item)


def groups_of(items, strategies=2):
    return [
        [WorkItem("m", "t", str(i * strategies + s), f"s{s}", keys=("k",)) for s in range(strategies)]
        for i in range(items)
    ]


def outcomes(pool, items):
    with PoolExecutor(pool) as workers:
        workers.begin(None, [])  # pyright: ignore[reportArgumentType]  (the script needs no plan)
        return list(workers.run("m", groups_of(items)))


def test_work_goes_out_in_shrinking_chunks_that_keep_an_items_strategies_together():
    pool = ScriptedPool(2)
    found = outcomes(pool, 20)
    assert sorted(number(one) for one, _ in found) == list(range(40))
    sizes = [len(chunk) for chunk in pool.told]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (10, 2)
    assert all(chunk[0] % 2 == 0 and len(chunk) % 2 == 0 for chunk in pool.told)


def test_what_a_dead_worker_had_not_said_is_done_again_and_nothing_twice():
    pool = ScriptedPool(2, kill_once={3, 21})
    found = outcomes(pool, 20)
    assert sorted(number(one) for one, _ in found) == list(range(40))
    assert all(isinstance(answers, tuple) for _, answers in found)
    assert pool.started == 2 + 2


def test_what_kills_every_worker_is_named_and_all_else_is_done():
    pool = ScriptedPool(2, poison={7})
    found = outcomes(pool, 20)
    failed = [(one, error) for one, error in found if isinstance(error, WorkerLost)]
    assert [number(one) for one, _ in failed] == [7]
    assert "signal 9" in str(failed[0][1])
    assert len(found) == 40
    assert sum(7 in chunk for chunk in pool.told) <= 8


def test_what_a_worker_notes_of_prompts_is_told_by_the_process_that_asked():
    there, here = multiprocessing.Pipe()
    there.send(Noted((PromptWarning("item 3: <unk>", "unknown"), PromptWarning("item 4: <unk>", "unknown"))))
    pool = ScriptedPool(1)
    with PoolExecutor(pool) as workers, notes() as said:
        pool.said.append((0, here.recv()))
        assert [one.item for one in workers.worklist("m")] == ["0", "1"]
    assert said == ["item 3: <unk>"]


def test_what_a_worker_notes_of_its_work_is_told_once_a_kind_and_is_no_result():
    pool = ScriptedPool(1)
    with PoolExecutor(pool) as workers, notes() as said:
        pool.said += [(0, Noted((NoTests(f"tests: none for item {n}", "tests"),))) for n in range(2)]
        assert len(list(workers.run("m", groups_of(1)))) == 2
    assert said == ["tests: none for item 0"]


def test_workers_that_cannot_even_begin_are_given_up():
    pool = ScriptedPool(2, hopeless=True)
    with PoolExecutor(pool) as workers:
        workers.begin(None, [])  # pyright: ignore[reportArgumentType]
        with pytest.raises(WorkerLost, match=f"{PATIENCE + 1} workers died in a row"):
            workers.worklist("m")


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
        with PoolExecutor(Processes(2)) as workers:
            outcome = run(plan, journal, kill, workers)
            with pytest.raises(ModelNotFound):
                run(small(models=["nowhere"]), journal, executor=workers)
        assert (outcome.generated, outcome.failures) == (12, [])
        assert table(plan, journal) == whole
    assert multiprocessing.active_children() == []


def _alive(group):
    listed = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [pid for pid, pgid, stat in rows if int(pgid) == group and "Z" not in stat]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the fork server ends after its imports")
def test_the_fork_server_ends_with_its_driver_also_while_it_imports(tmp_path):
    (tmp_path / "slow_to_import.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(600)\n")
    script = (
        "import multiprocessing.forkserver as f, os, signal\n"
        "f.set_forkserver_preload(['decodelab.bench.run.ends_with_parent', 'slow_to_import'])\n"
        "f.ensure_running()\nprint(f._forkserver._forkserver_pid, flush=True)\nsignal.pause()\n"
    )
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths}
    ) as driver:
        assert driver.stdout is not None
        said = {driver.stdout.readline().strip(), driver.stdout.readline().strip()}
        (server,) = (int(word) for word in said if word.isdigit())
        driver.kill()
    assert "importing" in said
    for _ in range(200):
        if not os.path.exists(f"/proc/{server}"):
            return
        time.sleep(0.1)
    os.kill(server, signal.SIGKILL)
    pytest.fail("the fork server is still there")


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
            killed.append(next(int(line.split()[0]) for line in listed.splitlines() if "ray::WorkerActor" in line))
            os.kill(killed[0], signal.SIGKILL)

    with Journal(tmp_path / "two", writing=True) as journal:
        with executor_named("ray", 2, None) as workers:
            outcome = run(plan, journal, kill, workers)
            with pytest.raises(ModelNotFound):
                run(small(models=["nowhere"]), journal, executor=workers)
        assert (outcome.generated, outcome.failures) == (12, [])
        assert table(plan, journal) == whole
    assert killed
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("name", "workers", "address", "message"),
    [
        ("rey", 1, None, "--executor must be local or ray, got 'rey'; did you mean 'ray'?"),
        ("local", 1, "1.2.3.4:6379", "--ray-address is for a Ray cluster"),
        ("ray", 1, "127.0.0.1:1", "nothing answers at 127.0.0.1:1"),
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
