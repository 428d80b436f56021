"""A fork of a cache goes its own way and leaves the cache it came from as it was."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.notices import PlainCacheWarning
from decodelab.core.protocols import Forkable
from decodelab.models import TransformersModel

TOKENS = st.integers(0, 61)
PROMPT = st.lists(TOKENS, min_size=1, max_size=7).map(tuple)


@pytest.fixture(scope="module", params=["qwen3", "gemma2"])
def model(request, build) -> TransformersModel:
    return build(request.param, head_dim=8)


def logits_after(model, tokens):
    with torch.no_grad():
        return model.model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]


def grown(model, cache, rows, tokens):
    """The cache and rows with one more token each, the logits compared with those of the rows spelled out."""
    logits, cache = model.decode(cache, torch.tensor(tokens)[:, None])
    rows = [(*row, token) for row, token in zip(rows, tokens, strict=True)]
    expected = torch.stack([logits_after(model, row) for row in rows])
    torch.testing.assert_close(logits[:, 0], expected, atol=1e-4, rtol=1e-4)
    assert list(cache.lengths) == [len(row) for row in rows]
    return cache, rows


@settings(max_examples=15)
@given(prompt=PROMPT, picks=st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=3), min_size=1, max_size=6))
def test_forks_of_forks_joined_in_any_order_hold_what_their_rows_hold(model, prompt, picks):
    _, root = model.prefill([prompt])
    kept = [(root, [prompt])]
    for numbers in picks:
        part, rows = None, []
        for number in numbers:
            cache, held = kept[number % len(kept)]
            row = number % len(held)
            fork = cache.fork(torch.tensor([row]))
            part = fork if part is None else part.join(fork)
            rows.append(held[row])
        part, rows = grown(model, part, rows, [number % 62 for number in numbers])
        kept.append((part, rows))
    for cache, rows in kept[:-1]:
        if len(rows) == 1:  # every cache that was forked goes on as if it had not been
            grown(model, cache, rows, [7])


def test_the_prompt_is_not_copied_for_forks(build):
    model = build("llama")
    _, root = model.prefill([tuple(range(40))])
    forks = [root.fork(torch.tensor([0])) for _ in range(3)]
    joined = forks[0].join(forks[1]).join(forks[2])
    assert len(joined.blocks) == 1
    assert joined.blocks[0] is root.blocks[0]


def test_a_model_that_cannot_share_prefixes_copies_them_and_says_so(build):
    model = build("llama")
    model._unshared = "it copies"
    _, root = model.prefill([(1, 2, 3)])
    with pytest.warns(PlainCacheWarning, match="it copies"):
        fork = root.fork(torch.tensor([0, 0]))
    grown(model, fork, [(1, 2, 3)] * 2, [4, 5])
    grown(model, root, [(1, 2, 3)], [6])


def test_a_table_forks_too():
    model = dl.TableModel(["a"], {...: {"a": 1.0}})
    _, cache = model.prefill([(0,)])
    assert isinstance(cache, Forkable)
    fork = cache.fork(torch.tensor([0, 0]))
    model.decode(fork, torch.tensor([[0], [0]]))
    assert list(cache.lengths) == [1]
