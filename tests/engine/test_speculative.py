"""Speculative decoding: whatever the draft, the result is that of the strategy alone; only its cost is another."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import decodelab as dl
from decodelab.core.errors import (
    EmptySupport,
    ForwardFailed,
    InvalidParameter,
    ModelNotFound,
    NonFiniteLogits,
    StrategyError,
    TooLarge,
    UnsupportedStrategy,
    VocabularyMismatch,
)
from decodelab.core.events import Event, Step
from decodelab.core.key import Keys
from decodelab.core.stage import Kind, Stage
from decodelab.strategy.strategy import StrategyLike
from decodelab.testing.stage import check_stage

# A right sampler fails at p < 1e-4 for one seed in 10,000; the seeds here are fixed.
P = 1e-4
N = 2_000


def speculative(strategy: StrategyLike, draft: object, **parameters: object) -> dl.Strategy:
    """A strategy driven by a draft; a selection stays last."""
    stage = dl.Speculative(draft, **parameters)  # pyright: ignore[reportArgumentType]
    stages = dl.Strategy.of(strategy).stages
    last = stages[-1:] if stages[-1].kind == "selection" else ()
    return dl.Strategy((*stages[: len(stages) - len(last)], stage, *last))


@pytest.fixture(scope="module")
def model(random_table):
    return random_table(4)


@pytest.fixture(scope="module")
def draft(random_table, model):
    """A table that is halfway between the model and another one."""
    other = random_table(10)

    def row(prefix):
        tokens = tuple(model.vocab.words.index(word) for word in prefix)
        return [0.5 * (p + q) for p, q in zip(model.probs(tokens), other.probs(tokens), strict=True)]

    return dl.TableModel([f"w{i}" for i in range(5)], row, bos="<s>", name="near")


# The same distribution


CHAINS = [
    "greedy",
    "temperature=0.5 | sample(n={n})",
    "sample(n={n}, draw=gumbel)",
    "top_p=0.8 | sample(n={n})",
    "mirostat(tau=1.5, eta=0.3) | sample(n={n})",
    "repetition_penalty=1.5 | sample(n={n})",
    "dry(multiplier=2.0, allowed_length=1) | sample(n={n})",
    "xtc(probability=0.5, threshold=0.2) | temperature=0.8 | sample(n={n})",
]


PROMPT = (6, 0, 1, 0, 2, 0, 3, 0, 4, 1, 2, 1, 3, 1, 4, 2, 3, 2, 4, 3, 4, 0)


def exact_distribution(model, chain: str, limit: int) -> dict[tuple[int, ...], float]:
    """The probability of every sequence by multiplication; the coins of xtc fall anew for every sample."""
    found: dict[tuple[int, ...], float] = {}

    def visit(prefix: tuple[int, ...], probability: float) -> None:
        if len(prefix) == limit or (prefix and prefix[-1] in model.vocab.eos_ids):
            found[prefix] = probability
            return
        logits, _ = model.prefill([(*PROMPT, *prefix)])
        distribution = dl.distribution(logits[0], chain, prompt_tokens=PROMPT, generated=prefix, model=model)
        for token, p in enumerate(distribution.tolist()):
            if p > 0:
                visit((*prefix, token), probability * p)

    visit((), 1.0)
    return found


def p_value(drawn: list[tuple[int, ...]], distribution: dict[tuple[int, ...], float]) -> float:
    """Of Pearson's chi-square; sequences expected fewer than five times share a cell."""
    counts = Counter(drawn)
    assert set(counts) <= set(distribution), "an impossible sequence was drawn"
    n = len(drawn)
    large = [s for s, p in distribution.items() if n * p >= 5]
    observed, expected = [counts[s] for s in large], [n * distribution[s] for s in large]
    if (rest := n - sum(expected)) > 1e-6 * n:
        observed.append(n - sum(observed))
        expected.append(rest)
    assert len(expected) > 1, "nothing to compare"
    return float(stats.chisquare(observed, np.array(expected) * n / sum(expected)).pvalue)


@pytest.mark.parametrize(
    ("chain", "proposals"), [*((c, "model") for c in CHAINS), *((c, "ngram") for c in CHAINS[3:6]), ("greedy", "ngram")]
)
def test_whole_sequences_follow_the_exact_distribution_with_and_without_a_draft(chain, proposals, model, draft):
    strategy = chain.format(n=N)
    plain = dl.generate(model, [PROMPT], strategy, max_new_tokens=3)[0]
    driven = speculative(strategy, draft if proposals == "model" else "ngram", k=2)
    found = dl.generate(model, [PROMPT], driven, max_new_tokens=3)[0]
    assert found.candidates == plain.candidates  # every number bit for bit
    distribution = exact_distribution(model, chain.format(n=1), 3)
    assert math.fsum(distribution.values()) == pytest.approx(1, abs=1e-5)
    if chain == "greedy":
        assert distribution == {found.best.tokens: pytest.approx(1.0)}
    else:
        assert 0 < found.cost.accepted < found.cost.proposed
        assert p_value([c.tokens for c in found.candidates], distribution) > P


JOB = st.tuples(
    st.sampled_from([(6,), (6, 0), (6, 1, 2), (6, 3, 3, 3, 3), (6, 4, 3, 2, 1, 0)]),
    st.sampled_from([
        "greedy", "sample(n=3)", "temperature=1.5 | top_k=4 | sample(n=2)", "mirostat | sample(n=2)",
        "frequency_penalty=0.7 | no_repeat_ngram=2 | sample(n=2, draw=gumbel)", "adaptive_p=0.3 | sample",
        "ban=[[0, 1]] | watermark | sample(n=2)", "sample(n=4) | best_of", "forced_eos=3 | sample(n=2)",
    ]),
    st.integers(1, 9),
    st.integers(0, 2),
)  # fmt: skip


@given(
    jobs=st.lists(JOB, min_size=1, max_size=6),
    max_rows=st.integers(1, 20),
    k=st.integers(1, 5),
    adaptive=st.booleans(),
    ngram=st.booleans(),
)
@settings(max_examples=15)
def test_any_mixture_says_under_any_draft_what_each_job_says_alone_and_without(
    model, draft, jobs, max_rows, k, adaptive, ngram
):
    engine = dl.Engine(model, max_rows=max_rows)
    for prompt, strategy, new, seed in jobs:
        driven = speculative(strategy, "ngram" if ngram else draft, k=k, adaptive=adaptive)
        engine.submit(prompt, driven, max_new_tokens=new, min_new_tokens=min(seed, new), seed=seed)
    found = {done.index: done for done in engine.run() if isinstance(done, dl.Generation)}
    assert sorted(found) == list(range(len(jobs)))
    for i, (prompt, strategy, new, seed) in enumerate(jobs):
        least = min(seed, new)
        alone = dl.generate(model, [prompt], strategy, max_new_tokens=new, min_new_tokens=least, seed=seed)[0]
        assert found[i].candidates == alone.candidates
    assert not engine.busy
    assert engine.rows == 0


TEXTS = ["Once upon a time", "2 + 3 =", "Lily and Tom went to the big park near their house"]


@pytest.mark.parametrize("proposals", ["pocket-nano", "ngram"])
@pytest.mark.parametrize("strategy", ["greedy", "temperature=0.8 | top_p=0.9 | sample(n=3)"])
def test_a_real_model_says_with_a_draft_what_it_says_without(strategy, proposals):
    plain = dl.generate("pocket-small", TEXTS, strategy, max_new_tokens=16)
    found = dl.generate("pocket-small", TEXTS, speculative(strategy, proposals), max_new_tokens=16)
    for one, other in zip(found, plain, strict=True):
        assert [c.tokens for c in one.candidates] == [c.tokens for c in other.candidates]
        assert [c.text for c in one.candidates] == [c.text for c in other.candidates]
        for c, d in zip(one.candidates, other.candidates, strict=True):
            assert c.token_logprobs == pytest.approx(d.token_logprobs, abs=1e-4)
    assert sum(g.cost.accepted for g in found) > 0


def test_a_composed_model_takes_a_draft_too():
    strategy = "mix(models=[pocket-nano]) | greedy"
    plain = dl.generate("pocket-small", TEXTS[:2], strategy, max_new_tokens=12)
    found = dl.generate("pocket-small", TEXTS[:2], f"{strategy} | speculative(draft=pocket-nano)", max_new_tokens=12)
    assert [g.best.tokens for g in found] == [g.best.tokens for g in plain]


# How often draft and model agree


@pytest.mark.parametrize(("draw", "expected"), [("inverse_cdf", 0.9), ("gumbel", 0.4 + 0.3 + 1 / 5.5)])
def test_coupled_draws_agree_as_often_as_theory_says(draw, expected):
    # p = (.5, .3, .2) and q = (.4, .4, .2): intervals overlap by .4 + .3 + .2; the largest of logit plus the same
    # noise is the same token with probability sum_i 1 / sum_j max(p_j / p_i, q_j / q_i). Rejection sampling: 0.9.
    words = ["a", "b", "c"]
    model = dl.TableModel(words, {...: dict(zip(words, (0.5, 0.3, 0.2), strict=True))}, eos=None, bos="<s>")
    draft = dl.TableModel(words, {...: dict(zip(words, (0.4, 0.4, 0.2), strict=True))}, eos=None, bos="<s>")
    (g,) = dl.generate(model, "", speculative(f"sample(n={N}, draw={draw})", draft, k=1), max_new_tokens=3)
    deviation = math.sqrt(expected * (1 - expected) / g.cost.proposed)
    assert g.cost.proposed >= N
    assert g.cost.acceptance == pytest.approx(expected, abs=4 * deviation)


# What it costs


class Counting:
    """A model that counts its forward passes."""

    def __init__(self, model):
        self.model, self.extends = model, []

    def decode(self, cache, tokens):
        self.extends.append(tuple(tokens.shape))
        return self.model.decode(cache, tokens)

    def __getattr__(self, name):
        return getattr(self.model, name)


@pytest.fixture
def endless():
    return dl.TableModel(["a", "b"], {...: {"a": 0.6, "b": 0.4}}, eos=None, bos="<s>")


@pytest.fixture
def contrary():
    return dl.TableModel(["a", "b"], {...: {"a": 0.4, "b": 0.6}}, eos=None, bos="<s>", name="contrary")


def counts(cost: dl.Cost) -> dict[str, int]:
    names = ("prefill_tokens", "decode_tokens", "forward_passes", "draft_tokens", "proposed", "accepted")
    return {name: getattr(cost, name) for name in names}


def test_a_draft_that_is_always_right_gives_k_tokens_and_one_for_each_pass(endless):
    model = Counting(endless)
    (g,) = dl.generate(model, "a b", speculative("greedy", endless, k=4), max_new_tokens=11)  # pyright: ignore[reportArgumentType]
    assert model.extends == [(1, 5), (1, 5)]  # behind the first token, which the prompt's pass gives
    assert counts(g.cost) == {
        "prefill_tokens": 3, "decode_tokens": 10, "forward_passes": 3,
        "draft_tokens": 3 + 4 + 5,  # the prompt; the last token and three drafted; the fourth, the last, and three
        "proposed": 8, "accepted": 8,
    }  # fmt: skip
    assert g.cost.acceptance == 1.0
    assert g.cost.forward_tokens == 13


def test_a_draft_that_is_never_right_gives_a_token_for_each_pass(endless, contrary):
    (g,) = dl.generate(endless, "a", speculative("greedy", contrary, k=2), max_new_tokens=5)
    # The last token is not drafted, so that of the four passes behind the first token the last two propose 1 and 0.
    assert counts(g.cost) == {
        "prefill_tokens": 2, "decode_tokens": 3 + 3 + 2 + 1, "forward_passes": 5,
        "draft_tokens": 2 + 2 + 2 + 1, "proposed": 5, "accepted": 0,
    }  # fmt: skip


def test_each_row_keeps_as_much_as_is_right_for_it(endless):
    # The draft knows what comes after a, and nothing of what comes after b.
    model = dl.TableModel(["a", "b"], {"a": {"a": 1.0}, "b": {"b": 1.0}}, eos=None, bos="<s>")
    draft = dl.TableModel(["a", "b"], {...: {"a": 1.0}}, eos=None, bos="<s>")
    found = dl.generate(model, ["a", "b", "a a"], speculative("greedy", draft, k=3), max_new_tokens=9)
    assert [g.best.tokens for g in found] == [(0,) * 9, (1,) * 9, (0,) * 9]
    assert [g.cost.acceptance for g in found] == [1.0, 0.0, 1.0]
    assert [g.cost.forward_passes for g in found] == [3, 9, 3]


def test_prompt_lookup_costs_no_draft_and_follows_loops(endless):
    model = dl.TableModel(["a", "b", "c"], {"a": {"b": 1.0}, "b": {"c": 1.0}, "c": {"a": 1.0}}, eos=None, bos="<s>")
    (g,) = dl.generate(model, "a b c a", speculative("greedy", "ngram", k=4), max_new_tokens=11)
    assert counts(g.cost) == {
        "prefill_tokens": 5, "decode_tokens": 10, "forward_passes": 3,
        "draft_tokens": 0, "proposed": 8, "accepted": 8,
    }  # fmt: skip


def test_prompt_lookup_proposes_nothing_where_nothing_occurred_before():
    model = dl.TableModel(list("abcdef"), {"a": {"b": 1.0}, "b": {"c": 1.0}, "c": {"d": 1.0}}, bos="<s>", missing="eos")
    (g,) = dl.generate(model, "a", speculative("greedy", "ngram"))
    assert g.cost.proposed == 0
    assert g.cost.acceptance is None
    assert g.to_dict()["cost"]["acceptance"] is None


def test_an_adaptive_draft_grows_by_two_when_all_is_right_and_shrinks_by_one_else(endless, contrary):
    right, wrong = Counting(endless), Counting(endless)
    dl.generate(right, "a", speculative("greedy", endless, k=2, adaptive=True), max_new_tokens=60)  # pyright: ignore[reportArgumentType]
    assert [shape[1] - 1 for shape in right.extends] == [2, 4, 6, 8, 8, 8, 8, 7]  # within 4 k; the limit ends the last
    dl.generate(wrong, "a", speculative("greedy", contrary, k=3, adaptive=True), max_new_tokens=8)  # pyright: ignore[reportArgumentType]
    assert [shape[1] - 1 for shape in wrong.extends] == [3, 2, 1, 1, 1, 1, 0]


def test_what_samples_of_a_prompt_draft_is_prefilled_once(endless):
    found = dl.generate(endless, ["a b", "a b"], speculative("sample(n=3)", endless, k=2), max_new_tokens=1)
    assert [g.cost.draft_tokens for g in found] == [3, 0]
    assert [g.cost.prefill_tokens for g in found] == [3, 0]


# Ends


def test_eos_and_stops_inside_a_draft_end_a_row_where_they_would_alone(says):
    model = says("Hello", " wor", "ld", "! ", "Bye", ".")
    several: list[dict[str, Any]] = [
        {}, {"stop": ["wo"]}, {"stop": ["d! B"]}, {"stop_token_ids": [3]}, {"max_new_tokens": 2},
        {"min_new_tokens": 5, "stop": ["wo"]},
    ]  # fmt: skip
    for limits in several:
        plain = dl.generate(model, "", "greedy", **limits)[0]
        for k in (1, 2, 7):
            assert dl.generate(model, "", speculative("greedy", model, k=k), **limits)[0].candidates == plain.candidates


@pytest.mark.parametrize("k", [1, 3, 8])
def test_the_context_ends_a_row_where_it_would_alone(random_table, k):
    model = random_table(4, eos=0.01, context_length=9)
    prompts = [(6,), (6, 1, 2, 0), (6, 1, 2, 0, 3, 4, 1, 1)]
    plain = dl.generate(model, prompts, "sample(n=3)")
    found = dl.generate(model, prompts, speculative("sample(n=3)", model, k=k))
    assert [g.candidates for g in found] == [g.candidates for g in plain]


def test_a_draft_without_a_choice_left_proposes_nothing(endless):
    # Of the two words the one that is allowed is impossible for the draft.
    draft = dl.TableModel(["a", "b"], {...: {"a": 1.0}}, eos=None, bos="<s>")
    strategy = speculative("allow=b | sample(n=2)", draft)
    (g,) = dl.generate(endless, "a", strategy, max_new_tokens=4)
    assert [c.tokens for c in g.candidates] == [(1,) * 4] * 2
    assert g.cost.proposed == 0


# Observers, Ctrl-C, cancellation, faults


def test_steps_are_told_position_by_position_and_text_streams_whole(says):
    model = says("Once", " upon", " a", " time", ",")
    pieces: list[str] = []
    steps: list[Step] = []

    def watch(event: Event) -> None:
        if isinstance(event, Step):
            steps.append(event)

    stream = dl.TextStream(model.vocab, lambda _g, _s, text: pieces.append(text))
    (g,) = dl.generate(model, "", speculative("greedy", model, k=2), observers=[stream, watch])
    assert "".join(pieces) == g.best.text == "Once upon a time,"
    assert [int(step.positions[0]) for step in steps] == [0, 1, 2, 3, 4, 5]
    assert [int(step.tokens[0]) for step in steps] == list(g.best.tokens)
    assert [step.prefixes[0] for step in steps] == [g.best.tokens[:n] for n in range(6)]


@pytest.mark.parametrize("at", [0, 1, 4, 5, 7])
def test_ctrl_c_gives_back_what_was_checked(endless, at):
    def press(event: Event) -> None:
        if isinstance(event, Step) and int(event.positions[0]) == at:
            raise KeyboardInterrupt

    (g,) = dl.generate(endless, "a", speculative("greedy", endless, k=3), max_new_tokens=9, observers=[press])
    assert g.best.tokens == (0,) * at
    assert g.best.finish_reason == "interrupted"


def test_ctrl_c_among_rows_at_different_positions_keeps_all_of_them(model, draft):
    plain = dl.generate(model, "", "sample(n=20)", max_new_tokens=9)[0]
    seen = 0

    def press(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, Step)
        if seen == 6:
            raise KeyboardInterrupt

    (g,) = dl.generate(model, "", speculative("sample(n=20)", draft, k=3), max_new_tokens=9, observers=[press])
    assert sorted(c.sample for c in g.candidates) == list(range(20))
    for c in g.candidates:
        assert c.tokens == plain.candidates[c.sample].tokens[: len(c.tokens)]
        assert (c.finish_reason == "interrupted") == (c.tokens != plain.candidates[c.sample].tokens)
    assert len({len(c.tokens) for c in g.candidates if c.finish_reason == "interrupted"}) > 1


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_cancelled_job_leaves_no_rows_and_no_result(model, draft, steps):
    strategy = speculative("sample(n=3)", draft, k=2)
    engine = dl.Engine(model)
    kept = engine.submit((6, 1), strategy, max_new_tokens=30)
    gone = engine.submit((6,), strategy, max_new_tokens=30, min_new_tokens=30)
    other = engine.submit((6, 2), strategy, max_new_tokens=30)
    for _ in range(steps):
        assert not [done for done in engine.step() if done.index == gone]
    assert engine.cancel(gone)
    assert not engine.cancel(gone)
    assert engine.rows <= 6
    found = {done.index: done for done in engine.run() if isinstance(done, dl.Generation)}
    for index, prompt in ((kept, (6, 1)), (other, (6, 2))):
        if index in found:
            alone = dl.generate(model, [prompt], "sample(n=3)", max_new_tokens=30)[0]
            assert found[index].candidates == alone.candidates
    assert gone not in found
    assert not engine.busy


class Failing(Counting):
    """A model whose n-th extension runs out of memory."""

    at = 2

    def decode(self, cache, tokens):
        if len(self.extends) + 1 == self.at:
            self.extends.append(tuple(tokens.shape))
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")
        return super().decode(cache, tokens)


@pytest.mark.parametrize("who", ["model", "draft"])
def test_a_forward_pass_that_raises_fails_the_jobs_of_its_step_and_no_other(endless, contrary, who):
    model, draft = (Failing(endless), contrary) if who == "model" else (endless, Failing(contrary))
    engine = dl.Engine(model, max_rows=2)  # pyright: ignore[reportArgumentType]
    for _ in range(5):
        engine.submit("a", speculative("greedy", draft, k=2), max_new_tokens=4)
    done = list(engine.run())
    failed = [d for d in done if isinstance(d, dl.Failed)]
    assert [d.index for d in failed] == [0, 1]
    assert isinstance(failed[0].error, ForwardFailed)
    name = "table" if who == "model" else "contrary"
    assert f"{name}: the forward pass failed: CUDA out of memory. Tried to allocate 2 GiB" in str(failed[0].error)
    assert [d.best.tokens for d in done if isinstance(d, dl.Generation)] == [(0,) * 4] * 3
    assert engine.rows == 0


class NotANumber(Counting):
    """A model that forgets its numbers."""

    def decode(self, cache, tokens):
        logits, cache = super().decode(cache, tokens)
        return logits * math.nan, cache


def test_a_draft_that_returns_nan_is_named(endless, contrary):
    with pytest.raises(NonFiniteLogits, match="contrary returned NaN as logits for prompt 0 at new token 2"):
        dl.generate(endless, "a", speculative("greedy", NotANumber(contrary)))


def test_a_chain_that_removes_every_token_fails_only_its_own_jobs(endless):
    engine = dl.Engine(endless)
    for strategy in ("greedy", dl.Ban([0, 1, 2]) | dl.Greedy()):
        engine.submit("a", speculative(strategy, endless), max_new_tokens=3)
    done = {d.index: d for d in engine.run()}
    assert isinstance(done[0], dl.Generation)
    assert isinstance(done[1], dl.Failed)
    assert isinstance(done[1].error, EmptySupport)


# Runners


def test_runners_take_turns_and_none_starves(endless):
    engine = dl.Engine(endless, max_rows=1)
    plain, driven = "greedy", speculative("greedy", endless, k=2)
    for strategy in (plain, plain, plain, driven, driven, "mirostat | greedy"):
        engine.submit("a", strategy, max_new_tokens=4)
    order = [done.index for done in engine.run()]
    assert order == [3, 0, 4, 1, 2, 5]


def test_tree_speculative_and_plain_jobs_take_turns(says):
    model = says("a", "b", "c")
    engine = dl.Engine(model, max_rows=1)
    for _ in range(2):
        for strategy in ("greedy", "exact", speculative("greedy", model, k=2)):
            engine.submit((), strategy, max_new_tokens=6)
    found = {done.index: done for done in engine.run() if isinstance(done, dl.Generation)}
    assert sorted(list(found)[:3]) == [0, 1, 2]  # one of each before the second of any
    assert {g.best.text for g in found.values()} == {"abc"}


def test_a_runner_that_is_alone_admits_as_it_goes(endless):
    engine = dl.Engine(endless, max_rows=4)
    for new in (2, 9, 3, 4, 2):
        engine.submit("a", speculative("greedy", endless, k=1), max_new_tokens=new)
    assert len(list(engine.run())) == 5


def test_memory_bounds_the_runners_together(endless):
    each = 8 * (2 + 6)
    running: list[set[int]] = []

    def watch(event: Event) -> None:
        if isinstance(event, Step):
            running.append(set(event.generations.tolist()))

    engine = dl.Engine(endless, memory=3 * each, observers=[watch])
    for i in range(6):
        strategy = "greedy" if i % 2 else speculative("greedy", endless, k=1)
        engine.submit("a", strategy, max_new_tokens=6)
    assert len(list(engine.run())) == 6
    # A driven job takes the memory of two and a bit, for its draft has a cache too: one of them runs at a time.
    even = [jobs for jobs in running if any(i % 2 == 0 for i in jobs)]
    assert all(len(jobs) == 1 for jobs in even)
    # While rows of one runner run, none of another does.
    kinds = [i % 2 for jobs in running for i in jobs]
    ends = {i: max(at for at, jobs in enumerate(running) if i in jobs) for i in range(6)}
    begins = {i: min(at for at, jobs in enumerate(running) if i in jobs) for i in range(6)}
    assert set(kinds) == {0, 1}
    for i in range(0, 6, 2):
        for j in range(1, 6, 2):
            assert ends[i] < begins[j] or ends[j] < begins[i]


# Refusals


@pytest.mark.parametrize(
    ("strategy", "error", "match"),
    [
        ("beam(width=3) | speculative(draft=ngram)", UnsupportedStrategy, r"greedy and sample only, got beam"),
        ("greedy | speculative(draft=ngram) | speculative(draft=ngram)", StrategyError, "cannot come after spec"),
        ("speculative(draft=ngram) | greedy", StrategyError, "greedy .search. cannot come after speculative .driver."),
        ("greedy | speculative", InvalidParameter, "speculative needs draft"),
        ("greedy | speculative(draft='')", InvalidParameter, "draft must be a model or the name of one, or ngram"),
        ("greedy | speculative(draft=ngram, k=0)", InvalidParameter, r"k must be an integer in \[1, 256\], got 0"),
        ("greedy | speculative(draft=ngram, ngram=0)", InvalidParameter, "ngram must be an integer, at least 1, got 0"),
        ("greedy | speculative(draft=ngram, adaptive=2)", InvalidParameter, "adaptive must be one of true, false"),
        ("greedy | speculative(draft=pocket-mini)", ModelNotFound, "no shipped model and no directory 'pocket-mini'"),
        ("greedy | speculative(draft=pocket-nano)", VocabularyMismatch, "1024 tokens where table has 3"),
    ],
)  # fmt: skip
def test_what_cannot_be_driven_is_refused_in_one_line(endless, strategy, error, match):
    with pytest.raises(error, match=match) as caught:
        dl.generate(endless, "a", strategy, max_new_tokens=4)
    assert "\n" not in str(caught.value)


def test_a_draft_that_cannot_hold_the_text_is_refused(endless):
    small = dl.TableModel(["a", "b"], {...: {"a": 1.0}}, eos=None, bos="<s>", context_length=8)
    assert dl.generate(endless, "a", speculative("greedy", small), max_new_tokens=7)[0].best.tokens == (0,) * 7
    with pytest.raises(TooLarge, match="prompt 0 with 8 new tokens takes a context of 9, the draft of speculative"):
        dl.generate(endless, "a", speculative("greedy", small), max_new_tokens=8)


def test_a_job_that_can_never_fit_with_its_draft_is_refused(endless):
    engine = dl.Engine(endless, memory=1000)
    with pytest.raises(TooLarge, match="may need 1,600 bytes of cache, memory allows 1,000"):
        engine.submit("a", speculative("sample(n=10)", endless, k=2), max_new_tokens=6)
    assert not engine.busy


@dataclass(frozen=True)
class Remembering(Stage):
    """A processor whose state says which rows it has, and not how others may join them."""

    name: ClassVar[str] = "remembering"
    kind: ClassVar[Kind] = "processor"
    source: ClassVar[str] = "this test"

    def init(self, prompts, vocab, keys: Keys):
        return _Rows(list(range(len(prompts))))

    def apply(self, logits, state):
        return logits

    def update(self, state, logits, tokens):
        return state


class _Rows:
    def __init__(self, rows):
        self.rows = rows

    def __getitem__(self, rows):
        return _Rows([self.rows[i] for i in rows.tolist()])


def test_a_processor_whose_state_cannot_be_joined_is_refused_by_name(endless):
    strategy = dl.Strategy((Remembering(), dl.Greedy(), dl.Speculative("ngram")))
    with pytest.raises(UnsupportedStrategy, match=r"remembering cannot run under speculative.*its state has no join"):
        dl.generate(endless, "a", strategy, max_new_tokens=4)


@dataclass(frozen=True)
class Elsewhere(Stage):
    """A driver nobody here knows."""

    name: ClassVar[str] = "elsewhere"
    kind: ClassVar[Kind] = "driver"
    source: ClassVar[str] = "this test"


def test_a_driver_the_engine_does_not_know_is_refused_by_name(endless):
    with pytest.raises(UnsupportedStrategy, match="elsewhere: this engine does not support it"):
        dl.generate(endless, "a", dl.Strategy((dl.Greedy(), Elsewhere())))


# The stage


@pytest.mark.parametrize(
    "stage",
    [
        dl.Speculative("ngram"),
        dl.Speculative("pocket-nano", k=6, adaptive=True),
        dl.Speculative("./my model", 2),
        dl.Speculative("ngram", ngram=5),
    ],
)
def test_the_stage_is_pure_data(stage):
    check_stage(replace(stage))
    strategy = dl.Strategy((dl.TopP(0.9), dl.Sample(4), stage))
    assert dl.parse(str(strategy)) == strategy
    assert dl.Strategy.from_yaml(strategy.to_yaml()) == strategy
    assert dl.Strategy.of(strategy.to_json()) == strategy
    assert strategy.driver == stage


def test_a_model_given_as_a_draft_is_shown_by_its_kind(endless):
    assert str(speculative("greedy", endless)) == 'greedy | speculative(draft="<TableModel>")'
