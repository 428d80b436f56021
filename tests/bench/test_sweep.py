"""A sweep: the same answers whatever happens to the run, and nothing done twice."""

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from decodelab.bench.plan import Plan
from decodelab.bench.run.executor import LocalExecutor
from decodelab.bench.run.sweep import run as run_by
from decodelab.bench.stats.comparison import compare
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.core.errors import ForwardFailed, JournalError
from decodelab.engine.scheduler import Engine

run = functools.partial(run_by, executor=LocalExecutor())
"""One engine for all, so that the model is loaded once, and what one sweep leaves behind would show in the next."""


def answers(journal):
    return {(r.key, r.text, r.tokens) for r in views.all_answers(journal)}


@pytest.fixture
def whole(small, tmp_path):
    with Journal(tmp_path / "whole", writing=True) as journal:
        run(small(), journal)
        return answers(journal)


def test_a_run_is_not_done_again(small, tmp_path, whole, monkeypatch):
    with Journal(tmp_path / "j", writing=True) as journal:
        first = run(small(), journal)
        assert (first.asked, first.reused, first.generated) == (6, 0, 6)
        assert answers(journal) == whole
        monkeypatch.setattr(Engine, "step", lambda self: pytest.fail("something was generated again"))
        second = run(small(), journal)
        assert (second.asked, second.reused, second.generated) == (6, 6, 0)


def test_order_rows_and_company_change_no_answer(small, tmp_path, whole):
    with Journal(tmp_path / "j", writing=True) as journal:
        turned = {"wide": "beam(width=3)", "hot": "temperature=1.5", "greedy": "greedy"}
        run(small(strategies=turned, max_rows=3), journal)
        assert whole <= answers(journal)


@pytest.mark.parametrize("after", [1, 4])
def test_a_run_that_ends_early_goes_on_where_it_ended(small, tmp_path, whole, monkeypatch, after):
    class Killed(BaseException):
        """As sudden as a kill."""

    with Journal(tmp_path / "j", writing=True) as journal:
        add, times = journal.add, []

        def add_or_die(records, scores, **how):
            if len(times) == after:
                raise Killed
            times.append(1)
            add(records, scores, **how)

        monkeypatch.setattr(journal, "add", add_or_die)
        with pytest.raises(Killed):
            run(small(), journal)
    with Journal(tmp_path / "j", writing=True) as journal:
        outcome = run(small(), journal)
        assert (outcome.reused, outcome.generated) == (after, 6 - after)
        assert answers(journal) == whole


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_again_and_again_makes_the_same_table(small, tmp_path, whole, plan_file, table, kills):
    file = plan_file(
        "models: [pocket-nano]\nstrategies: {greedy: greedy, hot: temperature=1.5}\n"
        f"tasks: [{{name: pocket-sums, items: {max(3, kills)}, max_new_tokens: 40}}]\nmax_rows: 1\n"
    )
    plan, place = Plan.read(file), tmp_path / "plan.journal.sqlite"
    points = random.Random(kills)
    for _ in range(kills):
        before = answers_in(place)
        process = subprocess.Popen(
            [sys.executable, "-c", "from decodelab.cli.main import main; main()", "bench", str(file), "--no-html"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        while process.poll() is None and len(answers_in(place)) == len(before):
            time.sleep(0.01)
        time.sleep(points.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert before < answers_in(place)
    with Journal(place, writing=True) as journal:
        there = answers(journal)
        outcome = run(plan, journal)
        assert (outcome.reused, outcome.generated) == (len(there), outcome.asked - len(there))
        assert there | whole <= answers(journal)
        found = table(plan, journal)
        assert journal.verify()["answers"] == outcome.asked
    with Journal(tmp_path / "never killed", writing=True) as journal:
        run(plan, journal)
        assert table(plan, journal) == found


def answers_in(place):
    try:
        with Journal(place, writing=False) as journal:
            return answers(journal)
    except JournalError:  # it is being made
        return set()


def test_an_interrupted_answer_is_not_kept(small, tmp_path, whole):
    def stop(done, total, doing):
        if done == 1:
            raise KeyboardInterrupt

    with Journal(tmp_path / "j", writing=True) as journal:
        with pytest.raises(KeyboardInterrupt):
            run(small(), journal, stop)
        assert answers(journal) < whole


def test_samples_are_those_of_fewer_samples_and_more(small, tmp_path, whole, table):
    with Journal(tmp_path / "at once", writing=True) as journal:
        outcome = run(small(samples=3), journal)
        assert outcome.asked == 3 + 9  # greedy answers once
        assert whole <= answers(journal)
        at_once = answers(journal), table(small(samples=3), journal)
    with Journal(tmp_path / "later", writing=True) as journal:
        run(small(), journal)
        outcome = run(small(samples=3), journal)
        assert (outcome.reused, outcome.generated) == (6, 6)  # only the new ones
        assert (answers(journal), table(small(samples=3), journal)) == at_once


def test_seeds_are_further_samples_of_an_item_for_strategies_that_draw(small, tmp_path, whole):
    with Journal(tmp_path / "j", writing=True) as journal:
        outcome = run(small(seeds=[0, 7]), journal)
        assert outcome.asked == 3 + 6
        assert whole < answers(journal)
        rows = {row.strategy: row for row in compare(small(seeds=[0, 7]), journal).cells}
        assert (rows["greedy"].answers, rows["hot"].answers, rows["hot"].items) == (3, 6, 3)
        assert (run(small(seeds=[7, 0]), journal).generated, run(small(), journal).generated) == (0, 0)


def test_the_order_of_items_changes_no_table(small, tmp_path, table):
    tasks = [{"name": name, "items": 2, "max_new_tokens": 20} for name in ("pocket-sums", "pocket-choice")]
    plan = small(tasks=tasks, max_rows=1)
    tables, orders = [], []
    for shuffle in (None, 1):
        with Journal(tmp_path / str(shuffle), writing=True) as journal:
            run(plan, journal, shuffle=shuffle)
            tables.append(table(plan, journal))
            orders.append([record.key for record, _ in views.scored_answers(journal)])
    assert tables[0] == tables[1]
    assert sorted(orders[0]) == sorted(orders[1]) != orders[0] != orders[1]


def test_one_answer_is_scored_by_every_rule_that_a_plan_has(small, tmp_path):
    graphs = [{"name": "graph", "items": 1, "max_new_tokens": 9, "ties": ties} for ties in ("published", "all")]
    with Journal(tmp_path / "j", writing=True) as journal:
        outcome = run(small(strategies=["greedy"], tasks=graphs), journal)
        assert outcome.generated == 1  # the two tasks ask the same
        both = small(strategies=["greedy"], tasks=graphs)
        assert {s.task for _, s in views.scored_answers(journal) if s} == {"graph(ties=published)", "graph(ties=all)"}
        assert [len(views.answers(journal, both.digest, label)) for label in both.task_names] == [1, 1]
        single = small(strategies=["greedy"], tasks=graphs[:1])
        assert run(single, journal).generated == 0
        assert [answer.score is None for answer in views.answers(journal, both.digest, "graph #2")] == [False]


def test_files_that_call_different_items_alike_are_told_apart(small, tmp_path):
    for name, answer in (("a", 0), ("b", 1)):
        text = json.dumps({"question": "2 + 2?", "choices": ["3", "4"], "answer": answer})
        (tmp_path / name).mkdir()
        (tmp_path / name / "q.jsonl").write_text(text)
    plans = [
        small(
            strategies=["greedy"],
            tasks=[{"name": "mmlu", "file": tmp_path / name / "q.jsonl", "items": 1, "max_new_tokens": 5}],
        )
        for name in "ab"
    ]
    with Journal(tmp_path / "j", writing=True) as journal:
        assert [run(plan, journal).generated for plan in plans] == [1, 0]  # the same prompt
        references = [one.reference for plan in plans for one in views.items(journal, plan.digest, "mmlu").values()]
        assert references == ["A", "B"]
        assert len({score.rule for _, score in views.scored_answers(journal) if score}) == 2


def test_judgements_that_take_long_are_made_together_once_and_again_for_another_version(small, tmp_path, monkeypatch):
    from decodelab.tasks.pocket import Pocket
    from decodelab.tasks.task import Verdict

    asked: list[int] = []

    def judge_batch(self, answers):
        asked.append(len(answers))
        return (Verdict(float(len(text) % 2), text[:3]) for _, text in answers)

    monkeypatch.setattr(Pocket, "judge_batch", judge_batch, raising=False)
    monkeypatch.setattr(Pocket, "version", 1, raising=False)
    with Journal(tmp_path / "j", writing=True) as journal:
        run(small(), journal)
        run(small(), journal)
        assert [count for count in asked if count] == [3, 3]
        monkeypatch.setattr(Pocket, "version", 2)
        assert run(small(), journal).generated == 0
        assert [count for count in asked if count] == [3, 3, 3, 3]
        assert len(views.answers(journal, small().digest, "pocket-sums")) == 6
        assert views.answers(journal, small().digest, "pocket-sums", unscored=True) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_run_on_a_disk_that_fills_up_goes_on_when_there_is_space(small, tmp_path, whole):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        with Journal(disk / "j", writing=True) as journal:
            run(small(strategies=["greedy"]), journal)
            (disk / "ballast").write_bytes(b"")
            with (disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
                while ballast.write(b"x" * 4096):
                    pass
            with pytest.raises(JournalError, match="full; free some space and run again"):
                run(small(samples=200), journal)
            there = answers(journal)
        assert there
        (disk / "ballast").unlink()
        with Journal(disk / "j", writing=True) as journal:
            assert there <= answers(journal)
            assert run(small(), journal).failures == []
            assert whole <= answers(journal)
            assert journal.verify()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_job_that_fails_is_reported_and_tried_again(small, tmp_path, whole, monkeypatch):
    from decodelab.models.llama_model import LlamaModel

    def fail(self, cache, tokens):
        raise ForwardFailed("no memory")

    with Journal(tmp_path / "j", writing=True) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(LlamaModel, "decode", fail)
            outcome = run(small(), journal)
        assert len(outcome.failures) == 6
        assert journal.keys() == set()
        assert run(small(), journal).failures == []
        assert answers(journal) == whole


def test_a_changed_rule_scores_again_without_generating(small, tmp_path, monkeypatch):
    from decodelab.tasks.pocket import Pocket
    from decodelab.tasks.task import Verdict

    with Journal(tmp_path / "j", writing=True) as journal:
        run(small(), journal)
        monkeypatch.setattr(Pocket, "judge", lambda self, example, text: Verdict(0.25, "new"))
        assert run(small(), journal).generated == 0
        assert {a.score for a in views.answers(journal, small().digest, "pocket-sums")} == {0.25}


def test_results_have_means_paired_differences_and_a_verdict(small, tmp_path):
    def stop(done, total, doing):
        raise KeyboardInterrupt

    plan = small(
        strategies={"greedy": "greedy", "same": "temperature=0 | sample", "hot": "temperature=3"},
        tasks=[{"name": "pocket-choice", "items": 8, "max_new_tokens": 30}],
    )
    with Journal(tmp_path / "j", writing=True) as journal:
        with pytest.raises(JournalError, match="was not begun in it"):
            compare(plan, journal)
        with pytest.raises(KeyboardInterrupt):
            run(plan, journal, stop)
        nothing = compare(plan, journal)
        assert [row.score for row in nothing.cells] == [None] * 3
        assert nothing.winners == ()
        run(plan, journal)
        found = compare(plan, journal)
    greedy, same, hot = found.cells
    assert greedy.difference is None
    assert same.difference is not None
    assert (same.difference.value, same.p) == (0.0, 1.0)
    assert hot.difference is not None
    assert hot.score is not None
    assert greedy.score is not None
    assert hot.difference.value == pytest.approx(hot.score.value - greedy.score.value)
    assert hot.p is not None
    assert hot.p < 0.05
    (winner,) = found.winners
    assert winner.best == "greedy"
    assert (winner.tied, winner.undecided, winner.nearest) == (("same",), ("same",), "same")
    assert winner.worse == ("hot",)
