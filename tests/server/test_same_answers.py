"""The same request gives the same answer: streamed or not, alone or among others, here or by `dl.generate`."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import httpx2
import pytest

import decodelab as dl
from decodelab.core.protocols import LanguageModel

STRATEGIES = (
    "greedy",
    "sample(n=3)",
    "temperature=0.7 | top_p=0.9 | sample(n=2)",
    "top_k=20 | min_p=0.02",
    "repetition_penalty=1.3 | frequency_penalty=0.4 | sample(n=2)",
    "mirostat(tau=3.0) | sample(n=2)",
    "xtc=0.5 | dry | sample",
    "beam(width=4, n=3)",
    "diverse_beam(width=4, groups=2, n=2)",
    "stochastic_beam(width=3)",
    "sample(n=5) | best_of",
    "sample(n=6) | vote(answer=integer)",
    "sample(n=12) | until(window=4) | vote",
    "sample(n=4) | mbr",
    "regex='[a-z ]+' | sample(n=2)",
    "greedy | speculative(draft=ngram)",
    "value_beam(width=2, scorer=logprob)",
    "stop_regex='[.!]' | sample(n=2)",
    "k_best(n=2, budget=40)",
    "contrastive_search",
)
PROMPTS = ("Once upon a time", "What is 27 + 35?", "", "The pig said: \u00e9\u4e16", [1, 264, 291])
STOPS: tuple[tuple[str, ...], ...] = ((), (), (" the", "a"), ("\n",), ("e",))


def drawn(seed: int) -> dict[str, Any]:
    """A random request."""
    draw = random.Random(seed)
    request: dict[str, Any] = {
        "model": "nano",
        "prompt": draw.choice(PROMPTS),
        "strategy": draw.choice(STRATEGIES),
        "seed": draw.randrange(10**6),
        "max_tokens": draw.choice((1, 4, 12, 24)),
        "return_token_ids": True,
    }
    if stop := draw.choice(STOPS):
        request["stop"] = list(stop)
    if draw.random() < 0.5:
        request["logprobs"] = draw.choice((0, 2, 5))
        request["logprobs_of"] = draw.choice(("model", "processed"))
    if draw.random() < 0.2:
        request["echo"] = True
    if draw.random() < 0.3:
        request["include_stop_str_in_output"] = True
    return request


def plain(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What of an answer may not differ at all."""
    choices = sorted(answer["choices"], key=lambda choice: choice["index"])
    return [(c["index"], c["text"], c["finish_reason"], (c["logprobs"] or {}).get("tokens")) for c in choices]


def numbers(answer: dict[str, Any]) -> list[float]:
    """Its log-probabilities."""
    found: list[float] = []
    for choice in sorted(answer["choices"], key=lambda choice: choice["index"]):
        logprobs = choice["logprobs"] or {}
        found += [value for value in logprobs.get("token_logprobs", []) if value is not None]
        for top in logprobs.get("top_logprobs") or []:
            found += sorted((top or {}).values())
    return found


def joined(stream: str) -> dict[str, Any]:
    """The answer that the pieces of a stream make up."""
    events = [event.removeprefix("data: ") for event in stream.split("\n\n") if event]
    assert events[-1] == "[DONE]"
    choices: dict[int, dict[str, Any]] = {}
    for event in events[:-1]:
        for piece in json.loads(event)["choices"]:
            whole = choices.setdefault(piece["index"], {"index": piece["index"], "text": "", "logprobs": None})
            whole["text"] += piece["text"]
            whole["finish_reason"] = piece["finish_reason"]
            if (logprobs := piece["logprobs"]) is not None:
                held = whole["logprobs"] or {
                    name: [] if value is not None else None for name, value in logprobs.items()
                }
                whole["logprobs"] = {
                    name: None if logprobs[name] is None else held[name] + logprobs[name] for name in logprobs
                }
    return {"choices": list(choices.values())}


async def answers(address: str, requests: list[dict[str, Any]], at_once: int) -> list[httpx2.Response]:
    """The responses to requests, so many at a time."""
    turns = asyncio.Semaphore(at_once)
    limits = httpx2.Limits(max_connections=at_once)
    async with httpx2.AsyncClient(base_url=address, timeout=300, limits=limits) as client:

        async def one(request: dict[str, Any]) -> httpx2.Response:
            async with turns:
                return await client.post("/v1/completions", json=request)

        return await asyncio.gather(*map(one, requests))


def check(address: str, model: LanguageModel, requests: list[dict[str, Any]], tolerance: float) -> None:
    alone = [response.json() for response in asyncio.run(answers(address, requests, 1))]
    among = [response.json() for response in asyncio.run(answers(address, requests, 64))]
    streamed = asyncio.run(answers(address, [r | {"stream": True} for r in requests], 64))
    for request, first, second, stream in zip(requests, alone, among, streamed, strict=True):
        assert "choices" in first, (request, first)
        for other in (second, joined(stream.text)):
            assert plain(first) == plain(other), request
            assert numbers(first) == pytest.approx(numbers(other), rel=0, abs=tolerance), request
        (made,) = dl.generate(
            model,
            request["prompt"] if isinstance(request["prompt"], str) else [request["prompt"]],
            request["strategy"],
            max_new_tokens=request["max_tokens"],
            stop=request.get("stop", ()),
            seed=request["seed"],
        )
        shown = made.candidates[: len(first["choices"])]
        assert [choice["token_ids"] for choice in first["choices"]] == [list(c.tokens) for c in shown], request
        if not request.get("echo") and not request.get("include_stop_str_in_output"):
            assert [choice["text"] for choice in first["choices"]] == [c.text for c in shown], request


def test_bit_for_bit_on_a_model_that_computes_nothing(serve: Any) -> None:
    """A table gives the same numbers in every batch, so nothing at all may differ."""
    pieces = ["a", "b", " the", "e", "1", "."]
    rows = {(): {"a": 0.4, "b": 0.3, "1": 0.3}, ("a",): {"b": 0.5, " the": 0.3, "</s>": 0.2}}
    rest = {"a": 0.2, "b": 0.2, " the": 0.1, "e": 0.1, "1": 0.2, ".": 0.1, "</s>": 0.1}
    table = dl.TableModel(pieces, {**rows, ...: rest}, bos="<s>", separator="")
    usable = [s for s in STRATEGIES if not s.startswith(("regex", "contrastive"))]
    requests = [drawn(seed) | {"model": "table", "prompt": "ab"} for seed in range(20)]
    for i, request in enumerate(requests):
        request["strategy"] = usable[i % len(usable)]
    with serve({"table": table}) as address:
        check(address, table, requests, 0.0)


def test_alone_among_64_streamed_and_generated_are_equal(address: str, nano: LanguageModel) -> None:
    """A network's sums depend on the batch in their last bits, as everywhere."""
    check(address, nano, [drawn(seed) for seed in range(20)], 1e-4)


@pytest.mark.slow
def test_a_thousand_requests_are_answered_alike(address: str, nano: LanguageModel) -> None:
    check(address, nano, [drawn(seed) for seed in range(1000)], 1e-4)
