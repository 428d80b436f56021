"""Models that raise, clients that leave or are slow, too many requests, and the end of the server."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx2
import pytest

import decodelab as dl
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Tokens
from decodelab.server.settings import ServerSettings


class Trouble:
    """A model that does something before each pass; stands in for another one."""

    def __init__(self, model: LanguageModel, before: Callable[[int], None]) -> None:
        self._model, self._before, self.passes = model, before, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def prefill(self, prompts: Sequence[Tokens]) -> Any:
        self._pass()
        return self._model.prefill(prompts)

    def decode(self, cache: Any, tokens: Any) -> Any:
        self._pass()
        return self._model.decode(cache, tokens)

    def _pass(self) -> None:
        self.passes += 1
        self._before(self.passes)


def table() -> LanguageModel:
    """Texts that never end by themselves."""
    return dl.TableModel(["a", "b"], {...: {"a": 0.5, "b": 0.5}}, bos="<s>", separator="")


def slow(seconds: float) -> Any:
    """A table that takes its time."""
    return Trouble(table(), lambda _: time.sleep(seconds))


ASKED = {"model": "m", "prompt": "a", "max_tokens": 8, "seed": 1}


ENDED = 'decodelab_request_seconds_count{route="/v1/completions"} 1.0'
"""Says of the metrics that one request has been answered to its end."""


def metric(client: httpx2.Client, name: str) -> float:
    """A number among the metrics."""
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def idle(client: httpx2.Client, seconds: float = 5) -> bool:
    """Whether nothing runs or waits, within a while."""
    names = ("decodelab_rows_running", "decodelab_requests_waiting")
    return until(lambda: not any(metric(client, name) for name in names), seconds)


def until(holds: Callable[[], bool], seconds: float) -> bool:
    """Whether something comes to hold within a while."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def running(client: httpx2.Client, rows: int) -> None:
    """Wait until at least so many rows run."""
    while metric(client, "decodelab_rows_running") < rows:
        time.sleep(0.01)


def test_a_model_that_raises_fails_its_requests_and_no_others(serve: Any) -> None:
    def raising(number: int) -> None:
        if number == 3:
            raise RuntimeError("/secret/path of the weights")

    with serve({"m": Trouble(table(), raising), "n": table()}) as address, httpx2.Client(base_url=address) as client:
        failed = client.post("/v1/completions", json=ASKED)
        assert failed.status_code == 500
        assert failed.json()["error"]["message"] == "the model failed (ForwardFailed); the server's log says why"
        assert client.post("/v1/completions", json=ASKED).json()["usage"]["completion_tokens"] == 8
        assert client.post("/v1/completions", json=ASKED | {"model": "n"}).status_code == 200


def test_an_error_in_the_middle_of_a_stream_is_its_last_event(serve: Any) -> None:
    def raising(number: int) -> None:
        if number == 5:
            raise RuntimeError("out of memory")

    with serve({"m": Trouble(table(), raising)}) as address:
        text = httpx2.post(f"{address}/v1/completions", json=ASKED | {"stream": True}).text
    *pieces, last = [json.loads(event.removeprefix("data: ")) for event in text.split("\n\n") if event]
    assert "".join(piece["choices"][0]["text"] for piece in pieces)
    assert last["error"]["type"] == "server_error"
    assert "[DONE]" not in text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("strategy", ["sample", "beam(width=4)", "sample(n=40) | until | vote"])
def test_a_client_that_leaves_frees_its_rows(serve: Any, stream: bool, strategy: str) -> None:
    model = slow(0.02)
    with serve({"m": model}) as address, httpx2.Client(base_url=address) as client:
        asked = ASKED | {"max_tokens": 1000, "strategy": strategy, "stream": stream}
        if stream:
            with httpx2.stream("POST", f"{address}/v1/completions", json=asked, timeout=60) as answer:
                assert answer.status_code == 200
                running(client, 1)
        else:
            with pytest.raises(httpx2.TimeoutException):
                httpx2.post(f"{address}/v1/completions", json=asked, timeout=0.3)
        assert idle(client)
        passes = model.passes
        assert passes < 400
        time.sleep(0.1)
        assert model.passes == passes


def test_a_client_that_leaves_before_its_turn_is_never_computed(serve: Any) -> None:
    model = slow(0.02)
    with (
        serve({"m": model}, ServerSettings(max_rows=1, grace=1)) as address,
        httpx2.Client(base_url=address, timeout=60) as client,
    ):
        first = threading.Thread(
            target=client.post, args=("/v1/completions",), kwargs={"json": ASKED | {"max_tokens": 40}}
        )
        first.start()
        time.sleep(0.1)
        for _ in range(3):
            with pytest.raises(httpx2.TimeoutException):
                httpx2.post(f"{address}/v1/completions", json=ASKED | {"max_tokens": 2000}, timeout=0.1)
        first.join()
        assert idle(client)
        assert model.passes < 60


def test_a_full_queue_says_when_to_come_again(serve: Any) -> None:
    settings = ServerSettings(max_rows=1, max_queue=2, grace=1)

    async def ask(address: str) -> list[httpx2.Response]:
        async with httpx2.AsyncClient(base_url=address, timeout=60) as client:
            return await asyncio.gather(*(client.post("/v1/completions", json=ASKED) for _ in range(12)))

    with serve({"m": slow(0.02)}, settings) as address:
        answers = asyncio.run(ask(address))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert {answer.status_code for answer in answers} == {200, 429}
        assert all(answer.headers["retry-after"] == "1" for answer in refused)
        assert all(answer.json()["error"]["type"] == "rate_limit_error" for answer in refused)
        assert httpx2.post(f"{address}/v1/completions", json=ASKED).status_code == 200


def test_a_deadline_ends_what_runs_and_what_waits(serve: Any) -> None:
    settings = ServerSettings(max_rows=1, deadline=0.4, grace=1)

    async def ask(address: str) -> list[int]:
        async with httpx2.AsyncClient(base_url=address, timeout=60) as client:
            asked = ASKED | {"max_tokens": 4000}
            answers = await asyncio.gather(*(client.post("/v1/completions", json=asked) for _ in range(3)))
            return [answer.status_code for answer in answers]

    with serve({"m": slow(0.02)}, settings) as address, httpx2.Client(base_url=address) as client:
        assert asyncio.run(ask(address)) == [504, 504, 504]
        assert idle(client)


def test_a_reader_that_is_slow_holds_up_nobody(serve: Any) -> None:
    with serve({"m": table()}) as address, httpx2.Client(base_url=address, timeout=60) as client:
        asked = ASKED | {"max_tokens": 600, "stream": True}
        with client.stream("POST", "/v1/completions", json=asked) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("data:")
            assert httpx2.post(f"{address}/v1/completions", json=ASKED, timeout=30).status_code == 200
            rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"


def test_a_client_that_never_reads_is_given_up(serve: Any) -> None:
    """What waits for it is in memory, so it waits for no longer than a request may take."""
    asked = ASKED | {"prompt": "ab" * 50_000, "echo": True, "n": 64, "stream": True}  # more than sockets hold
    body = json.dumps(asked).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with (
        serve({"m": table()}, ServerSettings(deadline=0.5, grace=1)) as address,
        httpx2.Client(base_url=address) as client,
        socket.socket() as connection,
    ):
        connection.connect(("127.0.0.1", int(address.rsplit(":", 1)[1])))
        connection.sendall(head + body)
        assert until(lambda: ENDED in client.get("/metrics").text, 20)
        assert idle(client)


@pytest.mark.slow
def test_ten_thousand_prompts_that_wait_are_all_answered(serve: Any) -> None:
    settings = ServerSettings(max_queue=10_000, grace=1)

    async def ask(address: str) -> set[str]:
        limits = httpx2.Limits(max_connections=2000)
        async with httpx2.AsyncClient(base_url=address, timeout=600, limits=limits) as client:

            async def one(seed: int) -> str:
                prompts = ["a", "b", "a", "b", "a"]
                answer = await client.post("/v1/completions", json=ASKED | {"prompt": prompts, "seed": seed % 7})
                return json.dumps([seed % 7, *(choice["text"] for choice in answer.json()["choices"])])

            return set(await asyncio.gather(*map(one, range(2000))))

    with serve({"m": table()}, settings) as address, httpx2.Client(base_url=address) as client:
        assert len(asyncio.run(ask(address))) == 7
        assert metric(client, 'decodelab_requests_total{route="/v1/completions",status="200"}') == 2000
        assert idle(client)


def test_a_client_with_many_requests_lets_others_through(serve: Any) -> None:
    """Fair queues are by address, so this test asks the queue itself."""
    from decodelab.server.fairness import FairQueue

    queue: FairQueue[tuple[str, int]] = FairQueue()
    for i in range(10_000):
        queue.put(("a", i), "a")
    queue.put(("b", 0), "b")
    queue.put(("c", 0), "c", priority=-1)
    assert [queue.get() for _ in range(4)] == [("c", 0), ("a", 0), ("b", 0), ("a", 1)]
    assert len(queue) == 9_998
    assert queue.remove(("a", 5000))
    assert not queue.remove(("a", 5000))


def test_a_server_that_stops_finishes_or_fails_what_runs(serve: Any) -> None:
    found: list[httpx2.Response] = []

    def ask(tokens: int) -> None:
        found.append(httpx2.post(f"{address}/v1/completions", json=ASKED | {"max_tokens": tokens}, timeout=60))

    with serve({"m": slow(0.02)}, ServerSettings(grace=0.2)) as address:
        threads = [threading.Thread(target=ask, args=(tokens,)) for tokens in (200, 2000)]
        for thread in threads:
            thread.start()
        with httpx2.Client(base_url=address) as client:
            running(client, 2)
    for thread in threads:
        thread.join()
    by_status = {answer.status_code: answer for answer in found}
    assert set(by_status) == {503}
    assert by_status[503].json()["error"]["code"] in ("shut_down", "shutting_down")
