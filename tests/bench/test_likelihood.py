"""The strategy `likelihood` of a plan: options scored beside answers that are generated."""

import math

import pytest

import decodelab as dl
from decodelab.bench.plan import Plan
from decodelab.bench.run.sweep import run
from decodelab.bench.stats.comparison import compare
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.core.errors import RequestError
from decodelab.tasks.choices import forward_tokens, prefer
from decodelab.tasks.mnli import MNLI
from decodelab.tasks.pocket import PocketChoice


@pytest.fixture
def plan(small):
    return small(
        strategies={"greedy": "greedy", "options": "likelihood"},
        tasks=[{"name": "mnli", "items": 3, "max_new_tokens": 5}, {"name": "pocket-sums", "items": 1}],
        samples=2,
        seeds=[1, 2],
    )


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "j.sqlite", writing=True) as kept:
        yield kept


def test_options_are_scored_once_where_there_are_some(plan, journal):
    outcome = run(plan, journal)
    assert (outcome.asked, outcome.generated, outcome.failures) == (3 + 3 + 1, 7, [])
    records = {r.prompt: r for r in views.all_answers(journal) if r.strategy.startswith("likelihood(")}
    assert len(records) == 3
    task = MNLI()
    for seed in range(3):
        choice = task.choice(task.generate(seed))
        (found,) = prefer(dl.load("pocket-nano"), [choice])
        record = records[str(choice.prompt)]
        assert record.text == choice.options[found.best]
        assert record.token_logprobs == pytest.approx(found.scores[found.best].token_logprobs, abs=1e-5)
        assert math.exp(sum(record.processed_logprobs)) == pytest.approx(found.confidence, abs=1e-5)
        assert record.prefill_tokens == record.prompt_tokens > 50
        assert record.prefill_tokens + record.decode_tokens == forward_tokens(dl.load("pocket-nano"), choice)
    assert run(plan, journal).generated == 0


def test_the_option_that_was_chosen_is_judged_as_a_text_is(plan, journal):
    run(plan, journal)
    scores = [answer.score for answer in views.answers(journal, plan.digest, "mnli", strategy="options")]
    model, task = dl.load("pocket-nano"), MNLI()
    choices = [task.choice(task.generate(seed)) for seed in range(3)]
    right = [found.best == choice.answer for found, choice in zip(prefer(model, choices), choices, strict=True)]
    assert scores == [float(each) for each in right]
    assert {answer.strategy for answer in views.answers(journal, plan.digest, "pocket-sums")} == {"greedy"}


def test_as_a_chat_the_options_begin_the_answer(small, journal):
    tasks = [{"name": "mnli", "items": 1, "chat": True}]
    run(small(strategies={"options": "likelihood"}, tasks=tasks), journal)
    (record,) = views.all_answers(journal)
    assert record.prompt.endswith("<|assistant|>")
    assert not record.text.startswith(" ")


def test_a_question_that_is_too_long_fails_alone(small, journal, tmp_path):
    (tmp_path / "x_test.csv").write_text(f"question,choice0,choice1,answer\n{'word ' * 2000},a,b,0\nshort,a,b,0\n")
    tasks = [{"name": "mmlu", "items": 2, "file": tmp_path / "x_test.csv"}]
    outcome = run(small(strategies={"options": "likelihood"}, tasks=tasks), journal)
    assert outcome.generated == 1
    (failure,) = outcome.failures
    assert failure.item == "0"
    assert "pocket-nano has context length 512" in str(failure.error)


def test_a_plan_without_options_is_refused(small):
    with pytest.raises(RequestError, match="strategy 'options': no task of the plan has options to choose from"):
        small(strategies={"options": "likelihood"}).check()


def test_the_plan_is_read_as_any_other(plan_file):
    plan = Plan.read(plan_file("{models: [pocket-nano], strategies: [greedy, likelihood], tasks: [pocket-choice]}"))
    assert plan.by_likelihood("likelihood")
    assert not plan.by_likelihood("greedy")


def test_the_confidences_of_the_options_are_what_calibration_is_told_of(small, journal):
    plan = small(
        strategies={"greedy": "greedy", "options": "likelihood"}, tasks=[{"name": "pocket-choice", "items": 8}]
    )
    run(plan, journal)
    (found,) = [each for each in compare(plan, journal).calibration if each.strategy == "options"]
    task = PocketChoice()
    preferences = prefer(dl.load("pocket-nano"), [task.choice(task.generate(seed)) for seed in range(8)])
    assert (found.source, found.n) == ("options", 8)
    assert found.confidence == pytest.approx(sum(each.confidence for each in preferences) / 8, abs=1e-5)
