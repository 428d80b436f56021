"""Selections in a sweep are made among the samples that are stored, and give what generating again would give."""

from dataclasses import replace
from typing import Any

import pytest

from decodelab.bench.plan import Plan
from decodelab.bench.records import Answer
from decodelab.bench.run.sweep import run
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.core.errors import DecodelabError, RequestError

HOT = {"hot": "temperature=0.9 | sample"}
TASKS = [{"name": "pocket-sums", "items": 3, "max_new_tokens": 40}]


def plan_of(strategies: dict[str, Any], **changes: Any) -> Plan:
    return Plan.model_validate({"models": ["pocket-nano"], "strategies": strategies, "tasks": TASKS} | changes)


def answers(journal: Journal, plan: Plan, strategy: str) -> list[Answer]:
    keys = [a.key for a in views.answers(journal, plan.digest, "pocket-sums", strategy=strategy)]
    found = views.answers_by_key(journal, keys)
    return [found[key] for key in keys]


def whole(answer: Answer) -> Answer:
    """An answer but for time, memory and the shared prompt, and for numbers whose last bits depend on the batch."""
    return replace(
        answer,
        seconds=0.0,
        peak_cache_bytes=0,
        prefill_tokens=0,
        token_logprobs=(),
        processed_logprobs=(),
        confidences=None,
    )


SELECTED = {
    "voted": {"of": "hot", "select": "vote", "n": 3},
    "read": {"of": "hot", "select": "vote(answer=task)"},
    "sure": {"of": "hot", "select": "best_of(by=self_certainty)"},
    "rated": {"of": "hot", "select": "weighted_vote(by=reward(model=pocket-verifier))"},
}


def test_what_is_selected_is_what_would_have_been_generated(tmp_path):
    with Journal(tmp_path / "j", writing=True) as stored, Journal(tmp_path / "k", writing=True) as fresh:
        both = plan_of(HOT | SELECTED, samples=4)
        outcome = run(both, stored)
        assert (outcome.generated, outcome.selected, outcome.failures) == (12, 12, [])
        alone = plan_of({name: both.strategies[name] for name in SELECTED})
        outcome = run(alone, fresh)
        assert (outcome.generated, outcome.selected) == (12, 0)
        for name in SELECTED:
            for chosen, made in zip(answers(stored, both, name), answers(fresh, alone, name), strict=True):
                assert whole(chosen) == whole(made)
                assert chosen.token_logprobs == pytest.approx(made.token_logprobs, abs=1e-4)
                assert chosen.confidences is not None
                assert made.confidences is not None
                assert chosen.confidences.top == pytest.approx(made.confidences.top, abs=1e-4)
        assert run(both, stored).reused == 24


def test_a_selection_may_come_after_the_samples(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        run(plan_of(HOT, samples=4), journal)
        later = plan_of(HOT | {"voted": SELECTED["voted"]}, samples=4)
        outcome = run(later, journal)
        assert (outcome.generated, outcome.selected, outcome.reused) == (0, 3, 12)
        # More samples than there are: those that are missing are generated, and no others.
        outcome = run(plan_of(HOT | {"voted": SELECTED["read"]}, samples=5), journal)
        assert (outcome.generated, outcome.selected, outcome.reused) == (3, 3, 12)


def test_what_is_drawn_until_the_vote_is_settled_is_found_among_the_samples(tmp_path):
    early = {"early": "temperature=0.9 | sample(n=6) | until(answer=line, rule=window, window=2) | vote(answer=line)"}
    with Journal(tmp_path / "j", writing=True) as stored, Journal(tmp_path / "k", writing=True) as fresh:
        both = plan_of(HOT | early, samples=6, tasks=[TASKS[0] | {"max_new_tokens": 3}])
        outcome = run(both, stored)
        assert (outcome.generated, outcome.selected, outcome.failures) == (18, 3, [])
        alone = plan_of(early, tasks=both.tasks)
        outcome = run(alone, fresh)
        assert (outcome.generated, outcome.selected) == (3, 0)
        chosen, made = answers(stored, both, "early"), answers(fresh, alone, "early")
        assert [whole(a) for a in chosen] == [whole(a) for a in made]
        assert min(a.decode_tokens for a in chosen) < 6 * 2  # some vote was settled before the sixth sample


def test_samples_without_confidences_are_drawn_again_for_a_selection_that_reads_them(tmp_path):
    with Journal(tmp_path / "j", writing=True) as journal:
        run(plan_of(HOT, samples=4), journal)
        outcome = run(plan_of(HOT | {"sure": SELECTED["sure"]}, samples=4), journal)
        assert (outcome.generated, outcome.selected, outcome.failures) == (12, 3, [])
        assert run(plan_of(HOT | {"sure": SELECTED["sure"]}, samples=4), journal).reused == 15


def test_what_draws_or_asks_the_model_is_generated(tmp_path):
    asking = {"asks": {"of": "hot", "select": "best_of(by=self_eval)", "n": 2}, "draws": "sample(n=2) | soft_best_of"}
    with Journal(tmp_path / "j", writing=True) as journal:
        outcome = run(plan_of(HOT | asking, samples=2), journal)
        assert (outcome.generated, outcome.selected, outcome.failures) == (12, 0, [])


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"of": "cold", "select": "vote"}, "of must be the name of a strategy that is written out, got 'cold'"),
        ({"of": "hit", "select": "vote"}, "did you mean 'hot'?"),
        ({"of": "wide", "select": "vote"}, "of must name a strategy that samples and selects nothing"),
        ({"of": "hot", "select": "greedy"}, "select must be a selection such as vote, got 'greedy'"),
        ({"of": "hot"}, "select must be a selection such as vote, got 'None'"),
        ({"of": "hot", "select": "vote", "n": 1}, "n must be an integer, at least 2, got 1"),
        ({"of": "hot", "select": "vote", "k": 4}, "unknown field 'k'; write {of: NAME, select: vote, n: 8}"),
        ({"of": "hot", "select": "vot"}, "unknown stage 'vot'; did you mean 'vote'?"),
    ],
)
def test_bad_selections_are_told_by_name(written, message):
    strategies = HOT | {"wide": "beam(width=3)", "voted": written}
    with pytest.raises(DecodelabError) as told:
        plan_of(strategies, samples=4)
    assert message in str(told.value)


def test_samples_default_to_the_plans():
    assert plan_of(HOT | SELECTED, samples=6).strategies["read"].endswith("sample(n=6) | vote(answer=task)")
    with pytest.raises(RequestError, match="n must be an integer, at least 2, got 1"):
        plan_of(HOT | SELECTED)
