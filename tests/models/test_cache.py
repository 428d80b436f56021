"""The key/value cache: rows are forked, dropped, cut back and joined without a trace in what the model says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decodelab.core.protocols import PAD
from decodelab.models import TransformersModel

TOKENS = st.integers(0, 61)
PROMPT = st.lists(TOKENS, min_size=1, max_size=7).map(tuple)


@pytest.fixture(scope="module")
def model(build) -> TransformersModel:
    return build("qwen3", head_dim=8)


def logits_after(model, tokens):
    with torch.no_grad():
        return model.model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]


def assert_holds(model, cache, rows):
    """The cache holds exactly these rows: the next token's logits are those of the rows spelled out."""
    assert list(cache.lengths) == [len(row) for row in rows]
    token = 5
    logits, cache = model.decode(cache, torch.full((len(rows), 1), token))
    expected = torch.stack([logits_after(model, (*row, token)) for row in rows])
    torch.testing.assert_close(logits[:, 0], expected, atol=1e-4, rtol=1e-4)
    return cache, [(*row, token) for row in rows]


@st.composite
def operations(draw):
    """A life of a cache: what is done to it, in order; numbers are taken modulo what fits."""
    kinds = st.sampled_from(["extend", "extend by different numbers", "select", "rewind", "join"])
    return [
        (draw(kinds), draw(st.lists(st.integers(0, 99), min_size=1, max_size=4)))
        for _ in range(draw(st.integers(1, 6)))
    ]


@settings(max_examples=40)
@given(st.lists(PROMPT, min_size=1, max_size=3), operations())
def test_any_sequence_of_operations_leaves_the_rows_one_expects(model, prompts, steps):
    rows = list(prompts)
    _, cache = model.prefill(rows)
    for kind, numbers in steps:
        if kind == "extend":
            new = torch.tensor([[n % 62 for n in numbers]] * len(rows))
            _, cache = model.decode(cache, new)
            rows = [row + tuple(new[0].tolist()) for row in rows]
        elif kind == "extend by different numbers":
            new = [tuple(n % 62 for n in numbers[: 1 + (i + numbers[0]) % len(numbers)]) for i in range(len(rows))]
            wide = torch.tensor([(*tokens, *[PAD] * (len(numbers) - len(tokens))) for tokens in new])
            _, cache = model.decode(cache, wide)
            rows = [row + tokens for row, tokens in zip(rows, new, strict=True)]
            cache = cache.rewind([len(row) for row in rows])
        elif kind == "select":
            index = [n % len(rows) for n in numbers]
            cache, rows = cache.select(torch.tensor(index)), [rows[i] for i in index]
        elif kind == "rewind":
            kept = [max(1, len(row) - numbers[i % len(numbers)] % 5) for i, row in enumerate(rows)]
            cache, rows = cache.rewind(kept), [row[:n] for row, n in zip(rows, kept, strict=True)]
        elif len(rows) < 8:
            added = [tuple(n % 62 for n in numbers)]
            _, other = model.prefill(added)
            cache, rows = cache.join(other), rows + added
    assert_holds(model, cache, rows)


def test_rows_outlive_many_growths_of_the_buffers(model):
    rows = [(1, 2, 3), (4,)]
    _, cache = model.prefill(rows)
    for step in range(100):
        _, cache = model.decode(cache, torch.tensor([[step % 60], [(7 * step) % 60]]))
        rows = [(*rows[0], step % 60), (*rows[1], (7 * step) % 60)]
    assert_holds(model, cache, rows)


def test_memory_grows_with_tokens_and_shrinks_with_rows(model):
    heads, size, layers, numbers = 2, 8, 3, 2  # keys and values
    token = heads * size * layers * numbers * 4
    _, cache = model.prefill([tuple(range(50))] * 4)
    assert 4 * 50 * token <= cache.nbytes <= 2 * 4 * 50 * token
    before = cache.nbytes
    cache = cache.select(torch.tensor([0]))
    assert cache.nbytes <= before / 4


def test_padding_that_no_row_needs_any_more_is_dropped(model):
    _, cache = model.prefill([tuple(range(60)), (1, 2)])
    cache = cache.select(torch.tensor([1]))
    assert cache.length == 2
    assert_holds(model, cache, [(1, 2)])


def test_selecting_all_rows_in_order_copies_nothing(model):
    _, cache = model.prefill([(1, 2), (3,)])
    buffer = cache.growing[0].key_buffer
    assert cache.select(torch.tensor([0, 1])).growing[0].key_buffer is buffer


@pytest.mark.parametrize("lengths", [[3], [3, 3], [0, 1], [-1, 1]])
def test_a_rewind_to_more_than_there_is_or_to_nothing_is_refused(model, lengths):
    _, cache = model.prefill([(1, 2), (3,)])
    with pytest.raises(ValueError, match="rewind: lengths must be in"):
        cache.rewind(lengths)
