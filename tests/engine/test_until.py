"""Samples drawn in windows until the vote is settled: the same samples, fewer of them."""

import warnings
from collections.abc import Sequence

import pytest

import decodelab as dl
from decodelab.core.errors import DecodelabError, StageFailed, TooLarge, UnsupportedStrategy
from decodelab.core.events import Event, Step
from decodelab.core.notices import NoEffectWarning
from decodelab.core.values import Candidate, Generation
from decodelab.engine.runners.runner import Failed


@pytest.fixture(scope="module")
def model() -> dl.TableModel:
    """Numbers of one to several words; 7 is the most frequent first word."""
    row = {"7": 0.5, "8": 0.2, "9": 0.1, "</s>": 0.2}
    return dl.TableModel(["7", "8", "9"], {(): {"7": 0.7, "8": 0.3}, ...: row}, bos="<s>")


def one(model: dl.TableModel, strategy: str, *, seed: int = 0, max_new_tokens: int = 3) -> Generation:
    (g,) = dl.generate(model, "", strategy, seed=seed, max_new_tokens=max_new_tokens)
    return g


def texts(found: Generation) -> list[tuple[int, tuple[int, ...], tuple[float, ...]]]:
    """The samples in order, with what they were drawn with."""
    return sorted((c.sample, c.tokens, c.processed_logprobs) for c in found.candidates)


@pytest.mark.parametrize("window", [1, 3, 5, 20])
@pytest.mark.parametrize(
    "chain", ["", "temperature=0.5 | xtc(probability=0.5, threshold=0.1) | ", "dry | min_p=0.1 | "]
)
def test_what_is_drawn_are_the_first_samples_of_all(model, chain, window):
    everything = texts(one(model, f"{chain}sample(n=20)", seed=3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoEffectWarning)  # a window of 20
        found = one(
            model, f"{chain}sample(n=20) | until(error=0.3, answer=line, window={window}) | vote(answer=line)", seed=3
        )
    drawn = len(found.candidates)
    assert texts(found) == everything[:drawn]
    assert drawn % window == 0 or drawn == 20


def test_the_answer_is_the_vote_of_what_was_drawn(model):
    found = one(model, "sample(n=40) | until | vote", max_new_tokens=1)
    drawn = len(found.candidates)
    assert drawn < 40
    assert found.candidates == one(model, f"sample(n={drawn}) | vote", max_new_tokens=1).candidates


def test_without_a_selection_the_samples_come_in_their_order(model):
    found = one(model, "sample(n=20) | until(rule=beta)", max_new_tokens=1)
    assert [c.sample for c in found.candidates] == list(range(len(found.candidates)))


def test_over_many_seeds_no_more_answers_differ_from_the_full_vote_than_stated(model):
    prompts = [(model.vocab.bos_id, *[0] * k) for k in range(60)]
    full = dl.generate(model, prompts, "sample(n=15) | vote(answer=text)", max_new_tokens=1, max_rows=1000)
    early = dl.generate(
        model,
        prompts,
        "sample(n=15) | until(error=0.1, answer=text) | vote(answer=text)",
        max_new_tokens=1,
        max_rows=1000,
    )
    differ = sum(a.best.text != b.best.text for a, b in zip(full, early, strict=True))
    assert differ <= 0.1 * len(prompts)
    assert sum(len(g.candidates) for g in early) < sum(len(g.candidates) for g in full)


def test_the_prompt_is_computed_once_and_costs_are_summed():
    model, prompt = dl.load("pocket-nano"), "Once upon a time, there was a little cat. She was very happy. 2 + 3 ="
    strategy = "sample(n=12) | until(error=0, answer=text, window=4)"  # texts differ: all are drawn
    (found,) = dl.generate(model, prompt, strategy, max_new_tokens=6)
    (whole,) = dl.generate(model, prompt, "sample(n=12)", max_new_tokens=6)
    tokens = len(found.prompt_tokens)
    assert tokens >= 16
    assert texts(found)[0][1] == texts(whole)[0][1]
    assert len(found.candidates) == 12
    assert found.cost.prefill_tokens == tokens + 2  # of later windows only the last token
    assert found.cost.decode_tokens == whole.cost.decode_tokens
    assert found.cost.peak_cache_bytes < whole.cost.peak_cache_bytes


def test_beside_other_jobs_everything_is_as_alone(model):
    strategies = ["sample(n=20) | until(rule=beta, window=4) | vote", "greedy", "sample(n=3)", "beam(width=3)"]
    alone = [one(model, s).candidates for s in strategies * 2]
    engine = dl.Engine(model, max_rows=8)
    for strategy in strategies * 2:
        engine.submit("", strategy, max_new_tokens=3)
    found = {g.index: g for g in engine.run() if isinstance(g, Generation)}
    assert [found[i].candidates for i in range(8)] == alone


def test_the_rows_of_a_window_are_all_the_memory_it_needs(model):
    few = model.cache_bytes(1, 5, 3)
    engine = dl.Engine(model, memory=few)
    with pytest.raises(TooLarge):
        engine.submit("", "sample(n=40) | vote", max_new_tokens=3)
    engine.submit("", "sample(n=40) | until(error=0) | vote", max_new_tokens=3)
    (found,) = engine.run()
    assert isinstance(found, Generation)
    assert len(found.candidates) > 5


class CtrlC:
    """Ctrl-C at a step."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, event: Event) -> None:
        self.left -= isinstance(event, Step)
        if not self.left:
            raise KeyboardInterrupt


def test_ctrl_c_gives_the_windows_that_are_done_and_what_runs_as_far_as_it_came(model):
    strategy = "sample(n=20) | until(error=0, window=4) | vote"
    everything = one(model, "sample(n=20)", max_new_tokens=3).candidates
    (found,) = dl.generate(model, "", strategy, max_new_tokens=3, observers=[CtrlC(5)])  # the second step of a window
    assert [c.sample for c in found.candidates[:4]] == [0, 1, 2, 3]
    assert found.candidates[:4] == everything[:4]
    cut = [c for c in found.candidates if c.finish_reason == "interrupted"]
    assert cut
    assert len(found.candidates) == 8
    assert all(c.tokens == everything[c.sample].tokens[: len(c.tokens)] for c in cut)


def test_a_cancelled_job_leaves_no_rows_and_no_result(model):
    engine = dl.Engine(model)
    number = engine.submit("", "sample(n=40) | until(error=0, window=4)", max_new_tokens=3)
    other = engine.submit("", "greedy", max_new_tokens=9)
    for _ in range(5):
        assert not [done for done in engine.step() if done.index == number]
    assert engine.cancel(number)
    assert [done.index for done in engine.run()] in ([other], [])
    assert engine.rows == 0


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4])
def test_a_job_that_is_cancelled_alone_leaves_no_rows_behind(model, steps):
    """Its draws are gone with the next step; until then there is something to do."""
    engine = dl.Engine(model)
    number = engine.submit("", "sample(n=40) | until(error=0, window=4)", max_new_tokens=3)
    for _ in range(steps):
        assert list(engine.step()) == []
    assert engine.cancel(number)
    assert not engine.cancel(number)
    assert list(engine.run()) == []
    assert engine.rows == 0


def test_a_reader_that_raises_fails_its_own_job_and_names_the_stage(model):
    def read(text: str) -> str:
        raise ValueError("no such answer")

    engine = dl.Engine(model)
    engine.submit("", dl.Sample(8) | dl.Until(answer=read, window=2), max_new_tokens=2)
    engine.submit("", "sample(n=8) | until | vote", max_new_tokens=2)
    outcomes = {done.index: done for done in engine.run()}
    failed = outcomes[0]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, StageFailed)
    assert str(failed.error).startswith("until(")
    assert isinstance(outcomes[1], Generation)


def test_a_window_that_fails_fails_the_job(model):
    def broken(prompt: str, written: Sequence[str]) -> list[float]:
        raise ValueError("no")

    with pytest.raises(DecodelabError, match="raised ValueError"):
        dl.generate(model, "", dl.Sample(8) | dl.Until() | dl.BestOf(by=broken), max_new_tokens=1)


def test_fewer_samples_are_no_fault_of_a_constraint(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = dl.generate(model, "", 'regex="7" | sample(n=40) | until | vote', max_new_tokens=3)
    assert len(found.candidates) < 40


def test_confidences_are_recorded_for_a_selection_that_reads_them(model):
    found = one(model, "sample(n=20) | until(rule=beta) | weighted_vote(by=self_certainty, weight=rank)")
    assert all(isinstance(c, Candidate) and c.confidences is not None for c in found.candidates)


@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        ("greedy | until", r"ends the drawing of samples, got greedy; use sample\(n=...\)"),
        ("beam(width=3) | until | vote", "ends the drawing of samples"),
        ("sample(n=20) | until(answer=line) | vote", "count different answers"),
        ("sample(n=20) | until | weighted_vote(answer=letter)", "count different answers"),
    ],
)
@pytest.mark.filterwarnings("ignore::decodelab.core.notices.NoEffectWarning")
def test_what_cannot_be_stopped_is_refused(model, strategy, why):
    with pytest.raises(UnsupportedStrategy, match=why):
        one(model, strategy)


def test_a_window_of_all_samples_is_told(model):
    with pytest.warns(NoEffectWarning, match="its first window holds all 4 samples"):
        one(model, "sample(n=4) | until")
