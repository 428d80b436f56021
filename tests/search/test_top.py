"""The k largest, ties by lowest index."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from decodelab.search._top import top_ids

rows = st.integers(1, 12).flatmap(
    lambda n: st.lists(
        st.lists(st.sampled_from([-float("inf"), 0.0, 1.0]) | st.floats(-9, 9, width=32), min_size=n, max_size=n),
        min_size=1,
        max_size=4,
    )
)


@given(rows, st.data())
def test_the_k_largest_are_those_of_a_stable_sort(values, data):
    k = data.draw(st.integers(1, len(values[0])))
    expected = [sorted(sorted(range(len(v)), key=lambda i: (-v[i], i))[:k]) for v in values]
    assert top_ids(torch.tensor(values), k).tolist() == expected


@given(st.integers(0, 2**32), st.integers(1, 300), st.sampled_from(["spread", "few values", "mostly impossible"]))
def test_so_they_are_of_a_large_vocabulary(seed, k, kind):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, 5000, generator=generator)
    if kind == "few values":
        values = values.round()
    elif kind == "mostly impossible":
        values = values.masked_fill(values < 2, -torch.inf)
    expected = values.sort(dim=-1, descending=True, stable=True).indices[:, :k].sort(dim=-1).values
    assert torch.equal(top_ids(values, k), expected)
