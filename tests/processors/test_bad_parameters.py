"""Parameters out of range: one line that says what, got, allowed and the way out."""

import math

import pytest

import decodelab as dl
from decodelab.core.errors import InvalidParameter

CASES: list[tuple[str, str]] = [
    ("epsilon_cutoff=0", "epsilon_cutoff: epsilon must be in (0, 1), got 0; leave epsilon_cutoff out"),
    ("epsilon_cutoff=1", "epsilon_cutoff: epsilon must be in (0, 1), got 1; "),
    ("eta_cutoff=1.5", "eta_cutoff: epsilon must be in (0, 1), got 1.5; leave eta_cutoff out"),
    ("eta_cutoff=nan", "eta_cutoff: epsilon must be in (0, 1), got nan; "),
    ("top_n_sigma=0", "top_n_sigma: n must be a finite number, greater than 0, got 0; leave top_n_sigma out"),
    ("top_n_sigma=-1", "top_n_sigma: n must be a finite number, greater than 0, got -1; "),
    ("min_k=-1", "min_k: tau must be a finite number, at least 0, got -1; use 3.0"),
    ("top_a=0", "top_a: a must be in (0, 1], got 0; leave top_a out"),
    ("top_a=2", "top_a: a must be in (0, 1], got 2; "),
    ("top_h=0", "top_h: h must be in (0, 1], got 0; try 0.4"),
    ("top_h(h=0.4, candidates=0)", "top_h: candidates must be an integer, at least 1, got 0; "),
    ("tfs_z=0", "tfs_z: z must be in (0, 1], got 0; use 1.0 to keep everything"),
    ("xtc=1.5", "xtc: probability must be in [0, 1], got 1.5; "),
    ("xtc(probability=0.5, threshold=-0.1)", "xtc: threshold must be in [0, 1], got -0.1; "),
    ("rank_parity=both", "rank_parity: parity must be one of odd, even, got both; "),
    ("rank_parity=1", "rank_parity: parity must be one of odd, even, got 1; "),
    ("dynamic_temperature=-0.5", "dynamic_temperature: range must be a finite number, at least 0, got -0.5; "),
    ("dynamic_temperature(range=1, exponent=-1)", "dynamic_temperature: exponent must be a finite number, at least 0"),
    ("dynamic_temperature(range=1, temperature=inf)", "dynamic_temperature: temperature must be a finite number"),
    ("adaptive_p=-1", "adaptive_p: target must be in [0, 1], got -1; "),
    ("adaptive_p(target=0.5, decay=1)", "adaptive_p: decay must be in [0, 0.99], got 1; "),
    ("mirostat(version=3)", "mirostat: version must be one of 1, 2, got 3; "),
    ("p_less=0.1", "p_less takes no parameters, got 0.1; write just 'p_less'"),
]


@pytest.mark.parametrize(("strategy", "message"), CASES, ids=[s for s, _ in CASES])
def test_a_parameter_out_of_range_is_refused_in_one_line(strategy, message):
    with pytest.raises(dl.DecodelabError) as error:
        dl.parse(strategy)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [dl.EpsilonCutoff, dl.TopNSigma, dl.TopH, dl.TailFree, dl.XTC, dl.AdaptiveP])
@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.5", True, [0.5]])
def test_an_invalid_number_is_refused(make, value):
    with pytest.raises(InvalidParameter, match="got "):
        make(value)


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        ("tfs_z=1.0", "z = 1 keeps every token"),
        ("xtc=0.0", "probability 0 excludes nothing"),
        ("xtc(probability=0.5, threshold=0.6)", "two tokens cannot both reach a threshold above 0.5"),
        ("dynamic_temperature=0.0", "range 0 around temperature 1 changes nothing"),
    ],
)
def test_a_term_that_changes_nothing_is_reported(strategy, reason):
    assert any(reason in note for note in dl.parse(strategy).no_effects())


def test_a_threshold_of_one_half_still_excludes_one_of_two():
    assert dl.XTC(0.5, 0.5).no_effect() is None
