"""Parameters of the OpenAI API and of vLLM: what vLLM would do for them, in its order."""

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import InvalidParameter, UnsupportedStrategy

NEAR = 1e-4


@pytest.mark.parametrize(
    ("given", "strategy"),
    [
        ({}, "sample"),
        ({"temperature": None, "top_p": None, "n": None, "logit_bias": None}, "sample"),
        ({"temperature": 0.7, "top_p": 0.9, "n": 4}, "temperature=0.7 | top_p=0.9 | sample(n=4)"),
        ({"temperature": 0}, "greedy"),
        ({"temperature": 1e-6, "top_p": 0.5, "presence_penalty": 0.5}, "presence_penalty=0.5 | greedy"),
        ({"logit_bias": {"50256": -100, 17: 5}}, "logit_bias=[[50256, -100.0], [17, 5.0]] | sample"),
        ({"top_k": 20, "min_p": 0.05}, "min_p=0.05 | top_k=20 | sample"),
        ({"top_k": -1, "min_p": 0, "repetition_penalty": 1.0, "min_tokens": 0}, "sample"),
        ({"bad_words": ["damn"]}, "ban(words=[damn], prompt=false) | sample"),
        ({"allowed_token_ids": [3, 4]}, "allow(words=[3, 4], eos=false) | sample"),
        (
            {"max_tokens": 9, "stop": ["\n"], "seed": 1, "stream": False, "logprobs": True, "user": "x"},
            "sample",
        ),
        ({"response_format": {"type": "text"}, "best_of": 1, "use_beam_search": False, "tools": []}, "sample"),
        (
            {
                "top_p": 0.9,
                "top_k": 40,
                "min_p": 0.02,
                "temperature": 0.5,
                "presence_penalty": 0.1,
                "frequency_penalty": 0.2,
                "repetition_penalty": 1.1,
                "logit_bias": {"1": 1},
                "min_tokens": 3,
                "bad_words": ["a"],
                "allowed_token_ids": [1, 2],
            },
            "allow(words=[1, 2], eos=false) | ban(words=[a], prompt=false) | min_new_tokens=3 | "
            "logit_bias=[[1, 1.0]] | "
            "repetition_penalty=1.1 | frequency_penalty=0.2 | presence_penalty=0.1 | "
            "temperature=0.5 | min_p=0.02 | top_k=40 | top_p=0.9 | sample",
        ),
    ],
)
def test_parameters_are_the_strategy_vllm_would_run(given, strategy):
    read = dl.Strategy.from_openai(given)
    assert str(read) == strategy
    assert dl.parse(strategy) == read


def vllm_distribution(p: dict[str, Any], logits: list[float], prompt: list[int], output: list[int]) -> list[float]:
    """vLLM's V1 sampler written out: penalties, temperature, min_p, top_k, top_p, softmax."""
    z = list(logits)
    for t in range(len(z)):
        if t in prompt or t in output:
            z[t] = z[t] / p["repetition_penalty"] if z[t] > 0 else z[t] * p["repetition_penalty"]
        z[t] -= p["frequency_penalty"] * output.count(t) + p["presence_penalty"] * (t in output)
        z[t] /= p["temperature"]

    def softmax() -> list[float]:
        weights = [math.exp(x - max(z)) for x in z]
        return [w / math.fsum(weights) for w in weights]

    # Float32 cannot tell a decision nearer than NEAR to its border; such examples are left out.
    distribution = softmax()
    assume(all(q == max(distribution) or abs(q - p["min_p"] * max(distribution)) > NEAR for q in distribution))
    z = [x if q >= p["min_p"] * max(distribution) else -math.inf for x, q in zip(z, distribution, strict=True)]
    assume(all(a - b > NEAR for a, b in itertools.pairwise(sorted(z, reverse=True)) if b > -math.inf))
    kth = sorted(z)[-p["top_k"]]
    z = [x if x >= kth else -math.inf for x in z]
    distribution = softmax()
    mass = 0.0
    for q, t in sorted(((q, t) for t, q in enumerate(distribution)), reverse=True):
        assume(p["top_p"] == 1 or abs(mass - p["top_p"]) > NEAR)
        if mass >= p["top_p"]:
            z[t] = -math.inf
        mass += q
    return softmax()


@given(
    st.fixed_dictionaries(
        {
            "temperature": st.floats(0.3, 2),
            "repetition_penalty": st.floats(0.7, 1.6),
            "frequency_penalty": st.floats(-1, 1),
            "presence_penalty": st.floats(-1, 1),
            "min_p": st.sampled_from([0.0, 0.05, 0.3]),
            "top_k": st.integers(1, 5),
            "top_p": st.sampled_from([0.4, 0.8, 1.0]),
        }
    ),
    st.lists(st.floats(-4, 4), min_size=5, max_size=5, unique=True),
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
    st.lists(st.integers(0, 4), max_size=4),
)
@settings(max_examples=60)
def test_the_distribution_is_that_of_vllms_sampler(parameters, logits, prompt, output):
    run: Any = dl.to_logits_processor(dl.Strategy.from_openai(parameters))
    row = torch.tensor([logits], dtype=torch.float32)
    got = [run(torch.tensor([prompt + output[:end]]), row) for end in range(len(output) + 1)][-1]
    expected = vllm_distribution(parameters, row[0].double().tolist(), prompt, output)
    assert got[0].softmax(-1).tolist() == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temprature": 1}, "openai: unknown parameter 'temprature'; did you mean 'temperature'?"),
        ({"mirostat": 2}, "openai: unknown parameter 'mirostat'"),
        ({"temperature": -1}, "temperature: temperature must be"),
        ({"temperature": "hot"}, "temperature: temperature must be"),
        ({"top_p": 0}, "top_p: p must be in (0, 1], got 0"),
        ({"top_k": -2}, "top_k: k must be"),
        ({"min_p": 1.5}, "min_p: p must be"),
        ({"n": 0}, "sample: n must be"),
        ({"logit_bias": [1]}, "openai: logit_bias must be a map, got [1]"),
        ({"logit_bias": {"cat": 1}}, "openai: logit_bias must have token ids as keys, got cat"),
        ({"logit_bias": {"5": 101}}, 'openai: the logit_bias of "5" must be in [-100, 100], got 101'),
        ({"bad_words": [""]}, "ban: words must hold"),
        ({"allowed_token_ids": [-1]}, "allow: words must hold"),
        ({"min_tokens": -1}, "min_new_tokens: n must be"),
    ],
)
def test_parameters_that_mean_nothing_are_refused_by_name(given, message):
    with pytest.raises(InvalidParameter) as error:
        dl.Strategy.from_openai(given)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"use_beam_search": True}, "openai: use_beam_search=true is not supported; write beam"),
        ({"best_of": 4}, "openai: best_of=4 is not supported; write sample(n=...) | best_of"),
        ({"ignore_eos": True}, "openai: ignore_eos=true is not supported; write min_new_tokens"),
        ({"response_format": {"type": "json_object"}}, "openai: response_format="),
        ({"guided_json": {}}, "openai: guided_json="),
        ({"temperature": 0, "n": 2}, "openai: n=2 with temperature 0; greedy has one result"),
        ({"min_tokens": 3, "stop_token_ids": [7]}, "openai: min_tokens also suppresses stop_token_ids"),
    ],
)
def test_parameters_that_are_unsupported_raise_errors_that_name_them(given, message):
    with pytest.raises(UnsupportedStrategy) as error:
        dl.Strategy.from_openai(given)
    assert str(error.value).startswith(message)
