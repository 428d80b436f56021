"""The compiled chain gives what the processors give one by one, and the compiled draw what the reference draws."""

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab import MinP, Temperature, TopK, TopP, TypicalP
from decodelab.core.errors import NonFiniteLogits
from decodelab.core.key import Keys
from decodelab.kernels.fused import LARGE, Fused, apply_fused, draw, fused_form, log_normaliser, suits
from decodelab.processors.dynamic_temperature import DynamicTemperature
from decodelab.processors.epsilon_cutoff import EpsilonCutoff
from decodelab.processors.eta_cutoff import EtaCutoff
from decodelab.processors.mirostat import Controller, Mirostat
from decodelab.processors.p_less import PLess
from decodelab.processors.top_a import TopA
from decodelab.processors.top_h import TopH
from decodelab.processors.top_n_sigma import TopNSigma
from decodelab.processors.xtc import XTC, Coins

QWEN = 151_936
NUDGE = 1e-9
"""A set may be that of a parameter this much larger or smaller: then the decision hung on the last digits."""

fraction = st.floats(0.001, 0.999) | st.sampled_from([1e-300, 1e-9, 0.5, 0.9, 0.95, 1 - 2**-53, 1.0])
open_fraction = st.floats(1e-6, 0.9)
STAGES: dict[str, st.SearchStrategy[Any]] = {
    "temperature": (st.floats(0.05, 20) | st.sampled_from([0.0, 1e-300, 1e-30, 1.0, 1e30, 1e300])).map(Temperature),
    "top_k": (st.integers(1, 60) | st.sampled_from([1, 100, 2**62])).map(TopK),
    "top_p": fraction.map(TopP),
    "min_p": fraction.map(MinP),
    "typical_p": fraction.map(TypicalP),
    "epsilon_cutoff": open_fraction.map(EpsilonCutoff),
    "eta_cutoff": open_fraction.map(EtaCutoff),
    "top_n_sigma": st.floats(0.1, 4).map(TopNSigma),
    "top_a": open_fraction.map(TopA),
    "p_less": st.just(PLess()),
    "top_h": st.builds(TopH, st.floats(0.05, 1), st.sampled_from([1, 5, 100])),
    "dynamic_temperature": st.builds(DynamicTemperature, st.floats(0, 2), st.floats(0.1, 3), st.floats(0.1, 2)),
}


@st.composite
def rows(draw: st.DrawFn, least: int = 1, most: int = 5_000) -> torch.Tensor:
    """Logits [rows, vocab] of many kinds, each row of its own kind; every row has a finite one."""
    edges = [n for n in (1, 2, 63, 64, 65, 128, 129, LARGE) if least <= n <= most]
    size = draw(st.integers(least, most) | st.sampled_from(edges))
    made = []
    for kind in draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3)):
        generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
        made.append(logits_of(kind, size, generator))
    return torch.stack(made)


def zipf(size: int, g: torch.Generator) -> torch.Tensor:
    return -1.2 * (1.0 + torch.randperm(size, generator=g)).log() + 0.3 * torch.randn(size, generator=g)


KINDS: dict[str, Any] = {
    "random": lambda n, g: 3 * torch.randn(n, generator=g),
    "natural": zipf,
    "flat": lambda n, g: 1e-3 * torch.randn(n, generator=g),
    "constant": lambda n, g: torch.full((n,), -7.25),
    "peaked": lambda n, g: torch.randn(n, generator=g).scatter(0, torch.randint(n, (1,), generator=g), 60.0),
    "two values": lambda n, g: torch.randint(2, (n,), generator=g).float(),
    "tied": lambda n, g: (2 * torch.randn(n, generator=g)).round(),
    "bfloat16": lambda n, g: (3 * torch.randn(n, generator=g)).bfloat16().float(),
    "shifted": lambda n, g: torch.randn(n, generator=g) - 1e4,
    "tied and huge": lambda n, g: 1e17 * torch.randint(2, (n,), generator=g).float(),
    "near the largest": lambda n, g: 3e38 * (2 * torch.rand(n, generator=g) - 1),
    "extreme": lambda n, g: torch.randn(n, generator=g) * 1e37,
    "tiny": lambda n, g: torch.randn(n, generator=g) * 1e-30,
    "neighbours": lambda n, g: 1.0 + torch.randint(8, (n,), generator=g) * 2.0**-23,
    "sparse": lambda n, g: torch.randn(n, generator=g).masked_fill(torch.rand(n, generator=g) < 0.97, -torch.inf),
    "one left": lambda n, g: torch.full((n,), -torch.inf),
}


def logits_of(kind: str, size: int, generator: torch.Generator) -> torch.Tensor:
    logits = KINDS[kind](size, generator)
    if not logits.isfinite().any():
        logits[int(torch.randint(size, (1,), generator=generator))] = 0.5
    return logits


def nudged(stage: Any, by: float) -> Any:
    """The stage with its first parameter a hair larger or smaller."""
    parameters = {p.name: getattr(stage, p.name) for p in stage.parameters()}
    name = next(iter(parameters), None)
    if name is None or isinstance(parameters[name], int):
        return stage
    return type(stage)(**{**parameters, name: min(parameters[name] * (1 + by), 1e308 if name != "p" else 1.0)})


def agrees(after: torch.Tensor, stage: Any, logits: torch.Tensor, state: Any = None) -> bool:
    """Whether every row is what the reference gives for the stage, or for one a hair away."""
    ways = [stage.apply(logits, state)]
    kept = after.isfinite()
    if not torch.equal(kept, ways[0].isfinite()):
        ways += [nudged(stage, by).apply(logits, state) for by in (-NUDGE, NUDGE)]
    right = torch.zeros(len(logits), dtype=torch.bool)
    for way in ways:
        same = (kept == way.isfinite()).all(-1)
        close = ((after - way).nan_to_num(0.0, 0.0, 0.0).abs() <= 1e-6 * way.nan_to_num(0.0, 0.0, 0.0).abs()).all(-1)
        right |= same & close
    return bool(right.all())


@pytest.mark.parametrize("name", STAGES)
@settings(max_examples=60)
@given(data=st.data(), logits=rows())
def test_a_stage_gives_what_the_reference_gives(name, data, logits):
    stage = data.draw(STAGES[name])
    before = logits.clone()
    after = apply_fused(logits, [stage.fused(None)])
    assert torch.equal(logits, before)
    assert agrees(after, stage, logits)


@settings(max_examples=100)
@given(data=st.data(), logits=rows())
def test_a_chain_gives_what_its_stages_give_one_after_the_other(data, logits):
    names = data.draw(st.lists(st.sampled_from(sorted(STAGES)), min_size=2, max_size=5))
    stages = [data.draw(STAGES[name]) for name in names]
    forms: list[Fused] = []
    for stage in stages:
        before = apply_fused(logits, forms)
        forms.append(stage.fused(None))
        assert agrees(apply_fused(logits, forms), stage, before)


@settings(max_examples=60)
@given(mu=st.floats(-1, 12), version=st.sampled_from([1, 2]), logits=rows())
def test_mirostat_gives_what_the_reference_gives(mu, version, logits):
    stage = Mirostat(version=version)
    state = Controller(torch.full((len(logits),), mu, dtype=torch.float64))
    after = apply_fused(logits, [stage.fused(state)])
    same = (after.isfinite() == stage.apply(logits, state).isfinite()).all(-1)
    if not same.all():
        assert same.all() or any(
            torch.equal(after.isfinite(), stage.apply(logits, Controller(state.mu + by)).isfinite())
            for by in (-NUDGE, NUDGE)
        )


@settings(max_examples=60)
@given(threshold=st.floats(0, 0.5), logits=rows())
def test_xtc_gives_what_the_reference_gives(threshold, logits):
    stage = XTC(0.5, threshold)
    keys = Keys.of(0, [1], range(len(logits)))
    state = Coins(keys, torch.arange(len(logits)))
    after, reference = apply_fused(logits, [stage.fused(state)]), stage.apply(logits, state)
    assert torch.equal(after, reference)


@pytest.mark.parametrize("size", [10, 100, 4_097, 5_000, 6_000, 50_000])
@pytest.mark.parametrize("tenths", [1, 3, 5, 7, 9])
def test_of_equal_tokens_top_p_keeps_just_its_share(size, tenths):
    stage, logits = TopP(tenths / 10), torch.full((1, size), 2.5)
    kept = [
        out.isfinite().sum().item() for out in (stage.apply(logits, None), apply_fused(logits, [stage.fused(None)]))
    ]
    assert kept == 2 * [-(-size * tenths // 10)]


@pytest.mark.parametrize("level", [0.0, 1e9, 1e17, 3e38, -1e17])
@pytest.mark.parametrize(("threshold", "left"), [(0.1, 1), (0.2, 1), (0.3, 5)])
def test_xtc_does_not_lose_its_threshold_beside_huge_logits(level, threshold, left):
    stage, state = XTC(1.0, threshold), Coins(Keys.of(0, [1], [0]), torch.tensor([0]))
    logits = torch.full((1, 5), level)
    reference = stage.apply(logits, state)
    assert torch.equal(apply_fused(logits, [stage.fused(state)]), reference)
    assert reference.isfinite().sum() == left


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 0.5, 0.9, 3.0, 1e30])
@pytest.mark.parametrize(
    "logits", [[1.7e38, 0.0, -1.7e38], [3e38, -3e38, 0.0], [-3e38, -3e38, -1e38], [1.0, 0.0, -1e38]]
)
def test_no_temperature_removes_a_token_whose_logit_is_finite(temperature, logits):
    given = torch.tensor([[*logits, -torch.inf]])
    for stage in (Temperature(temperature), DynamicTemperature(0.5)):
        for after in (stage.apply(given, None), apply_fused(given, [stage.fused(None)])):
            assert after.isfinite().tolist() == [[True, True, True, False]], stage
            assert after.argmax() == given.argmax()


def test_xtc_counts_a_token_of_exactly_the_threshold_whatever_float32_makes_of_it():
    # 0.1 as a float32 is a little more than a tenth.
    stage = XTC(1.0, 0.1)
    logits = torch.zeros(1, 10)
    state = Coins(Keys.of(0, [1], [0]), torch.tensor([0]))
    after = apply_fused(logits, [stage.fused(state)])
    assert torch.equal(after, stage.apply(logits, state))
    assert after.isfinite().sum() == 1


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("one left", "extreme")])
@pytest.mark.parametrize(
    "chain", ["temperature=0.8 | top_p=0.9", "typical_p=0.9", "top_k=40", "temperature=2 | eta_cutoff=3e-4 | top_p=0.5"]
)
def test_a_vocabulary_of_150_000_is_cut_at_the_same_token(chain, kind):
    logits = logits_of(kind, QWEN, torch.Generator().manual_seed(3))[None]
    stages: list[Any] = list(dl.Strategy.of(chain).processors)
    forms = [stage.fused(None) for stage in stages]
    reference = logits
    for stage in stages[:-1]:
        reference = stage.apply(reference, None)
    assert torch.equal(apply_fused(logits, forms[:-1]), reference)
    assert agrees(apply_fused(logits, forms), stages[-1], reference)


def test_each_row_has_its_own_numbers():
    logits = torch.randn(3, 500, generator=torch.Generator().manual_seed(0))
    state = Controller(torch.tensor([2.0, 6.0, 9.0], dtype=torch.float64))
    together = apply_fused(logits, [Mirostat().fused(state), Temperature(0.5).fused(None)])
    for row in range(3):
        alone = apply_fused(logits[row : row + 1], [Mirostat().fused(state[torch.tensor([row])]), Fused(0, 0.5)])
        assert torch.equal(together[row], alone[0])


@pytest.mark.parametrize("bad", [math.nan, -math.nan, math.inf], ids=["nan", "-nan", "inf"])
def test_nan_and_infinity_are_refused_by_row(bad):
    logits = torch.zeros(3, 200)
    logits[1, 77] = bad
    with pytest.raises(NonFiniteLogits, match="row 1 of the logits holds NaN"):
        apply_fused(logits, [TopP(0.9).fused(None)])
    with pytest.raises(NonFiniteLogits, match="row 1 of the logits holds NaN"):
        draw(logits, torch.full((3,), 0.5, dtype=torch.float64))


def test_a_row_without_tokens_stays_so_and_cannot_be_drawn_from():
    nothing = torch.full((1, 200), -torch.inf)
    chain = [Fused(0, 0.5), TopP(0.9).fused(None), TopK(3).fused(None)]
    assert torch.equal(apply_fused(nothing, chain), nothing)
    with pytest.raises(NonFiniteLogits, match="nothing but -inf"):
        draw(nothing, torch.tensor([0.5], dtype=torch.float64))


def reference_draw(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    cumulative = torch.softmax(logits, dim=-1, dtype=torch.float64).cumsum(-1)
    total = cumulative[:, -1]
    target = torch.minimum(uniform * total, total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]


@settings(max_examples=100)
@given(logits=rows(), u=st.floats(2**-54, 1 - 2**-53) | st.sampled_from([2**-54, 0.5, 1 - 2**-53]))
def test_the_same_number_draws_the_token_the_reference_draws(logits, u):
    uniform = torch.full((len(logits),), u, dtype=torch.float64)
    drawn = draw(logits, uniform)
    probs = torch.softmax(logits, -1, dtype=torch.float64)
    assert (probs.gather(-1, drawn[:, None]) > 0).all()
    off = drawn != reference_draw(logits, uniform)
    for row in off.nonzero()[:, 0].tolist():
        # The number lies on the border of two tokens to the last digits.
        cumulative = probs[row].cumsum(-1)
        a, b = sorted((int(drawn[row]), int(reference_draw(logits, uniform)[row])))
        assert (cumulative[a:b] - u).abs().max() < 1e-12


@settings(max_examples=60)
@given(logits=rows(least=LARGE, most=LARGE + 200))
def test_the_normaliser_is_that_of_torch_in_float64(logits):
    assert torch.allclose(log_normaliser(logits), logits.double().logsumexp(-1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [7, LARGE + 3])
def test_the_normaliser_of_a_tensor_that_was_changed_is_that_of_what_it_holds_now(size):
    logits = torch.randn(2, size)
    first = log_normaliser(logits)
    assert log_normaliser(logits) is first
    logits[0, 0] = 50.0
    assert torch.allclose(log_normaliser(logits), logits.double().logsumexp(-1))


@settings(max_examples=30)
@given(logits=rows())
def test_what_a_chain_learns_of_its_input_is_its_normaliser(logits):
    state = Controller(torch.full((len(logits),), 3.0, dtype=torch.float64))
    forms = [Mirostat().fused(state), TypicalP(0.9).fused(None), TopA(0.2).fused(None), TopP(0.9).fused(None)]
    for form in forms:
        apply_fused(logits := logits.clone(), [form])
        assert torch.allclose(log_normaliser(logits), logits.double().logsumexp(-1), rtol=1e-12, atol=1e-12)


def test_the_normaliser_shows_what_is_wrong_with_a_row():
    logits = torch.zeros(4, LARGE)
    logits[0, 5], logits[1, 5], logits[2], logits[3, 5] = torch.nan, torch.inf, -torch.inf, -torch.inf
    found = log_normaliser(logits)
    assert found[0].isnan()
    assert found[1:3].tolist() == [torch.inf, -torch.inf]
    assert found[3] == logits[3].double().logsumexp(-1)


def test_what_is_not_float32_on_the_cpu_or_is_small_is_left_to_torch():
    assert suits(torch.zeros(2, LARGE))
    assert not suits(torch.zeros(2, LARGE - 1))
    assert not suits(torch.zeros(2, LARGE, dtype=torch.bfloat16))
    assert not suits(torch.zeros(LARGE))


class Changed(TopP):
    """A top-p of somebody else, who does not know of fusing."""

    def apply(self, logits, state):
        return TopK(1).apply(logits, state)


def test_a_subclass_with_another_distribution_is_not_fused_as_its_parent():
    assert fused_form(TopP(0.9), None) is not None
    assert fused_form(Changed(0.9), None) is None


def test_importing_decodelab_does_not_import_numba_nor_does_a_small_vocabulary():
    script = """
import sys, decodelab
model = decodelab.TableModel(["a", "b"], {...: {"a": 0.5, "b": 0.3, "</s>": 0.2}})
decodelab.generate(model, [[0]], "temperature=0.8 | top_p=0.9 | typical_p=0.9 | sample(n=3)", max_new_tokens=3)
sys.exit("numba" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_without_a_place_for_the_cache_the_kernels_are_compiled_all_the_same():
    from decodelab.kernels.compiled import _compiled

    def double(x: int) -> int:
        return 2 * x

    double.__code__ = double.__code__.replace(co_filename="/nowhere/at/all.py")
    assert _compiled(entry=True)(double)(21) == 42
