"""The answers of a sweep, item by item, as far as they are there."""

from dataclasses import replace

import pytest

from decodelab.bench.records import Answer, AnswerView
from decodelab.bench.run.sweep import run
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.bench.store.views import columns, side_by_side


@pytest.fixture
def plan(small):
    tasks = [{"name": "pocket-sums", "items": 3, "max_new_tokens": 5}, {"name": "pocket-choice", "items": 2}]
    return small(tasks=tasks, samples=2)


def copied(source: Journal, target: Journal, answers: list[Answer], plan) -> None:
    """The same plan with some of its answers."""
    items = {task: list(views.items(source, plan.digest, task).values()) for task in plan.task_names}
    target.begin(plan.model_dump_json(), plan.digest, items)
    target.ask(plan.digest, plan.models[0], views.work_items(source, plan.digest))
    target.add(answers, [])


def test_items_come_with_all_their_answers(plan, tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        run(plan, journal)
        assert columns(plan) == [("pocket-nano", "greedy"), ("pocket-nano", "hot")]
        items = list(side_by_side(plan, journal, "pocket-sums"))
        assert [item.item for item in items] == ["0", "1", "2"]
        assert [[len(answers) for answers in item.answers] for item in items] == [[1, 2]] * 3
        answers = {answer.text: answer for answer in views.all_answers(journal)}
        for item in items:
            shown = views.items(journal, plan.digest, "pocket-sums")[item.item]
            assert (item.prompt, item.reference) == (shown.prompt, shown.reference)
            for view in (view for column in item.answers for view in column):
                answer = answers[view.text]
                assert (view.tokens, view.finish_reason) == (len(answer.tokens), answer.finish_reason)
                assert view.score is not None


def test_what_is_missing_or_not_scored_is_said(plan, tmp_path):
    with Journal(tmp_path / "j", writing=True) as whole, Journal(tmp_path / "k", writing=True) as part:
        run(plan, whole)
        work = next(w for w in views.work_items(whole, plan.digest) if (w.strategy, w.item) == ("hot", "1"))
        [answer] = [replace(a, text="said") for a in views.all_answers(whole) if a.key == work.keys[1]]
        copied(whole, part, [answer], plan)
        first, second, third = side_by_side(plan, part, "pocket-sums")
        assert first.answers == third.answers == ((), ())
        seen = AnswerView(
            "pocket-sums",
            "pocket-nano",
            "hot",
            "1",
            answer.key,
            answer.prompt,
            "said",
            len(answer.tokens),
            answer.finish_reason,
        )
        assert second.answers == ((), (seen,))
