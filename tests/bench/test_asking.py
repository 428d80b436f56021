"""Asking step by step: the same answers as a sweep's, none made twice, and items that are kept apart."""

import pytest

from decodelab.bench.plan import Plan, TaskPlan
from decodelab.bench.run.sweep import run
from decodelab.bench.stats.comparison import compare
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.bench.tune.asking import Asker, Measured, draw_items
from decodelab.bench.tune.space import Space
from decodelab.bench.tune.tuning import tune
from decodelab.core.errors import ModelNotFound, RequestError

SUMS = TaskPlan(name="pocket-sums", max_new_tokens=30)
ROWS = '{"question": "2 + %d?", "choices": ["3", "4"], "answer": 1}\n'


def rows(folder, count, kinds=None):
    file = folder / "q.jsonl"
    file.write_text("".join(ROWS % (n % (kinds or count)) for n in range(count)))
    return TaskPlan(name="mmlu", file=file, max_new_tokens=5)


def test_fresh_items_are_others_in_id_and_prompt():
    drawn = draw_items(TaskPlan(name="pocket-instructions"), 30, 30)
    ids = {item.id for item in drawn.tuned}, {item.id for item in drawn.fresh}
    prompts = {item.prompt for item in drawn.tuned}, {item.prompt for item in drawn.fresh}
    assert [len(one) for one in ids] == [30, 30]
    assert not ids[0] & ids[1]
    assert not prompts[0] & prompts[1]


def test_items_of_a_file_are_drawn_in_random_order_and_the_same_by_the_same_seed(tmp_path):
    plan = rows(tmp_path, 40).model_copy(update={"items": 40})
    first = [item.id for item in draw_items(plan, 10, 20).tuned]
    assert first == [item.id for item in draw_items(plan, 10, 20).tuned]
    assert first != [item.id for item in draw_items(plan, 10, 20, seed=1).tuned]
    assert first != [item.id for item in plan.examples()[1]][:10]


def test_no_two_items_have_the_same_prompt(tmp_path):
    drawn = draw_items(rows(tmp_path, 24, kinds=12), 4, 8)
    assert len({item.prompt for item in (*drawn.tuned, *drawn.fresh)}) == 12
    with pytest.raises(RequestError, match="has 4 different prompts, but 2 to tune on and 8 to check with are needed"):
        draw_items(rows(tmp_path, 12, kinds=4), 2, 8)


def test_a_file_with_too_few_items_is_refused(tmp_path):
    with pytest.raises(RequestError, match="has 9 different prompts, but 5 to tune on and 5 to check with"):
        draw_items(rows(tmp_path, 9), 5, 5)
    with pytest.raises(RequestError, match="needs a file"):
        draw_items(TaskPlan(name="mmlu"), 5, 5)


@pytest.fixture
def asker(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        yield Asker(journal, SUMS, SUMS.task())


def test_answers_are_those_of_a_sweep(asker, tmp_path):
    strategies = ["greedy", "temperature=1.5 | sample"]
    drawn = draw_items(SUMS, 3, 2)
    found = asker("pocket-nano", strategies, drawn.tuned)
    plan = Plan(
        models=("pocket-nano",),
        strategies={text: text for text in strategies},
        tasks=(SUMS.model_copy(update={"items": 3}),),
    )
    with Journal(tmp_path / "other", writing=True) as journal:
        run(plan, journal)
        results = compare(plan, journal)
        whole = journal.keys()
    assert whole == asker.journal.keys()
    for row in results.cells:
        mine = found[row.strategy]
        assert isinstance(mine, Measured)
        assert row.score is not None
        assert row.score.value == mine.scores.mean()
        assert row.prompt_tokens + row.decode_tokens == mine.forward_tokens.mean()
        assert (mine.prompt_tokens < mine.forward_tokens).all()


def test_nothing_is_made_twice_and_only_what_is_kept_is_noted(asker):
    drawn = draw_items(SUMS, 2, 2)
    asker("pocket-nano", ["greedy"], drawn.tuned)
    asker("pocket-nano", ["greedy", "beam(width=2)"], [*drawn.tuned, *drawn.fresh])
    assert (asker.generated, asker.reused) == (8, 2)
    assert views.plans(asker.journal) == []
    plans = asker.keep(["pocket-nano"], ["greedy", "beam(width=2)"], drawn)
    assert len(views.plans(asker.journal)) == 2
    for plan, items in zip(plans, (drawn.tuned, drawn.fresh), strict=True):
        results = compare(plan, asker.journal)
        assert [(row.strategy, row.items) for row in results.cells] == [("greedy", 2), ("beam(width=2)", 2)]
        assert results.baseline == "greedy"
        assert set(views.items(asker.journal, plan.digest, plan.task_names[0])) == {item.id for item in items}


def test_a_strategy_that_a_model_cannot_honour_leaves_the_others_alone(asker):
    drawn = draw_items(SUMS, 2, 2)
    found = asker("pocket-nano", ["greedy", "greedy | speculative(draft=nowhere)"], drawn.tuned)
    assert isinstance(found["greedy"], Measured)
    assert not isinstance(found["greedy | speculative(draft=nowhere)"], Measured)
    with pytest.raises(ModelNotFound):
        asker("nowhere", ["greedy"], drawn.tuned)


def test_tuning_that_is_broken_off_goes_on_where_it_was(tmp_path):
    drawn = draw_items(SUMS, 4, 3)
    space = Space.of(["top_k=1..3", "temperature=1.5"])

    class Killed(BaseException):
        """As sudden as a kill."""

    def tuned(path, last=99):
        with Journal(path, writing=True) as journal:
            asker = Asker(journal, SUMS, drawn.task)

            def ask(model, strategies, items):
                nonlocal last
                if (last := last - 1) < 0:
                    raise Killed
                return asker(model, strategies, items)

            return tune(space, ask, "pocket-nano", drawn), asker.generated, asker.reused

    whole, made, found = tuned(tmp_path / "whole")
    assert found == 0
    with pytest.raises(Killed):
        tuned(tmp_path / "j", last=2)
    again, left, _ = tuned(tmp_path / "j")
    assert again == whole
    assert 0 < left < made
    assert tuned(tmp_path / "j") == (whole, 0, made)
