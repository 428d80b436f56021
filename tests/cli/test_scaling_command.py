"""`decodelab scaling`: quality against compute, from the samples of a sweep."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from decodelab.bench.plan import Plan
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.cli.main import app

PLAN = """
models: [pocket-nano]
strategies: {greedy: greedy, "hot <b>": temperature=0.9}
tasks: [{name: pocket-sums, items: 3, max_new_tokens: 40}]
samples: 5
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("scaling") / "plan.yaml"
    file.write_text(PLAN)
    assert CliRunner().invoke(app, ["bench", str(file)]).exit_code == 0
    return file


def test_the_curves_are_those_of_the_stored_samples_and_nothing_is_generated(run, plan):
    journal = plan.with_suffix(".journal.sqlite")
    before = journal.read_bytes()
    done = run("scaling", str(plan), "--select", "any", "--select", "vote", "--json")
    assert (done.code, done.stderr, journal.read_bytes()) == (0, "", before)
    (study,) = done.json
    with Journal(journal, writing=False) as kept:
        stored = views.answers(kept, Plan.parse(plan).digest, "pocket-sums", strategy="hot <b>")
    best = [max(a.score or 0.0 for a in stored if a.item == item) for item in {a.item for a in stored}]
    perfect = next(c for c in study["curves"] if c["selection"] == "any")
    assert [p["k"] for p in perfect["points"]] == [1, 2, 4, 5]
    assert perfect["points"][-1]["score"]["value"] == pytest.approx(sum(best) / 3)
    assert perfect["points"][0]["score"]["value"] == pytest.approx(sum(a.score or 0.0 for a in stored) / 15)


def test_the_table_the_picture_and_the_page(run, plan, tmp_path):
    files = [tmp_path / name for name in ("s.html", "s.png", "s.csv")]
    done = run(
        "scaling", str(plan), "--html", str(files[0]), "--png", str(files[1]), "--csv", str(files[2]),
        "--select", "any", "--select", "weighted_vote(by=probability)", "--subsets", "4",
    )  # fmt: skip
    assert done.code == 0
    assert "any is right" in done.stdout
    assert "Random subsets of the samples were taken for weighted_vote(by=probability)" in " ".join(done.stdout.split())
    page = files[0].read_text()
    assert "hot &lt;b&gt;" in page
    assert "hot <b>" not in page
    assert "<script" not in page
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert files[2].read_text().splitlines()[0].startswith("task,model,strategy,selection,samples,score,low,high")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--select", "greedy"], "select: must be one selection such as vote or best_of, or any, got 'greedy'"),
        (["--select", "vot"], "unknown stage 'vot'; did you mean 'vote'?"),
        (["--select", "best_of(by=self_eval)"], "scorer self_eval needs the model, which is not available here"),
        (["--select", "best_of(by=tail)"], "best_of: by=tail needs how sure the model was at each token"),
        (["--subsets", "1"], "subsets must be at least 2, got 1"),
        (["--levels", "0"], "difficulty: must be at least 1 level, got 0"),
        (["--plan", "1"], "--plan chooses among the plans of a journal"),
    ],
)
def test_bad_input_is_one_line(run, plan, arguments, message):
    done = run("scaling", str(plan), *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_plan_without_several_samples_says_what_to_write(run, plan, tmp_path):
    single = tmp_path / "plan.yaml"
    single.write_text(PLAN.replace("samples: 5", "samples: 1"))
    assert run("bench", str(single)).code == 0
    done = run("scaling", str(single))
    assert done.code == 2
    assert "no strategy of this plan has several samples of an item; write samples: 16" in done.stderr
