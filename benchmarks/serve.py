"""Clients of a server against the engine alone, on the same jobs in the same run.

    python benchmarks/serve.py                       # 64 clients, 512 requests, pocket-small
    python benchmarks/serve.py --stream --clients 16 # streamed, with times to the first and between tokens

Prints the tokens a second of `dl.Engine` and of the server, and their ratio. The clients run in a process of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import statistics
import time
from typing import Any

import decodelab as dl
from decodelab.engine.generate import collected
from decodelab.engine.threads import threads_for

STRATEGIES = ("greedy", "temperature=0.8 | top_p=0.9", "top_k=40 | sample(n=2)", "beam(width=2)")


def requests(count: int, new: int) -> list[dict[str, Any]]:
    """The same jobs for both."""
    draw = random.Random(0)
    begins = ("Once upon a time there was a {}", "What is {} + {}?", "The {} went to the {}", "One day a {} saw")
    words = ("cat", "dog", "frog", "girl", "bird", "king", "tree", "house")
    found: list[dict[str, Any]] = []
    for i in range(count):
        prompt = draw.choice(begins).format(draw.choice(words), draw.choice(words))
        found.append({"prompt": prompt, "strategy": STRATEGIES[i % len(STRATEGIES)], "seed": i, "max_tokens": new})
    return found


def by_engine(name: str, jobs: list[dict[str, Any]], rows: int) -> tuple[float, int]:
    """Seconds and tokens of the engine alone."""
    engine = dl.Engine(dl.load(name), max_rows=rows)
    with threads_for(engine.model):
        began = time.perf_counter()
        for job in jobs:
            engine.submit(job["prompt"], job["strategy"], seed=job["seed"], max_new_tokens=job["max_tokens"])
        tokens = sum(len(c.tokens) for g in collected(engine) for c in g.candidates)
        return time.perf_counter() - began, tokens


def serve_models(name: str, rows: int, port: Any) -> None:
    """The process of the server."""
    from decodelab.server.run import serve
    from decodelab.server.settings import ServerSettings

    model = dl.load(name)
    with threads_for(model):
        settings = ServerSettings(port=0, max_rows=rows, max_queue=100_000)
        serve({name: model}, settings, lambda address: port.send(address))


def by_server(address: str, name: str, jobs: list[dict[str, Any]], clients: int, stream: bool) -> dict[str, Any]:
    """What clients see of the server."""
    import httpx2

    first: list[float] = []
    between: list[float] = []
    waiting = list(reversed(jobs))
    tokens = 0

    async def client(http: Any) -> None:
        nonlocal tokens
        while waiting:
            job = waiting.pop() | {"model": name}
            if not stream:
                answer = (await http.post("/v1/completions", json=job)).json()
                tokens += answer["usage"]["completion_tokens"]
                continue
            last, seen = time.perf_counter(), False
            body = job | {"stream": True, "stream_options": {"include_usage": True}}
            async with http.stream("POST", "/v1/completions", json=body) as events:
                async for line in events.aiter_lines():
                    if not line.startswith("data: {"):
                        continue
                    event = json.loads(line.removeprefix("data: "))
                    if any(choice["text"] for choice in event["choices"]):
                        now = time.perf_counter()
                        (between if seen else first).append(now - last)
                        last, seen = now, True
                    if "usage" in event:
                        tokens += event["usage"]["completion_tokens"]

    async def run() -> float:
        limits = httpx2.Limits(max_connections=clients)
        async with httpx2.AsyncClient(base_url=address, timeout=600, limits=limits) as http:
            began = time.perf_counter()
            await asyncio.gather(*(client(http) for _ in range(clients)))
            return time.perf_counter() - began

    seconds = asyncio.run(run())
    return {"seconds": seconds, "tokens": tokens, "first": first, "between": between}


def spread(values: list[float]) -> str:
    """The median and the 99th percentile, in milliseconds."""
    if not values:
        return "none"
    ordered = sorted(values)
    return f"{1000 * statistics.median(ordered):.1f} ms, 99 %: {1000 * ordered[int(0.99 * (len(ordered) - 1))]:.1f} ms"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket-small")
    parser.add_argument("--requests", type=int, default=512)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stream", action="store_true")
    asked = parser.parse_args()
    jobs = requests(asked.requests, asked.tokens)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve_models, args=(asked.model, asked.rows, there), daemon=True)
    process.start()
    address = here.recv()
    ratios: list[float] = []
    by_server(address, asked.model, jobs[:32], 8, False)  # warm
    for _ in range(asked.rounds):
        seconds, tokens = by_engine(asked.model, jobs, asked.rows)
        found = by_server(address, asked.model, jobs, asked.clients, asked.stream)
        assert found["tokens"] == tokens, (found["tokens"], tokens)
        ratios.append((tokens / found["seconds"]) / (tokens / seconds))
        print(f"engine {tokens / seconds:.0f} tokens/s, server {tokens / found['seconds']:.0f}: {ratios[-1]:.2f}")
        if asked.stream:
            print(f"  to the first token {spread(found['first'])}; between tokens {spread(found['between'])}")
    print(f"server / engine, median of {len(ratios)}: {statistics.median(ratios):.2f}")
    process.terminate()


if __name__ == "__main__":
    main()
