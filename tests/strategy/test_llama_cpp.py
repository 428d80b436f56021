"""llama.cpp's sampling settings: its order, its defaults, its values for "off", its names."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import InvalidParameter, UnsupportedStrategy

OFF = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0}


@pytest.mark.parametrize(
    ("given", "strategy"),
    [
        ({}, "top_k=40 | top_p=0.95 | min_p=0.05 | temperature=0.8 | sample"),
        (OFF, "sample"),
        (OFF | {"top_k": -1, "top_n_sigma": 0.0, "typical_p": 1.0, "n": 3}, "sample(n=3)"),
        (OFF | {"top_k": None, "min_p": None}, "top_k=40 | min_p=0.05 | sample"),
        ({"top_p": 1.0, "temp": 0.0}, "greedy"),
        ({"temperature": -1.0}, "greedy"),
        ({"temperature": 0, "repeat_penalty": 1.1}, "repetition_penalty(penalty=1.1, window=64) | greedy"),
        # Stages that can remove the most probable token stay before greedy.
        (
            OFF | {"temperature": 0, "typical_p": 0.9, "xtc_probability": 0.5},
            "typical_p=0.9 | xtc=0.5 | greedy",
        ),
        (OFF | {"repeat_penalty": 1.1, "repeat_last_n": 0}, "sample"),
        (OFF | {"repeat_penalty": 1.1, "repeat_last_n": -1}, "repetition_penalty=1.1 | sample"),
        (
            OFF | {"penalty_repeat": 1.1, "penalty_freq": 0.2, "penalty_present": 0.3, "penalty_last_n": 32},
            "repetition_penalty(penalty=1.1, window=32) | frequency_penalty(penalty=0.2, prompt=true, window=32) | "
            "presence_penalty(penalty=0.3, prompt=true, window=32) | sample",
        ),
        (OFF | {"dry_multiplier": 0.8}, "dry(window=64) | sample"),
        (OFF | {"dry_multiplier": 0.8, "dry_penalty_last_n": 0}, "sample"),
        (OFF | {"dry_multiplier": 0.8, "dry_base": 0.5}, "sample"),
        (
            OFF | {"dry_multiplier": 0.5, "dry_penalty_last_n": -1, "dry_sequence_breakers": ["\n"]},
            'dry(multiplier=0.5, sequence_breakers=["\\n"]) | sample',
        ),
        (OFF | {"xtc_probability": 0.5, "xtc_threshold": 0.6}, "sample"),
        (OFF | {"min_p": 1.05}, "min_p=1.0 | sample"),
        (OFF | {"dynatemp_range": 0.5, "temperature": 0.9}, "dynamic_temperature(range=0.5, temperature=0.9) | sample"),
        ({"mirostat": 2, "temp": 1.0, "top_k": 5, "xtc_probability": 1.0}, "mirostat(surprise=truncated) | sample"),
        (
            {"mirostat_mode": 1, "mirostat_ent": 3.0, "mirostat_lr": 0.2, "repeat_penalty": 2.0},
            "temperature=0.8 | mirostat(tau=3.0, eta=0.2, version=1, surprise=truncated) | sample",
        ),
        ({"mirostat": 2, "temp": 0}, "greedy"),
        (OFF | {"logit_bias": [[7, -1.5], ["hello", False]]}, "ban=[hello] | logit_bias=[[7, -1.5]] | sample"),
        (OFF | {"logit_bias": {"7": 2, "seven": -3}}, "logit_bias=[[7, 2.0], [seven, -3.0]] | sample"),
        (
            {"mirostat": 2, "temp": 1, "logit_bias": [[7, 1]]},
            "logit_bias=[[7, 1.0]] | mirostat(surprise=truncated) | sample",
        ),
        ({"samplers": ["top_k", "temperature"], "temp": 0.5}, "top_k=40 | temperature=0.5 | sample"),
        ({"samplers": "temperature;min-p", "temp": 0.5}, "temperature=0.5 | min_p=0.05 | sample"),
        ({"samplers": "tkp", "temp": 0.5}, "temperature=0.5 | top_k=40 | top_p=0.95 | sample"),
        ({"samplers": []}, "sample"),
        ({"samplers": ["adaptive_p", "min_p"]}, "min_p=0.05 | sample"),
        ({"samplers": ["adaptive_p", "min_p"], "adaptive_target": 0.5}, "min_p=0.05 | adaptive_p=0.5 | sample"),
        (
            {"seed": 5, "n_predict": 8, "min_keep": 0, "tfs_z": 1.0, "penalize_nl": True, "ignore_eos": False} | OFF,
            "sample",
        ),
    ],
)
def test_settings_are_the_strategy_llama_cpp_would_run(given, strategy):
    read = dl.Strategy.from_llama_cpp(given)
    assert str(read) == strategy
    assert dl.parse(strategy) == read


def test_the_default_order_is_llama_cpps():
    everything = {
        "repeat_penalty": 1.1,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.1,
        "dry_multiplier": 0.8,
        "top_n_sigma": 2.0,
        "top_k": 30,
        "typical_p": 0.9,
        "top_p": 0.9,
        "min_p": 0.1,
        "xtc_probability": 0.5,
        "temperature": 0.7,
    }
    assert [s.name for s in dl.Strategy.from_llama_cpp(everything).stages] == [
        "repetition_penalty",
        "frequency_penalty",
        "presence_penalty",
        "dry",
        "top_n_sigma",
        "top_k",
        "typical_p",
        "top_p",
        "min_p",
        "xtc",
        "temperature",
        "sample",
    ]


def penalised(logit: float, count: int, repeat: float, frequency: float, presence: float) -> float:
    """llama.cpp's penalties of a token that is `count` times among the last n."""
    if not count:
        return logit
    scaled = logit * repeat if logit <= 0 else logit / repeat
    return scaled - count * frequency - presence


@given(
    st.lists(st.integers(0, 4), max_size=12),
    st.integers(1, 8),
    st.floats(0.5, 2),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.lists(st.floats(-9, 9), min_size=5, max_size=5),
)
@settings(max_examples=50)
def test_the_three_penalties_together_are_llama_cpps(text, last, repeat, frequency, presence, logits):
    strategy = dl.Strategy.from_llama_cpp(
        OFF
        | {
            "repeat_penalty": repeat,
            "frequency_penalty": frequency,
            "presence_penalty": presence,
            "repeat_last_n": last,
        }
    )
    run = dl.to_logits_processor(strategy)
    got = run(torch.tensor([text], dtype=torch.int64), torch.tensor([logits], dtype=torch.float32))  # pyright: ignore
    expected = [penalised(z, text[-last:].count(t), repeat, frequency, presence) for t, z in enumerate(logits)]
    assert got[0].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_a_mass_of_nothing_keeps_one_token_as_in_llama_cpp():
    logits = torch.log(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    for key in ("top_p", "typical_p"):
        distribution = dl.distribution(logits, dl.Strategy.from_llama_cpp(OFF | {key: 0.0}))
        assert int((distribution > 0).sum()) == 1
    assert dl.distribution(logits, dl.Strategy.from_llama_cpp(OFF | {"top_p": 0.0})).argmax() == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tempreture": 1}, "llama.cpp: unknown setting 'tempreture'; did you mean 'temperature'?"),
        ({"top_kk": 1}, "llama.cpp: unknown setting 'top_kk'; did you mean 'top_k'?"),
        ({3: 1}, "llama.cpp: unknown setting '3'"),
        ({"top_k": "many"}, "llama.cpp: top_k must be a number, got many; the default is 40"),
        ({"top_p": math.nan}, "llama.cpp: top_p must be a number, got nan; the default is 0.95"),
        ({"min_p": True}, "llama.cpp: min_p must be a number, got true; the default is 0.05"),
        ({"mirostat": 3}, "llama.cpp: mirostat must be 0, 1 or 2, got 3; 0 means off"),
        ({"top_k": 2.5}, "top_k: k must be an integer"),
        ({"repeat_penalty": -1}, "repetition_penalty: penalty must be"),
        ({"dry_multiplier": 1, "dry_allowed_length": 0}, "dry: allowed_length must be"),
        ({"n": 0}, "sample: n must be"),
        ({"logit_bias": 5}, "llama.cpp: logit_bias must be a map or pairs, got 5"),
        ({"logit_bias": [5]}, "llama.cpp: logit_bias must hold pairs, got [5]"),
        ({"samplers": 5}, "llama.cpp: samplers must be a list of names, got 5"),
        ({"dynatemp_range": 0.5, "temperature": -1}, "dynamic_temperature: temperature must be"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(given, message):
    with pytest.raises(InvalidParameter) as error:
        dl.Strategy.from_llama_cpp(given)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_keep": 2}, "llama.cpp: min_keep=2 is not supported"),
        ({"ignore_eos": True}, "llama.cpp: ignore_eos=true is not supported; write min_new_tokens"),
        ({"grammar": "root ::= x"}, "llama.cpp: grammar="),
        ({"tfs_z": 0.9}, "llama.cpp: tfs_z=0.9 is not supported"),
        ({"penalize_nl": False}, "llama.cpp: penalize_nl=false is not supported"),
        ({"samplers": ["infill"]}, "llama.cpp: samplers: infill is not supported"),
        ({"samplers": "top_kk;temp"}, "llama.cpp: samplers: top_kk is not supported; did you mean 'top_k'?"),
        ({"temp": 0, "n": 2}, "llama.cpp: n=2 with temperature 0; greedy has one result"),
    ],
)
def test_settings_that_are_unsupported_raise_errors_that_name_them(given, message):
    with pytest.raises(UnsupportedStrategy) as error:
        dl.Strategy.from_llama_cpp(given)
    assert str(error.value).startswith(message)
