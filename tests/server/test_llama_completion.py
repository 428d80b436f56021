"""llama-server's `/completion`: its parameters, its answer, and its stream."""

from __future__ import annotations

import json
import math
from typing import Any

import httpx2
import pytest

import decodelab as dl
from decodelab.core.protocols import LanguageModel
from decodelab.strategy.llama_cpp import stages_from_llama_cpp

ASKED: dict[str, Any] = {"prompt": "Once upon a time", "n_predict": 12, "seed": 3, "return_tokens": True}


def answer(client: httpx2.Client, **asked: Any) -> dict[str, Any]:
    """The answer to a request."""
    response = client.post("/completion", json=ASKED | asked)
    assert response.status_code == 200, response.text
    return response.json()


def events(client: httpx2.Client, **asked: Any) -> list[dict[str, Any]]:
    """The events of a stream, all of which are data."""
    text = client.post("/completion", json=ASKED | {"stream": True} | asked).text
    return [json.loads(event.removeprefix("data: ")) for event in text.split("\n\n") if event]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0},
        {"samplers": ["top_k", "temperature"], "top_k": 5},
        {"samplers": "tk", "top_k": 5},
        {"mirostat": 2, "mirostat_tau": 3.0, "mirostat_eta": 0.2},
        {"dry_multiplier": 0.8, "dry_base": 1.5, "dry_allowed_length": 1, "dry_penalty_last_n": -1},
        {"xtc_probability": 0.5, "xtc_threshold": 0.05, "min_p": 0, "top_p": 1.0},
        {"dynatemp_range": 0.5, "dynatemp_exponent": 2, "typical_p": 0.7, "top_n_sigma": 1.0},
        {"repeat_penalty": 1.3, "repeat_last_n": 8, "presence_penalty": 0.4, "frequency_penalty": 0.2},
        {"logit_bias": [[264, False], [291, 2.5]]},
    ],
    ids=str,
)
def test_tokens_are_drawn_as_the_settings_say(
    client: httpx2.Client, nano: LanguageModel, settings: dict[str, Any]
) -> None:
    stages = stages_from_llama_cpp(settings)
    (made,) = dl.generate(nano, ASKED["prompt"], dl.Strategy(tuple(stages)), max_new_tokens=12, seed=3)
    told = answer(client, **settings)
    assert told["tokens"] == list(made.best.tokens)
    assert told["content"] == made.best.text


def test_the_answer_is_that_of_llama_server(client: httpx2.Client, nano: LanguageModel) -> None:
    told = answer(client, temperature=0, stop=["e"], top_k=7)
    assert set(told) == {
        "index", "content", "tokens", "id_slot", "stop", "model", "tokens_predicted", "tokens_evaluated",
        "generation_settings", "prompt", "has_new_line", "truncated", "stop_type", "stopping_word", "tokens_cached",
        "timings", "decodelab",
    }  # fmt: skip
    assert (told["stop"], told["stop_type"], told["stopping_word"]) == (True, "word", "e")
    assert told["tokens_evaluated"] == len(nano.vocab.encode(ASKED["prompt"]))
    assert told["generation_settings"]["top_k"] == 7
    assert told["generation_settings"]["top_p"] == 0.95
    assert told["generation_settings"]["seed"] == 3
    assert answer(client, n_predict=2)["stop_type"] == "limit"
    assert answer(client, prompt="What is 2 + 3?", temperature=0, n_predict=-1)["stop_type"] == "eos"
    assert "tokens" in answer(client, return_tokens=False, n_probs=0)


def test_a_stream_joins_to_the_answer(client: httpx2.Client) -> None:
    for more in ({}, {"stop": ["e"]}, {"n_probs": 2}, {"return_tokens": False}):
        whole, (*pieces, last) = answer(client, **more), events(client, **more)
        assert "".join(piece["content"] for piece in pieces) == whole["content"]
        assert [piece["stop"] for piece in pieces] == [False] * len(pieces)
        assert last["content"] == ""
        same = ("stop", "stop_type", "stopping_word", "tokens_predicted", "tokens_evaluated", "prompt")
        assert [last[name] for name in same] == [whole[name] for name in same]
        if "n_probs" in more:
            probabilities = [one for piece in pieces for one in piece["completion_probabilities"]]
            assert [p["id"] for p in probabilities] == [p["id"] for p in whole["completion_probabilities"]]


def test_probabilities_before_and_after_the_samplers(client: httpx2.Client, nano: LanguageModel) -> None:
    before = answer(client, n_probs=3)["completion_probabilities"]
    assert set(before[0]) == {"id", "token", "bytes", "logprob", "top_logprobs"}
    assert [len(place["top_logprobs"]) for place in before] == [3] * len(before)
    tokens = nano.vocab.encode(ASKED["prompt"])
    score = dl.score(nano, list(tokens), [place["id"] for place in before])
    assert [place["logprob"] for place in before] == pytest.approx(list(score.token_logprobs), abs=1e-4)
    after = answer(client, n_probs=3, post_sampling_probs=True, top_k=2, samplers=["top_k"])["completion_probabilities"]
    assert set(after[0]) == {"id", "token", "bytes", "prob", "top_probs"}
    for place in after:
        assert math.fsum(one["prob"] for one in place["top_probs"]) == pytest.approx(1, abs=1e-5)
        assert len(place["top_probs"]) <= 2


def test_grammars_and_schemas_are_enforced(client: httpx2.Client) -> None:
    grammar = 'root ::= item+\nitem ::= [0-9]{2} ("," | ";")\n'
    told = answer(client, grammar=grammar, n_predict=40, temperature=2.0)["content"]
    assert told[:2].isdigit()
    assert told[2] in ",;"
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    schema |= {"additionalProperties": False}
    assert set(json.loads(answer(client, json_schema=schema, n_predict=60)["content"])) == {"a"}


@pytest.mark.parametrize(
    ("asked", "param", "message"),
    [
        ({"n_prdict": 3}, "n_prdict", "did you mean 'n_predict'?"),
        ({"max_tokens": 3}, "max_tokens", "write n_predict"),
        ({"n_predict": 0}, "n_predict", "at least 1, or -1"),
        ({"n_probs": 21}, "n_probs", "at most 20, got 21"),
        ({"post_sampling_probs": True}, "post_sampling_probs", "needs n_probs"),
        ({"samplers": ["top_q"]}, "samplers", "did you mean 'top_p'?"),
        ({"grammar": 'root ::= "a'}, "grammar", "grammar: the text is not closed in line 1"),
        ({"grammar": 'root ::= "a"', "json_schema": {}}, "grammar", "both given"),
        ({"json_schema": {"type": "robot"}}, "json_schema", "json_schema"),
        ({"min_keep": 2}, "min_keep", "leave it out"),
        ({"stop": "a"}, "stop", "valid array"),
        ({"prompt": ["a", "b"]}, "prompt", "valid"),
        ({"model": "other"}, "model", "served are nano"),
    ],
)
def test_a_fault_is_named(client: httpx2.Client, asked: dict[str, Any], param: str, message: str) -> None:
    response = client.post("/completion", json=ASKED | asked)
    assert response.status_code in (400, 404)
    error = response.json()["error"]
    assert error["param"] == param, error
    assert message in error["message"]


def test_a_model_is_named_where_there_are_several(serve: Any, nano: LanguageModel) -> None:
    with serve({"a": nano, "b": nano}) as address, httpx2.Client(base_url=address, timeout=60) as client:
        assert client.post("/completion", json=ASKED).json()["error"]["param"] == "model"
        assert client.post("/completion", json=ASKED | {"model": "b"}).json()["model"] == "b"
