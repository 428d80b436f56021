"""The answers of a sweep, item by item, as far as they are there."""

from dataclasses import replace

import pytest

from decodelab.bench.run.sweep import run
from decodelab.bench.store.journal import Journal, Record, Scored
from decodelab.bench.store.samples import Answer, columns, side_by_side


@pytest.fixture
def plan(small):
    tasks = [{"name": "pocket-sums", "items": 3, "max_new_tokens": 5}, {"name": "pocket-choice", "items": 2}]
    return small(tasks=tasks, samples=2)


def copied(source: Journal, target: Journal, records: list[Record], scores: list[Scored], plan) -> None:
    """The same plan with some of its answers."""
    target.begin(plan.model_dump_json(), plan.digest, source.examples(plan.digest))
    target.ask(plan.digest, plan.models[0], source.asked(plan.digest))
    target.add(records, scores)


def test_items_come_with_all_their_answers_whatever_is_read_at_once(plan, tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        run(plan, journal)
        assert columns(plan) == [("pocket-nano", "greedy"), ("pocket-nano", "hot")]
        items = list(side_by_side(plan, journal, "pocket-sums"))
        assert [item.example for item in items] == ["0", "1", "2"]
        assert [[len(answers) for answers in item.answers] for item in items] == [[1, 2]] * 3
        assert list(side_by_side(plan, journal, "pocket-sums", at_once=1)) == items
        records = {record.text: record for record in journal.records()}
        for item in items:
            shown = journal.examples(plan.digest)["pocket-sums", item.example]
            assert (item.prompt, item.reference) == (shown.prompt, shown.reference)
            for answer in (answer for answers in item.answers for answer in answers):
                record = records[answer.text]
                assert (answer.tokens, answer.finish_reason) == (len(record.tokens), record.finish_reason)
                assert answer.score is not None


def test_what_is_missing_or_not_scored_is_said(plan, tmp_path):
    with Journal(tmp_path / "j", writing=True) as whole, Journal(tmp_path / "k", writing=True) as part:
        run(plan, whole)
        asked = next(a for a in whole.asked(plan.digest) if (a.strategy, a.example) == ("hot", "1"))
        [record] = [replace(r, text="said") for r in whole.records() if r.key == asked.keys[1]]
        copied(whole, part, [record], [], plan)
        first, second, third = side_by_side(plan, part, "pocket-sums")
        assert first.answers == third.answers == ((), ())
        assert second.answers == ((), (Answer("said", len(record.tokens), record.finish_reason, None, None),))
