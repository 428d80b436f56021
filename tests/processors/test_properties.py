"""What holds for every processor, every parameter and every distribution (hypothesis)."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decodelab import (
    DynamicTemperature,
    EpsilonCutoff,
    EtaCutoff,
    MinK,
    MinP,
    PLess,
    RankParity,
    TailFree,
    Temperature,
    TopA,
    TopH,
    TopK,
    TopNSigma,
    TopP,
    TypicalP,
)
from decodelab.core.stage import StatelessProcessor

fraction = st.floats(0, 1, exclude_min=True) | st.sampled_from([1e-300, 1e-9, 0.5, 1 - 2**-53, 1.0])
inner = st.floats(0, 1, exclude_min=True, exclude_max=True) | st.sampled_from([1e-300, 1e-9, 0.5, 1 - 2**-53])
temperature = st.floats(0, 1e30) | st.sampled_from([0.0, 5e-324, 1e-300, 1e-30, 1.0, 1e30, 1e300])
processors: dict[str, st.SearchStrategy[StatelessProcessor]] = {
    "temperature": temperature.map(Temperature),
    "top_k": st.integers(1, 2**63 - 1).map(TopK) | st.integers(1, 12).map(TopK),
    "top_p": fraction.map(TopP),
    "min_p": fraction.map(MinP),
    "typical_p": fraction.map(TypicalP),
    "epsilon_cutoff": inner.map(EpsilonCutoff),
    "eta_cutoff": inner.map(EtaCutoff),
    "top_n_sigma": (st.floats(0, 6, exclude_min=True) | st.sampled_from([5e-324, 1e300])).map(TopNSigma),
    "min_k": (st.floats(0, 40) | st.sampled_from([5e-324, 1e300])).map(MinK),
    "top_a": fraction.map(TopA),
    "top_h": fraction.map(TopH),
    "tfs_z": fraction.map(TailFree),
    "p_less": st.just(PLess()),
    "rank_parity": st.sampled_from(["odd", "even"]).map(RankParity),
    "dynamic_temperature": st.builds(DynamicTemperature, st.floats(0, 1e30), st.floats(0, 9), st.floats(0, 1e30)),
}
REVERSED = ("min_p", "epsilon_cutoff", "eta_cutoff", "top_a")  # a larger value keeps less
MONOTONE = ("top_k", "top_p", "typical_p", "top_n_sigma", "min_k", "top_h", "tfs_z", *REVERSED)
number = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.floats(-5, 5, width=32)


@st.composite
def batches(draw: st.DrawFn) -> torch.Tensor:
    """Logits [rows, vocab] of any size: tied, extreme, with tokens removed; each row has a finite one."""
    rows, size = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    value = draw(st.sampled_from([number, st.sampled_from([0.0, 1.0]), st.floats(-(2**-10), 2**-10, width=32)]))
    values = [[draw(value | st.just(-float("inf"))) for _ in range(size)] for _ in range(rows)]
    for row in values:
        if all(v == -float("inf") for v in row):
            row[draw(st.integers(0, size - 1))] = draw(number)
    return torch.tensor(values)


some = settings(max_examples=40)  # of each property, for each of fourteen processors
each = pytest.mark.parametrize("name", processors)


@each
@some
@given(data=st.data(), logits=batches())
def test_what_comes_out_is_a_distribution_over_what_went_in(name, data, logits):
    processor = data.draw(processors[name])
    given_logits = logits.clone()
    after = processor.apply(logits, None)
    assert torch.equal(logits, given_logits)
    assert after.shape == logits.shape
    assert after.dtype == torch.float32
    assert not after.isnan().any()
    assert not (after == torch.inf).any()
    assert (after[logits == -torch.inf] == -torch.inf).all()
    assert after.isfinite().any(-1).all()
    assert after.softmax(-1).sum(-1).tolist() == pytest.approx([1.0] * len(logits), abs=1e-5)


@pytest.mark.parametrize("name", [n for n in processors if n not in ("typical_p", "rank_parity")])
@some
@given(data=st.data(), logits=batches())
def test_the_most_probable_token_stays_the_most_probable(name, data, logits):
    processor = data.draw(processors[name])
    assert processor.keeps_argmax
    after = processor.apply(logits, None)
    best = logits.argmax(-1, keepdim=True)
    assert (after.gather(-1, best) == after.amax(-1, keepdim=True)).all()


@each
@some
@given(data=st.data(), logits=batches())
def test_the_order_of_rows_does_not_matter(name, data, logits):
    processor = data.draw(processors[name])
    order = torch.tensor(data.draw(st.permutations(range(len(logits)))))
    assert torch.equal(processor.apply(logits[order], None), processor.apply(logits, None)[order])


@pytest.mark.parametrize("name", MONOTONE)
@some
@given(data=st.data(), logits=batches())
def test_a_looser_parameter_keeps_all_that_a_tighter_one_keeps(name, data, logits):
    a, b = data.draw(processors[name]), data.draw(processors[name])
    value = a.parameters()[0].name
    tight, loose = sorted((a, b), key=lambda s: getattr(s, value), reverse=name in REVERSED)
    kept_tight, kept_loose = (s.apply(logits, None).isfinite() for s in (tight, loose))
    assert (kept_loose | ~kept_tight).all()


@pytest.mark.parametrize("name", [*MONOTONE, "p_less", "rank_parity"])
@some
@given(data=st.data(), logits=batches())
def test_a_truncation_leaves_the_logits_it_keeps_as_they_are(name, data, logits):
    after = data.draw(processors[name]).apply(logits, None)
    kept = after.isfinite()
    assert torch.equal(after[kept], logits[kept])


@pytest.mark.parametrize("name", ["top_k", "min_p", "epsilon_cutoff"])
@some
@given(data=st.data(), logits=batches())
def test_a_cut_off_that_is_not_on_mass_does_the_same_twice_as_once(name, data, logits):
    processor = data.draw(processors[name])
    once = processor.apply(logits, None)
    assert torch.equal(processor.apply(once, None), once)


@each
@some
@given(data=st.data(), logits=batches(), gone=st.integers(1, 6))
def test_tokens_that_were_removed_before_do_not_count(name, data, logits, gone):
    processor = data.draw(processors[name])
    # Removed tokens between the others, so that ids keep their order.
    size = logits.shape[1] + gone
    places = torch.tensor(sorted(data.draw(st.permutations(range(size)))[: logits.shape[1]]))
    wide = torch.full((len(logits), size), -torch.inf).index_copy(1, places, logits)
    got, expected = processor.apply(wide, None)[:, places], processor.apply(logits, None)
    assert torch.equal(got.isfinite(), expected.isfinite())
    assert got.softmax(-1).flatten().tolist() == pytest.approx(expected.softmax(-1).flatten().tolist(), abs=1e-6)


@some
@given(batches(), st.floats(0.2, 5), st.floats(0.1, 4))
def test_temperature_before_top_n_sigma_changes_nothing_about_which_tokens_stay(logits, temperature, n):
    # Logits of a power of two, so that dividing by one rounds nothing.
    # (Subnormal logits and those that overflow aside.)
    logits = torch.where(logits.abs() < 1e-30, 0.0, logits).clamp(max=1e37)
    logits = torch.where(logits < -1e37, -torch.inf, logits)
    scaled = Temperature(2.0 ** round(math.log2(temperature))).apply(logits, None)
    alone = TopNSigma(n).apply(logits - logits.amax(-1, keepdim=True), None)
    assert torch.equal(TopNSigma(n).apply(scaled, None).isfinite(), alone.isfinite())


@each
@some
@given(data=st.data(), logit=number)
def test_a_vocabulary_of_one_token_is_left_with_it(name, data, logit):
    after = data.draw(processors[name]).apply(torch.tensor([[logit]]), None)
    assert after.isfinite().all()


@some
@given(batches())
def test_temperature_0_and_the_smallest_temperature_agree_where_there_is_one_best(logits):
    best = (logits == logits.amax(-1, keepdim=True)).sum(-1) == 1
    zero, tiny = Temperature(0.0).apply(logits, None), Temperature(1e-300).apply(logits, None)
    assert torch.equal(zero.softmax(-1)[best], tiny.softmax(-1)[best])


@some
@given(batches())
def test_top_k_1_top_p_0_and_min_p_1_keep_the_largest_alone(logits):
    largest = logits == logits.amax(-1, keepdim=True)
    assert torch.equal(TopK(1).apply(logits, None).isfinite(), largest)
    assert torch.equal(MinP(1.0).apply(logits, None).isfinite(), largest)
    first = torch.zeros_like(largest).scatter_(-1, logits.argmax(-1, keepdim=True), True)
    assert torch.equal(TopP(1e-300).apply(logits, None).isfinite(), first)
