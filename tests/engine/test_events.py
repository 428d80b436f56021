"""What observers are told: everything that happened, in order, and nothing that did not."""

from typing import Any

import pytest
import torch

import decodelab as dl
from decodelab.core.events import Event, Finished, RunStarted, Step
from decodelab.core.values import Tokens


def watch(model, prompts, strategy, **options) -> tuple[list[Event], list[dl.Generation]]:
    events: list[Event] = []
    found = dl.generate(model, prompts, strategy, observers=[events.append], **options)
    return events, found


def replayed(events: list[Event]) -> dict[int, set[Tokens]]:
    """Every hypothesis that ended, by generation, rebuilt from the steps alone."""
    rows: list[tuple[int, Tokens]] = []
    ended: dict[int, set[Tokens]] = {}
    for step in (e for e in events if isinstance(e, Step)):
        if not step.positions.any():
            rows = [(g, ()) for g in step.generations.tolist()]
        assert [len(tokens) for _, tokens in rows] == step.positions.tolist()
        assert [g for g, _ in rows] == step.generations.tolist()
        going = []
        for parent, token, over in zip(step.parents.tolist(), step.tokens.tolist(), step.ended.tolist(), strict=True):
            generation, tokens = rows[parent]
            if over:
                ended.setdefault(generation, set()).add((*tokens, token))
            else:
                going.append((generation, (*tokens, token)))
        rows = going
    return ended


def test_a_run_begins_with_its_prompts_and_every_generation_is_finished_once(random_table):
    events, found = watch(random_table(1), [(6, 1), (6,)], "sample(n=2)", max_new_tokens=4)
    assert events[0] == RunStarted(((6, 1), (6,)), 4)
    finished = [e.generation for e in events if isinstance(e, Finished)]
    assert sorted(finished, key=lambda g: g.index) == found
    assert sum(isinstance(e, RunStarted) for e in events) == 1


@pytest.mark.parametrize("strategy", ["greedy", "sample(n=3)", "top_k=3 | sample(n=2) | best_of"])
@pytest.mark.parametrize("max_rows", [1, 4, 64])
def test_the_steps_tell_every_token_of_every_sample(random_table, strategy, max_rows):
    events, found = watch(random_table(1), [(6, 1), (6,), (6, 2, 2)], strategy, max_new_tokens=5, max_rows=max_rows)
    assert replayed(events) == {g.index: {c.tokens for c in g.candidates} for g in found}


def test_the_steps_of_a_beam_tell_every_hypothesis_it_returns(random_table):
    events, found = watch(random_table(1), [(6, 1), (6,)], "beam(width=4, n=4)", max_new_tokens=5)
    ended = replayed(events)
    for g in found:
        assert {c.tokens for c in g.candidates} <= ended[g.index]


def test_a_step_shows_the_logits_before_and_after_each_stage(random_table):
    model = random_table(1)
    events, _ = watch(model, [(6, 1)], "temperature=0.5 | top_k=2 | sample", max_new_tokens=1)
    (step,) = (e for e in events if isinstance(e, Step))
    raw = model.prefill([(6, 1)])[0]
    warm, cut = step.stages
    assert [s.name for s in step.stages] == ["temperature=0.5", "top_k=2"]
    assert torch.equal(step.logits, raw)
    assert torch.equal(warm.before, raw)
    assert torch.equal(cut.before, warm.after)
    assert torch.equal(step.processed, cut.after)
    assert cut.after.isfinite().sum() == 2  # the kept set
    removed = 1 - float(cut.before.softmax(-1)[cut.after.isfinite()].sum())
    assert 0 < removed < 1  # the mass removed
    assert step.samples.tolist() == [0]


def test_without_processors_what_is_processed_is_what_the_model_gave(random_table):
    events, _ = watch(random_table(1), [(6, 1)], "greedy", max_new_tokens=2)
    for step in (e for e in events if isinstance(e, Step)):
        assert step.stages == ()
        assert torch.equal(step.processed, step.logits)


def test_before_the_minimum_the_first_stage_is_given_logits_without_eos(random_table):
    events, _ = watch(random_table(1), "", "top_k=3 | sample", min_new_tokens=1, max_new_tokens=2)
    first, second = (e for e in events if isinstance(e, Step))
    assert first.logits[0, 5].isfinite()
    assert first.stages[0].before[0, 5] == -torch.inf
    assert second.stages[0].before[0, 5].isfinite()


def test_several_observers_hear_the_same(random_table):
    one, two = [], []
    dl.generate(random_table(1), "", "greedy", observers=[one.append, two.append])
    assert len(one) == len(two) > 2
    assert all(type(a) is type(b) for a, b in zip(one, two, strict=True))
    assert all(a is b for a, b in zip(one, two, strict=True) if isinstance(a, Step))


def test_watching_changes_nothing(random_table):
    model = random_table(1)
    options: dict[str, Any] = {"max_new_tokens": 6, "seed": 3}
    _, watched = watch(model, [(6, 1), (6,)], "top_p=0.8 | sample(n=3)", **options)
    plain = dl.generate(model, [(6, 1), (6,)], "top_p=0.8 | sample(n=3)", **options)
    assert [g.candidates for g in watched] == [g.candidates for g in plain]


def test_a_step_of_samples_names_each_rows_sample(random_table):
    events, _ = watch(random_table(1, eos=0.0), [(6, 1), (6,)], "sample(n=3)", max_new_tokens=2)
    for step in (e for e in events if isinstance(e, Step)):
        assert step.samples.tolist() == [0, 1, 2, 0, 1, 2]
        assert step.generations.tolist() == [1, 1, 1, 0, 0, 0]  # the shorter prompt first
