"""A prompt is begun from what is remembered of another: the same logits, the same tokens, fewer of them computed."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.models import TransformersModel

HEADS_OF_8 = {"head_dim": 8}
WINDOW = {"sliding_window": 5}
ARCHITECTURES = {
    "llama": {},
    "qwen3": HEADS_OF_8,
    "gemma": HEADS_OF_8,
    "gemma2": {**HEADS_OF_8, **WINDOW, "query_pre_attn_scalar": 8},
    "gemma3_text": {**HEADS_OF_8, **WINDOW, "query_pre_attn_scalar": 8, "num_hidden_layers": 7},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128},
    "mistral": WINDOW,
    "bloom": {"n_layer": 3, "n_head": 4},  # rows that are forked copy their past
}
HEADER = tuple(7 * i % 60 for i in range(40))
PROMPTS = [(*HEADER, 5, 6, 7), (*HEADER, 8), (*HEADER[:30], 1, 2, 3, 4, 5, 6, 7, 8), (9, 9, 9)]
STRATEGIES = ["greedy", "beam(width=3, n=3)"]


class Forgetful:
    """The same model, which computes every prompt whole."""

    def __init__(self, model: TransformersModel) -> None:
        self.model = model

    def __getattr__(self, name: str):
        if name in ("load_prefix", "store_prefix"):
            raise AttributeError(name)
        return getattr(self.model, name)


@pytest.mark.filterwarnings("ignore::decodelab.core.notices.PlainCacheWarning")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_prompts_that_begin_alike_say_what_each_says_alone(build, name):
    model = build(name, **ARCHITECTURES[name])
    for strategy in STRATEGIES:
        mine = dl.generate(model, PROMPTS, strategy, max_new_tokens=10)
        theirs = [dl.generate(Forgetful(model), p, strategy, max_new_tokens=10)[0] for p in PROMPTS]  # pyright: ignore[reportArgumentType]
        assert sum(g.cost.prefill_tokens for g in mine) < sum(g.cost.prefill_tokens for g in theirs) - 50
        for a, b in zip(mine, theirs, strict=True):
            assert [c.tokens for c in a.candidates] == [c.tokens for c in b.candidates]
            for c, d in zip(a.candidates, b.candidates, strict=True):
                assert c.token_logprobs == pytest.approx(d.token_logprobs, abs=1e-4)


@pytest.fixture(scope="module")
def model(build) -> TransformersModel:
    return build("qwen3", head_dim=8)


@settings(max_examples=30)
@given(
    cuts=st.lists(st.integers(1, 11), min_size=1, max_size=3).map(sorted),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    count=st.integers(1, 3),
)
def test_segments_of_any_lengths_put_together_are_the_sequence(model, cuts, lengths, count):
    sequence = tuple(7 * i % 60 for i in range(12))
    # The row lies behind padding.
    _, cache = model.prefill([(1,) * 15, sequence])
    places = [0, *dict.fromkeys(cuts), 12]
    segments = [model.store_prefix(cache, 1, a, b) for a, b in pairwise(places)]
    tokens = torch.arange(len(lengths) * count).view(len(lengths), count)
    logits, resumed = model.load_prefix([segments] * len(lengths), lengths, tokens)
    assert list(resumed.lengths) == [n + count for n in lengths]
    wholes = [(*sequence[:n], *new) for n, new in zip(lengths, tokens.tolist(), strict=True)]
    for row, whole in enumerate(wholes):
        torch.testing.assert_close(logits[row], model.prefill([whole])[0][0], atol=1e-4, rtol=1e-4)
    # What came of it goes on as any other cache.
    logits, _ = model.decode(resumed, torch.full((len(lengths), 1), 3))
    for row, whole in enumerate(wholes):
        torch.testing.assert_close(logits[row, 0], model.prefill([(*whole, 3)])[0][0], atol=1e-4, rtol=1e-4)


def test_a_segment_is_split_into_copies(model):
    _, cache = model.prefill([HEADER])
    segment = model.store_prefix(cache, 0, 0, 40)
    head, tail = segment.split(15)
    assert head.nbytes + tail.nbytes == segment.nbytes == 40 * 2 * 8 * 3 * 2 * 4
    both, _ = model.load_prefix([[head, tail]], [40], torch.tensor([[1]]))
    one, _ = model.load_prefix([[segment]], [40], torch.tensor([[1]]))
    assert torch.equal(both, one)


def test_what_rows_begin_with_is_held_once_where_it_pays(model, monkeypatch):
    monkeypatch.setattr("decodelab.models.cache.SHARED_FROM", 3 * 40)
    _, cache = model.prefill([HEADER])
    header = model.store_prefix(cache, 0, 0, 40)
    three, four = (model.load_prefix([[header]] * n, [40] * n, torch.arange(n)[:, None])[1] for n in (3, 4))
    assert (three.headed, four.headed) == (False, True)
    assert four.nbytes < three.nbytes
    # Two batches with one header still hold it once.
    again = model.load_prefix([[header]] * 4, [40] * 4, torch.arange(4)[:, None])[1]
    assert four.join(again).blocks == [header.prefixes]


@settings(max_examples=30, deadline=None)
@given(
    tails=st.lists(st.lists(st.integers(0, 61), min_size=1, max_size=4), min_size=2, max_size=3),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["extend", "select", "fork", "rewind", "join", "join alike", "remember"]), st.integers(0, 9)
        ),
        max_size=5,
    ),
)
def test_rows_with_a_common_beginning_live_as_any_others(model, tails, steps):
    header = HEADER[:9]
    _, one = model.prefill([header])
    segment = model.store_prefix(one, 0, 0, 9)
    count = min(map(len, tails))

    def resumed():
        rows = [(*header, *tail[-count:]) for tail in tails]
        tokens = torch.tensor([tail[-count:] for tail in tails])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("decodelab.models.cache.SHARED_FROM", 1)
            return rows, model.load_prefix([[segment]] * len(rows), [9] * len(rows), tokens)[1]

    rows, cache = resumed()
    assert cache.headed
    for kind, number in [*steps, ("extend", 0)]:
        if kind == "extend":
            new = [(5 + number + 3 * i) % 60 for i in range(len(rows))]
            logits, cache = model.decode(cache, torch.tensor(new)[:, None])
            rows = [(*row, token) for row, token in zip(rows, new, strict=True)]
            for got, row in zip(logits[:, 0], rows, strict=True):
                torch.testing.assert_close(got, model.prefill([row])[0][0], atol=1e-4, rtol=1e-4)
        elif kind in ("select", "fork"):
            order = [(number + i * i) % len(rows) for i in range(1 + number % 4)]
            cache = cache.select(torch.tensor(order)) if kind == "select" else cache.fork(torch.tensor(order))
            rows = [rows[i] for i in order]
        elif kind == "rewind":
            rows = [row[: max(1, len(row) - number * (i + 1))] for i, row in enumerate(rows)]
            cache = cache.rewind([len(row) for row in rows])
        elif kind == "remember":
            row = number % len(rows)
            kept = model.store_prefix(cache, row, number % len(rows[row]), len(rows[row]))
            assert len(kept) == len(rows[row]) - number % len(rows[row])
            if number % len(rows[row]) == 0:
                logits, _ = model.load_prefix([[kept]], [len(rows[row])], torch.tensor([[7]]))
                torch.testing.assert_close(logits[0], model.prefill([(*rows[row], 7)])[0][0], atol=1e-4, rtol=1e-4)
        else:
            others, other = resumed() if kind == "join alike" else ([(3, 4, 5)], model.prefill([(3, 4, 5)])[1])
            cache, rows = cache.join(other), [*rows, *others]
        assert list(cache.lengths) == [len(row) for row in rows]


@pytest.mark.filterwarnings("ignore::decodelab.core.notices.PlainCacheWarning")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_strategy_says_the_same_where_the_beginning_is_shared(build, name, monkeypatch):
    model = build(name, **ARCHITECTURES[name])
    prompts = [(*HEADER, 1, 2, 3), (*HEADER, 4), (*HEADER, 5, 6)]
    for strategy in ("greedy", "beam(width=3, n=3)", "sample(n=2)"):
        theirs = [dl.generate(Forgetful(model), p, strategy, max_new_tokens=6, seed=5)[0] for p in prompts]  # pyright: ignore[reportArgumentType]
        with monkeypatch.context() as patch:
            patch.setattr("decodelab.models.cache.SHARED_FROM", 1)
            mine = dl.generate(model, prompts, strategy, max_new_tokens=6, seed=5)
        for a, b in zip(mine, theirs, strict=True):
            assert [c.tokens for c in a.candidates] == [c.tokens for c in b.candidates]
