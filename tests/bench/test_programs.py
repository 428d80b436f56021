"""Programs in a sweep: run in the sandbox once, and nothing is generated where there is none."""

import json

import pytest

from decodelab.bench.plan import Plan
from decodelab.bench.run.sweep import run
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.core.errors import SandboxMissing
from decodelab.programs.sandbox import Sandbox, sandbox

PLAN = """
models: [pocket-nano]
strategies: [greedy, temperature=1.5]
tasks: [{name: code, file: items.jsonl, items: 2, max_new_tokens: 20, seconds: 60}]
"""


@pytest.fixture
def plan(plan_file, tmp_path):
    item = {
        "prompt": "def f(x):\n",
        "entry_point": "f",
        "test": "def check(candidate):\n    assert candidate(1) == 1\n",
    }
    rows = [json.dumps({"task_id": f"t/{n}", **item}) + "\n" for n in range(2)]
    (tmp_path / "items.jsonl").write_text("".join(rows))
    return plan_file(PLAN)


@pytest.mark.usefixtures("needs_sandbox")
def test_programs_are_run_once_and_their_ends_are_kept(plan, tmp_path, monkeypatch):
    read = Plan.read(plan)
    with Journal(tmp_path / "j", writing=True) as journal:
        run(read, journal)
        answers = views.answers(journal, read.digest, "code")
        assert len(answers) == 4
        assert {(answer.score, str(answer.read).split()[0]) for answer in answers} == {(0.0, "raised")}
        monkeypatch.setattr(Sandbox, "run", lambda *arguments: pytest.fail("a program was run again"))
        assert run(read, journal).generated == 0
        assert views.answers(journal, read.digest, "code") == answers


def test_where_there_is_no_sandbox_a_plan_with_programs_is_refused(plan, monkeypatch):
    monkeypatch.setattr("decodelab.programs.sandbox._places", lambda: iter(()))
    monkeypatch.setattr("decodelab.tasks.humaneval.sandbox", sandbox.__wrapped__)
    with pytest.raises(SandboxMissing, match="install bubblewrap"):
        Plan.read(plan)


@pytest.mark.usefixtures("needs_sandbox")
@pytest.mark.parametrize(("asked", "stops"), [("", True), (", instruct: true", False)])
def test_completions_end_where_the_function_does_and_whole_functions_do_not(plan, plan_file, tmp_path, asked, stops):
    file = plan_file(PLAN.replace(", items: 2", f", items: 1{asked}").replace(", temperature=1.5", ""))
    with Journal(tmp_path / "j", writing=True) as journal:
        run(Plan.parse(file), journal)
        (answer,) = views.all_answers(journal)
    assert ("\\ndef" in answer.limits) is stops
