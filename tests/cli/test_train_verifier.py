"""`decodelab train verifier`: from a plan or a journal to a verifier, and one line for what cannot be."""

from pathlib import Path

import pytest

PLAN = """\
models: [pocket-nano]
strategies: {greedy: greedy, samples: temperature=0.8 | sample}
samples: 4
tasks: [{name: pocket-sums, items: 20, split: train, max_new_tokens: 60}]
"""
QUICK = ("--pairs", "2", "--threads", "1", "--out", "made")
FEW = ("--steps", "2", "--held", "0.4")


@pytest.fixture
def plan(folder: Path) -> str:
    (folder / "plan.yaml").write_text(PLAN)
    return "plan.yaml"


def test_a_plan_becomes_a_verifier_that_a_strategy_goes_by(run, plan: str, folder: Path):
    held = run("train", "verifier", plan, *QUICK, *FEW, "--json").json["held"]
    assert [(one["task"], one["model"], one["samples"]) for one in held] == [("pocket-sums", "pocket-nano", 4)]
    assert held[0]["scores"].keys() == {"best by verifier", "vote", "one sample", "any sample", "greedy"}
    assert held[0]["differences"].keys() == {"vote", "greedy"}
    assert "prompts held out, 4 samples each" in (folder / "made" / "README.md").read_text()
    strategy = "sample(n=2) | best_of(by=reward(model='made'))"
    found = run("generate", "What is 2 + 3?", "-m", "pocket-nano", "-s", strategy, "--max-new-tokens", "8", "--json")
    assert 0 < found.json["generations"][0]["candidates"][0]["score"] < 1
    again = run("train", "verifier", "plan.journal.sqlite", *QUICK, *FEW)
    assert again.code == 0
    assert "verifier's best minus it" in again.stdout


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (("samples: 4\n", ""), (), "there are no graded answers to learn from"),
        (("temperature=0.8", "temperature=60.0"), (), "there are only wrong answers to learn from"),
        (("", ""), ("--held", "1.5"), "--held must be in (0, 1), got 1.5"),
        (("", ""), ("--steps", "0"), "steps must be at least 1, got 0"),
        (("", ""), ("--base", "nowhere"), "there is no shipped model and no directory 'nowhere'"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_in_a_line(run, plan, folder, change, options, message):
    (folder / plan).write_text(
        PLAN.replace(*change).replace("items: 20", "items: 2").replace("tokens: 60", "tokens: 4")
    )
    found = run("train", "verifier", plan, *QUICK, *options)
    assert found.code != 0
    assert message in found.stderr
    assert not (folder / "made" / "model.safetensors").exists()


def test_ctrl_c_says_how_to_go_on(run, plan, monkeypatch):
    def interrupted(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("decodelab.train.verifier.training.train_verifier", interrupted)
    found = run("train", "verifier", plan, *QUICK)
    assert found.code == 130
    assert "repeat the command to resume" in found.stderr
