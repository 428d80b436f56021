"""A sweep: the same answers whatever happens to the run, and nothing done twice."""

import os
import signal
import subprocess
import sys
import time

import pytest

from decodelab.bench.comparison import compare
from decodelab.bench.journal import Journal
from decodelab.bench.sweep import run
from decodelab.core.errors import ForwardFailed, JournalError
from decodelab.engine.scheduler import Engine


def answers(journal):
    return {(r.key, r.text, r.tokens) for r in journal.records()}


@pytest.fixture
def whole(small, tmp_path):
    with Journal(tmp_path / "whole", writing=True) as journal:
        run(small(), journal)
        return answers(journal)


def test_a_run_is_not_done_again(small, tmp_path, whole, monkeypatch):
    with Journal(tmp_path / "j", writing=True) as journal:
        first = run(small(), journal)
        assert (first.asked, first.found, first.made) == (6, 0, 6)
        assert answers(journal) == whole
        monkeypatch.setattr(Engine, "step", lambda self: pytest.fail("something was generated again"))
        second = run(small(), journal)
        assert (second.asked, second.found, second.made) == (6, 6, 0)


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

        def add_or_die(records, scores):
            if len(times) == after:
                raise Killed
            times.append(1)
            add(records, scores)

        monkeypatch.setattr(journal, "add", add_or_die)
        with pytest.raises(Killed):
            run(small(), journal)
    with Journal(tmp_path / "j", writing=True) as journal:
        outcome = run(small(), journal)
        assert (outcome.found, outcome.made) == (after, 6 - after)
        assert answers(journal) == whole


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_run_that_is_killed_goes_on_where_it_was(small, tmp_path, whole, plan_file):
    file = plan_file(
        "models: [pocket-nano]\nstrategies: {greedy: greedy, hot: temperature=1.5}\n"
        "tasks: [{name: pocket-sums, items: 3, max_new_tokens: 40}]\nmax_rows: 1\n"
    )
    place = tmp_path / "plan.journal.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-c", "from decodelab.apps.cli import main; main()", "bench", str(file)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while process.poll() is None:
        if place.is_file():
            try:
                with Journal(place, writing=False) as journal:
                    if journal.keys():
                        break
            except Exception:  # it is being made
                pass
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Journal(place, writing=True) as journal:
        assert journal.keys()
        assert answers(journal) <= whole
        run(small(), journal)
        assert answers(journal) == whole


def test_an_interrupted_answer_is_not_kept(small, tmp_path, whole):
    def stop(done, total, doing):
        if done == 1:
            raise KeyboardInterrupt

    with Journal(tmp_path / "j", writing=True) as journal:
        with pytest.raises(KeyboardInterrupt):
            run(small(), journal, stop)
        assert answers(journal) < whole


def test_samples_are_those_of_fewer_samples_and_more(small, tmp_path, whole):
    with Journal(tmp_path / "j", writing=True) as journal:
        outcome = run(small(samples=3), journal)
        assert outcome.asked == 3 + 9  # greedy answers once
        assert whole <= answers(journal)


def test_a_job_that_fails_is_reported_and_tried_again(small, tmp_path, whole, monkeypatch):
    from decodelab.models.transformers_model import TransformersModel

    def fail(self, cache, tokens):
        raise ForwardFailed("no memory")

    with Journal(tmp_path / "j", writing=True) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(TransformersModel, "extend", fail)
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
        assert run(small(), journal).made == 0
        assert {s.score for s in journal.scores(small().digest, "pocket-sums").values()} == {0.25}


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
        assert [row.score for row in nothing.rows] == [None] * 3
        assert nothing.winners == ()
        run(plan, journal)
        found = compare(plan, journal)
    greedy, same, hot = found.rows
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
    assert winner.level_with == ("same",)
    assert winner.nearest is None
