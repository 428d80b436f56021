"""The running batch: jobs of any strategies, prompts and lengths, and what each says alone."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import ForwardFailed, InvalidParameter, TooLarge, UnknownToken
from decodelab.core.events import Event, Step
from decodelab.engine.runners.batched import CHUNK

STRATEGIES = [
    "greedy",
    "sample(n=3)",
    "temperature=1.5 | top_k=4 | sample(n=2)",
    "beam(width=3, n=3)",
    "mirostat | sample",
    "sample(n=4) | best_of",
]
PROMPTS = [(6,), (6, 0), (6, 1, 2), (6, 3, 3, 3, 3), (6, 4, 3, 2, 1, 0)]
JOB = st.tuples(st.sampled_from(PROMPTS), st.sampled_from(STRATEGIES), st.integers(1, 7), st.integers(0, 2))


@pytest.fixture(scope="module")
def model(random_table):
    return random_table(9)


def run(engine: dl.Engine) -> dict[int, dl.Generation]:
    found = {}
    for done in engine.run():
        assert isinstance(done, dl.Generation), done
        found[done.index] = done
    return found


@given(jobs=st.lists(JOB, min_size=1, max_size=12), max_rows=st.integers(1, 40))
@settings(max_examples=25)
def test_a_job_says_in_any_mixture_and_at_any_admission_what_it_says_alone(model, jobs, max_rows):
    engine = dl.Engine(model, max_rows=max_rows)
    for prompt, strategy, new, seed in jobs:
        engine.submit(prompt, strategy, max_new_tokens=new, seed=seed)
    found = run(engine)
    assert sorted(found) == list(range(len(jobs)))
    for i, (prompt, strategy, new, seed) in enumerate(jobs):
        alone = dl.generate(model, [prompt], strategy, max_new_tokens=new, seed=seed)[0]
        assert found[i].candidates == alone.candidates  # every number bit for bit
        assert found[i].strategy == alone.strategy
    assert not engine.busy
    assert engine.rows == 0


@pytest.mark.parametrize("max_rows", [64, 12])
def test_a_real_model_says_in_a_mixture_what_it_says_alone(stories, max_rows):
    prompts = ["Once upon a time", "The dog", "Lily and Tom went to the big park near their house"]
    strategies = ["greedy", "temperature=0.9 | top_p=0.95 | sample(n=3)", "beam(width=4, n=4)"]
    engine = dl.Engine(stories, max_rows=max_rows)
    for prompt in prompts:
        for strategy in strategies:
            engine.submit(prompt, strategy, max_new_tokens=16)
    found = run(engine)
    for i, prompt in enumerate(prompts):
        for j, strategy in enumerate(strategies):
            mine = found[3 * i + j]
            alone = dl.generate(stories, prompt, strategy, max_new_tokens=16)[0]
            assert [c.tokens for c in mine.candidates] == [c.tokens for c in alone.candidates]
            for c, d in zip(mine.candidates, alone.candidates, strict=True):
                assert c.token_logprobs == pytest.approx(d.token_logprobs, abs=1e-4)


class Counting:
    """A model that counts its forward passes and the tokens of its prefills."""

    def __init__(self, model):
        self.model, self.starts, self.extends = model, [], []

    def prefill(self, prompts):
        self.starts.append(list(prompts))
        return self.model.prefill(prompts)

    def decode(self, cache, tokens):
        self.extends.append(tuple(tokens.shape))
        return self.model.decode(cache, tokens)

    def __getattr__(self, name):
        return getattr(self.model, name)


@pytest.fixture
def endless():
    return dl.TableModel(["a", "b"], {...: {"a": 0.6, "b": 0.4}}, eos=None, bos="<s>")


def test_one_forward_pass_a_step_serves_all_strategies_and_a_prompt_is_prefilled_once(endless):
    model = Counting(endless)
    engine = dl.Engine(model)  # pyright: ignore[reportArgumentType]
    for strategy in ("greedy", "sample(n=4)", "beam(width=3)"):
        engine.submit("a b", strategy, max_new_tokens=5)
    found = run(engine)
    assert model.starts == [[endless.vocab.encode("a b")]]
    assert len(model.extends) == 4
    assert model.extends[0] == (2, 1)  # after one token there are but two texts, whatever the strategies
    assert [found[i].cost.prefill_tokens for i in range(3)] == [3, 0, 0]
    assert [found[i].cost.forward_passes for i in range(3)] == [5, 5, 5]


def test_rows_with_identical_tokens_are_computed_once_without_changing_results(endless):
    model = Counting(endless)
    engine = dl.Engine(model)  # pyright: ignore[reportArgumentType]
    strategies = (
        "greedy",
        "temperature=0.1 | sample(n=8)",
        "beam(width=3, n=3)",
        "sample(n=4)",
        "stochastic_beam(width=4)",
    )
    for strategy in strategies:
        engine.submit("a b", strategy, max_new_tokens=6)
        engine.submit("b", strategy, max_new_tokens=6)
    found = run(engine)
    cold = dl.generate(endless, "a b", "temperature=0.1 | sample(n=8)", max_new_tokens=6)[0]
    texts = {candidate.tokens[:5] for candidate in cold.candidates}
    assert len(texts) < 8
    for i, strategy in enumerate(strategies):
        for k, prompt in enumerate(("a b", "b")):
            (alone,) = dl.generate(endless, prompt, strategy, max_new_tokens=6)
            assert found[2 * i + k].candidates == alone.candidates
            assert found[2 * i + k].cost.decode_tokens == alone.cost.decode_tokens
    for rows, _ in model.extends:
        assert rows < 2 * (1 + 8 + 3 + 4 + 4)


def test_rows_that_finish_make_room_for_those_that_wait(endless):
    model = Counting(endless)
    engine = dl.Engine(model, max_rows=2)  # pyright: ignore[reportArgumentType]
    for new in (2, 9, 3):
        engine.submit("a", "greedy", max_new_tokens=new)
    order = list(run(engine))
    assert order == [0, 2, 1]
    assert len(model.extends) == 8  # as many as the longest alone


def test_jobs_start_in_the_order_they_came(endless):
    engine = dl.Engine(endless, max_rows=4)
    for width in (3, 4, 1, 1):
        engine.submit("a", f"sample(n={width})", max_new_tokens=3)
    assert list(run(engine)) == [0, 1, 2, 3]  # the small ones do not overtake


def test_a_job_of_more_rows_than_allowed_runs_alone(endless):
    model = Counting(endless)
    engine = dl.Engine(model, max_rows=2)  # pyright: ignore[reportArgumentType]
    engine.submit("a", "greedy", max_new_tokens=3)
    engine.submit("a", "beam(width=4)", max_new_tokens=4)
    assert len(run(engine)) == 2
    assert [rows for rows, _ in model.extends] == [1, 1, 2, 4, 4]


def test_a_long_prompt_is_computed_in_chunks_while_others_go_on(endless):
    model = Counting(endless)
    engine = dl.Engine(model)  # pyright: ignore[reportArgumentType]
    engine.submit("a", "greedy", max_new_tokens=9)
    steps = engine.step()
    assert list(steps) == []
    long = (2, *[0, 1] * CHUNK)
    a = engine.submit(long, "greedy", max_new_tokens=3)
    b = engine.submit(long, "sample(n=2)", max_new_tokens=3)
    found = run(engine)
    assert [s for s in model.extends if s[1] > 1] == [(1, CHUNK)]
    assert max(len(prompt) for prompts in model.starts for prompt in prompts) <= CHUNK
    assert found[a].candidates == dl.generate(endless, [long], "greedy", max_new_tokens=3)[0].candidates
    assert found[b].candidates == dl.generate(endless, [long], "sample(n=2)", max_new_tokens=3)[0].candidates
    assert (found[a].cost.prefill_tokens, found[b].cost.prefill_tokens) == (len(long), 0)


def test_memory_bounds_what_runs_at_once(endless):
    model = Counting(endless)
    each = 8 * (2 + 4)
    engine = dl.Engine(model, memory=2 * each)  # pyright: ignore[reportArgumentType]
    for prompt in ("a", "b", "a", "b", "a"):
        engine.submit(prompt, "greedy", max_new_tokens=4)
    assert len(run(engine)) == 5
    assert max(rows for rows, _ in model.extends) == 2


def test_a_job_that_can_never_fit_is_refused_in_one_line(endless):
    engine = dl.Engine(endless, memory=1000)
    with pytest.raises(
        TooLarge, match=r"prompt 0 under sample\(n=50\) may need 2,400 bytes of cache, memory allows 1,0"
    ):
        engine.submit("a", "sample(n=50)", max_new_tokens=4)
    assert not engine.busy


@pytest.mark.parametrize("strategy", ["greedy", "sample(n=3)", "beam(width=3)", "beam(width=3, early_stopping=never)"])
def test_a_cancelled_job_leaves_no_rows_and_no_result(endless, strategy):
    engine = dl.Engine(endless)
    kept = engine.submit("a", "greedy", max_new_tokens=6)
    gone = engine.submit("b", strategy, max_new_tokens=6)
    assert list(engine.step()) == []
    assert list(engine.step()) == []
    assert engine.cancel(gone)
    assert list(engine.step()) == []
    assert engine.rows == 1
    assert not engine.cancel(gone)
    assert list(run(engine)) == [kept]
    assert not engine.cancel(kept)


def test_a_job_that_waits_is_cancelled_before_it_costs_anything(endless):
    model = Counting(endless)
    engine = dl.Engine(model, max_rows=1)  # pyright: ignore[reportArgumentType]
    engine.submit("a", "greedy", max_new_tokens=2)
    assert engine.cancel(engine.submit("b b b", "greedy"))
    assert list(run(engine)) == [0]
    assert len(model.starts) == 1


class Failing(Counting):
    """A model whose n-th extension runs out of memory."""

    at = 2

    def decode(self, cache, tokens):
        if len(self.extends) + 1 == self.at:
            self.extends.append(tuple(tokens.shape))
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")
        return super().decode(cache, tokens)


def test_a_forward_pass_that_raises_fails_the_jobs_of_its_step_and_no_other(endless):
    engine = dl.Engine(Failing(endless), max_rows=2)  # pyright: ignore[reportArgumentType]
    for _ in range(5):
        engine.submit("a", "greedy", max_new_tokens=4)
    done = list(engine.run())
    failed = [d for d in done if isinstance(d, dl.Failed)]
    assert [d.index for d in failed] == [0, 1]
    assert isinstance(failed[0].error, ForwardFailed)
    assert "the forward pass failed: CUDA out of memory. Tried to allocate 2 GiB" in str(failed[0].error)
    assert sorted(d.index for d in done if isinstance(d, dl.Generation)) == [2, 3, 4]
    assert engine.rows == 0


def test_a_chain_that_removes_every_token_fails_only_its_own_jobs():
    model = dl.TableModel(["a", "b"], {...: {"a": 0.5, "b": 0.5}}, eos=None, bos="<s>")
    engine = dl.Engine(model)
    engine.submit("a", "greedy", max_new_tokens=3)
    engine.submit("a", dl.Ban((0, 1, 2)) | dl.Greedy(), max_new_tokens=3)
    done = {d.index: d for d in engine.run()}
    assert isinstance(done[0], dl.Generation)
    assert isinstance(done[1], dl.Failed)
    assert "left no token to choose from" in str(done[1].error)


def test_jobs_may_be_submitted_while_others_run(endless):
    engine = dl.Engine(endless)
    engine.submit("a", "greedy", max_new_tokens=2)
    seen = []
    for done in engine.run():
        seen.append(done.index)
        if len(seen) < 4:
            engine.submit("b", "greedy", max_new_tokens=2)
    assert seen == [0, 1, 2, 3]


def test_ctrl_c_gives_back_what_began_and_leaves_nothing(endless):
    def press(event: Event) -> None:
        if isinstance(event, Step) and int(event.positions[0]) == 3:
            raise KeyboardInterrupt

    engine = dl.Engine(endless, max_rows=2, observers=[press])
    for _ in range(4):
        engine.submit("a", "greedy", max_new_tokens=9)
    found = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(engine.run())
    assert [(g.index, len(g.best.tokens), g.best.finish_reason) for g in found] == [
        (0, 3, "interrupted"),
        (1, 3, "interrupted"),
    ]
    assert not engine.busy
    assert engine.rows == 0


@pytest.mark.parametrize(("bad", "error"), [({"max_rows": 0}, InvalidParameter), ({"memory": 0}, InvalidParameter)])
def test_bounds_that_bound_nothing_are_refused(endless, bad, error):
    with pytest.raises(error, match="must be at least 1"):
        dl.Engine(endless, **bad)


def test_a_bad_job_is_refused_when_it_is_submitted(endless):
    engine = dl.Engine(endless)
    with pytest.raises(UnknownToken):
        engine.submit((99,), "greedy")
    assert not engine.busy


@pytest.mark.slow
def test_ten_thousand_short_jobs_run_in_bounded_memory():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    engine = dl.Engine("pocket-nano")
    texts = ["Once upon a time", "The dog", "Lily went to the park", "A cat"]
    for i in range(10_000):
        strategy = ("greedy", "temperature=0.9 | sample")[i % 2]
        engine.submit(texts[i % 4], strategy, max_new_tokens=1 + i % 5, seed=i)
    at: dict[int, int] = {}
    for count, done in enumerate(engine.run(), start=1):
        assert isinstance(done, dl.Generation)
        if count in (2_000, 10_000):
            at[count] = resident()
    assert at[10_000] - at[2_000] < 20e6
    assert not engine.busy
