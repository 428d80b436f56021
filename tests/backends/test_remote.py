"""Strategies on servers that are scripted: what is asked, what is made of the answers, and faults."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

import decodelab as dl
from decodelab.backends.remote import RemoteModel
from decodelab.backends.texts import TextJob
from decodelab.core.errors import EndpointFailed, NoReply, RequestError, UnsupportedStrategy
from decodelab.core.values import Limits
from decodelab.strategy.strategy import Strategy

WHOLE = ["one\ntwo\nthree", "1\n2\n3\n4", "uno\ndos", "a b c"]


def longest(prompt: str, texts: Sequence[str]) -> list[float]:
    return [float(len(text)) for text in texts]


def write(body: dict[str, Any], *, says_stop: bool) -> tuple[int, dict[str, str], bytes]:
    """A completion: one of the texts by its seed, or the one that has begun, to a stop string or its end."""
    begun = body["prompt"].removeprefix("Count.")
    choices = []
    for i in range(body.get("n", 1)):
        texts = [text for text in WHOLE if text.startswith(begun)]
        rest = texts[(body.get("seed", 0) + i) % len(texts)][len(begun) :]
        stop = next((s for s in body.get("stop", []) if s in rest), None)
        text = rest if stop is None else rest[: rest.index(stop)]
        choice: dict[str, Any] = {"index": i, "text": text, "finish_reason": "stop"}
        if says_stop:
            choice["stop_reason"] = stop
        if body.get("logprobs"):
            choice["logprobs"] = {"tokens": list(text), "token_logprobs": [-0.5 - i] * len(text)}
        choices.append(choice)
    usage = {"prompt_tokens": 2, "completion_tokens": sum(len(choice["text"]) for choice in choices)}
    answer = {"choices": choices, "usage": usage, "model": "tiny-1", "system_fingerprint": "fp_7"}
    return 200, {}, json.dumps(answer).encode()


@pytest.fixture
def count(serve):
    """A server of each dialect: whether it names stop strings."""

    def start(scheme: str):
        server = serve(lambda body, number: write(body, says_stop=scheme == "vllm"))
        return server, server.name.replace("openai:", f"{scheme}:")

    return start


def test_samples_are_asked_for_together_with_a_seed(count):
    server, name = count("openai")
    (found,) = dl.generate(name, "Count.", "temperature=0.5 | sample(n=3)", seed=2, max_new_tokens=20)
    assert [c.text for c in found.candidates] == [WHOLE[2], WHOLE[3], WHOLE[0]]
    assert server.asked == [
        {"model": "tiny", "prompt": "Count.", "temperature": 0.5, "top_p": 1.0, "n": 3, "max_tokens": 20, "seed": 2}
    ]
    assert (found.model, found.model_digest, found.cost.decode_tokens) == (name, "tiny-1 fp_7", 25)
    assert (found.best.tokens, found.best.token_logprobs, found.best.finish_reason) == ((), (), "eos")


def test_log_probabilities_are_asked_for_where_a_selection_reads_them(count):
    server, name = count("openai")
    (found,) = dl.generate(name, "Count.", "sample(n=2) | best_of", max_new_tokens=20)
    assert server.asked[0]["logprobs"] == 1
    assert (found.best.text, found.best.score, found.best.logprob) == (WHOLE[0], -0.5, -0.5 * len(WHOLE[0]))


def test_a_server_that_shows_none_cannot_be_ranked_by_them(serve):
    blind = serve(lambda body, number: write({**body, "logprobs": None}, says_stop=False))
    with pytest.raises(UnsupportedStrategy, match="best_of needs log-probabilities, which the server does not show"):
        dl.generate(blind.name, "Count.", "sample(n=2) | best_of")
    assert dl.generate(blind.name, "Count.", dl.Sample(2) | dl.BestOf(longest))[0].best.text == WHOLE[0]


@pytest.mark.parametrize("scheme", ["openai", "vllm"])
@pytest.mark.parametrize("search", [dl.StepBeam(2, 2, longest), dl.DVTS(2, 2, longest), dl.StepParticles(4, longest)])
def test_searches_over_texts_run_over_servers(count, scheme, search):
    """Also where the server does not say whether a stop string or the end of the text ended it."""
    server, name = count(scheme)
    (found,) = dl.generate(name, "Count.", search, max_new_tokens=40)
    assert found.best.text in WHOLE
    assert found.best.text == WHOLE[0]
    assert all(c.finish_reason == "eos" for c in found.candidates)
    assert ("stop" in server.asked[0]) == (scheme == "vllm")


def test_until_draws_no_more_than_it_needs(serve):
    same = serve(
        lambda body, number: (
            200,
            {},
            json.dumps({"choices": [{"text": " 4", "finish_reason": "stop"}] * body.get("n", 1)}).encode(),
        )
    )
    (found,) = dl.generate(same.name, "2 + 2 =", "sample(n=40) | until | vote", max_new_tokens=4)
    assert len(found.candidates) < 40
    assert sum(body.get("n", 1) for body in same.asked) == len(found.candidates)


def test_without_n_each_sample_is_a_request_with_the_next_seed(serve):
    server = serve(
        lambda body, number: (200, {}, json.dumps({"response": f"{body['options']['seed']}", "done": True}).encode())
    )
    name = server.name.replace("openai:", "ollama:")
    (found,) = dl.generate(name, "Say.", "temperature=0.5 | sample(n=3)", seed=5, max_new_tokens=7, stop="x")
    assert [c.text for c in found.candidates] == ["5", "6", "7"]
    assert {path["path"] for path in server.headers} == {"/api/generate"}
    assert server.asked[0]["raw"] is True
    assert server.asked[0]["options"]["num_predict"] == 7
    assert server.asked[0]["options"]["stop"] == ["x"]


def test_llama_cpp_is_asked_its_own_way(serve):
    said = {"content": " cat", "stop_type": "word", "stopping_word": ".", "tokens": [5], "tokens_predicted": 2,
            "completion_probabilities": [{"token": " cat", "logprob": -0.25}]}  # fmt: skip
    server = serve(lambda body, number: (200, {}, json.dumps(said).encode()))
    name = server.name.replace("openai:", "llama:")
    (found,) = dl.generate(name, "A", "top_k=3 | temperature=0.5", stop=".", max_new_tokens=7)
    best = found.best
    assert (best.text, best.tokens, best.token_logprobs, best.finish_reason) == (" cat", (5,), (-0.25,), "stop")
    assert server.headers[0]["path"] == "/completion"
    assert server.asked[0]["samplers"] == ["top_k", "temperature"]


def test_a_chat_is_asked_as_a_chat_and_its_turn_is_continued_where_that_is_possible(serve):
    said = {"choices": [{"message": {"content": "yes\n"}, "finish_reason": "stop", "stop_reason": None}]}
    server = serve(lambda body, number: (200, {}, json.dumps(said).encode()))
    chat = dl.Chat.of("Well?")
    assert dl.generate(server.name, chat, "greedy")[0].best.text == "yes\n"
    assert server.asked[0]["messages"] == [{"role": "user", "content": "Well?"}]

    def line(body: dict[str, Any], number: int) -> tuple[int, dict[str, str], bytes]:
        choice = {"message": {"content": f"{number}"}, "stop_reason": "\n" if number < 2 else None}
        return 200, {}, json.dumps({"choices": [choice | {"finish_reason": "stop"}] * body.get("n", 1)}).encode()

    def lines(body: dict[str, Any], number: int) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, json.dumps({"choices": [{"message": {"content": "one\ntwo"}}] * body.get("n", 1)}).encode()

    ticking = serve(line)
    search = dl.StepBeam(1, 2, longest)
    (found,) = dl.generate(ticking.name.replace("openai:", "vllm:"), chat, search, max_new_tokens=9)
    assert found.best.text == "0\n1\n2"
    assert ticking.asked[1]["messages"][-1] == {"role": "assistant", "content": "0\n"}
    assert ticking.asked[1]["continue_final_message"] is True
    with pytest.raises(UnsupportedStrategy, match="cannot continue a turn of a chat"):
        dl.generate(serve(lines).name, chat, search)


@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        ("sample(n=2) | best_of(by=entropy)", "it needs the whole distribution at each token"),
        ("sample(n=2) | best_of(by=self_eval)", "it asks the model itself"),
        ("step_beam(width=2, expand=2, scorer=logprob)", "it asks the model itself"),
    ],
)
def test_what_needs_the_model_is_refused_before_anything_is_asked(serve, strategy, why):
    server = serve(lambda body, number: "")
    with pytest.raises(UnsupportedStrategy, match=why):
        dl.generate(server.name, "Count.", strategy)
    assert server.asked == []


def test_a_least_length_is_no_limit_of_steps():
    with pytest.raises(UnsupportedStrategy, match="min_new_tokens would hold for each step of step_beam"):
        dl.generate("vllm:http://127.0.0.1:9#m", "A", dl.StepBeam(2, 2, longest), min_new_tokens=3)


def test_a_server_that_drops_n_is_found_out(serve):
    one = {"choices": [{"text": "a", "finish_reason": "stop"}]}
    server = serve(lambda body, number: (200, {}, json.dumps(one).encode()))
    with pytest.raises(NoReply, match="sent 1 of 4 sequences: it does not take n"):
        dl.generate(server.name, "A", "sample(n=4)")


@pytest.mark.parametrize(
    "fault",
    [(429, {"retry-after": "3"}, b""), (500, {}, b""), (200, {"content-length": "99", "connection": "close"}, b"{")],
    ids=["busy", "broken", "cut"],
)
def test_faults_that_pass_are_retried(serve, fault):
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    server = serve(lambda body, number: fault if number < 2 else write(body, says_stop=True))
    jobs = [TextJob(i, "Count.", Strategy.of("sample"), Limits(), i) for i in range(2)]
    found = dict(RemoteModel(server.name, at_once=1, sleep=sleep).generations(jobs))
    assert [g.best.text for _, g in sorted(found.items()) if isinstance(g, dl.Generation)] == WHOLE[:2]
    assert len(waited) == 2
    assert fault[0] != 429 or waited == [3.0, 3.0]


def test_a_refused_prompt_fails_alone_and_a_wrong_key_ends_all(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-key")

    def answer(body: dict[str, Any], number: int) -> tuple[int, dict[str, str], bytes]:
        if body["prompt"] == "bad":
            return 400, {}, b'{"error": {"message": "not with sk-secret-key"}}'
        return write(body, says_stop=True)

    server = serve(answer)
    jobs = [TextJob(i, prompt, Strategy.of("greedy"), Limits()) for i, prompt in enumerate(["Count.", "bad"])]
    found = dict(RemoteModel(server.name).generations(jobs))
    assert isinstance(found[0], dl.Generation)
    assert isinstance(found[1], NoReply)
    assert "sk-secret" not in str(found[1])
    with pytest.raises(EndpointFailed, match="answered 401; check the key in OPENAI_API_KEY"):
        dl.generate(serve(lambda body, number: (401, {}, b"")).name, "Count.", "greedy")


def test_a_scorer_that_raises_fails_its_prompt(count):
    _, name = count("vllm")

    def broken(prompt: str, texts: Sequence[str]) -> list[float]:
        raise ValueError("no")

    with pytest.raises(dl.DecodelabError, match="raised ValueError: no for the text"):
        dl.generate(name, "Count.", dl.StepBeam(2, 1, broken))


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{}", b'{"choices": {}}', b'{"choices": [7]}', b'{"choices": [{"text": 3}]}', b"\xff" * 50],
)
def test_what_is_no_completion_is_refused(serve, body):
    server = serve(lambda body_, number: (200, {}, body))

    async def sleep(seconds: float) -> None:
        pass

    job = TextJob(0, "A", Strategy.of("greedy"), Limits())
    with pytest.raises(EndpointFailed, match="sent an invalid response: no completion"):
        list(RemoteModel(server.name, sleep=sleep).generations([job]))


@pytest.mark.parametrize("name", ["vllm:127.0.0.1", "llama:http://127.0.0.1:1", "vllm:http://u:p@127.0.0.1/v1#m"])
def test_a_bad_address_is_one_line(name):
    with pytest.raises(RequestError, match=r"endpoint: (write|an address)") as error:
        dl.load(name)
    assert "\n" not in str(error.value)
    assert "u:p" not in str(error.value)


def test_a_loaded_server_is_a_model_of_generate(count):
    _, name = count("openai")
    model = dl.load(name)
    assert isinstance(model, dl.RemoteModel)
    assert dl.generate(model, ["Count."], "greedy")[0].best.text == WHOLE[0]
