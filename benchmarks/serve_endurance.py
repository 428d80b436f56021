"""Whether a server holds bursts of requests without a failure, and whether its memory stays flat.

    python benchmarks/serve_endurance.py                    # Poisson arrivals, bursts, then 10,000 requests
    python benchmarks/serve_endurance.py --requests 2000 --seconds 10

Arrivals do not wait for answers: `poisson` at a rate, `bursts` at five times that rate for a fifth of the time. Prints
the statuses, the seconds to an answer at the median and the 99th percentile, and the server's resident memory.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from serve import requests, serve_models, spread


def arrivals(kind: str, rate: float, seconds: float) -> list[float]:
    """When requests come, in seconds from the beginning."""
    draw, at, found = random.Random(0), 0.0, list[float]()
    while (at := at + draw.expovariate(rate if kind == "poisson" else 5 * rate)) < seconds:
        if kind == "bursts" and at % 5 > 1:
            at += 5 - at % 5  # four seconds of silence
        found.append(at)
    return found


async def ask(address: str, jobs: list[dict[str, Any]], at: list[float]) -> tuple[Counter[int], list[float]]:
    """Send each request at its time; half of them are streamed."""
    import httpx2

    statuses, took = Counter[int](), list[float]()
    limits = httpx2.Limits(max_connections=2000)
    async with httpx2.AsyncClient(base_url=address, timeout=600, limits=limits) as http:
        began = time.perf_counter()

        async def one(i: int, when: float) -> None:
            await asyncio.sleep(when - (time.perf_counter() - began))
            sent = time.perf_counter()
            answer = await http.post("/v1/completions", json=jobs[i % len(jobs)] | {"stream": i % 2 == 1})
            failed = answer.status_code == 200 and i % 2 == 1 and not answer.text.endswith("data: [DONE]\n\n")
            statuses[500 if failed else answer.status_code] += 1
            took.append(time.perf_counter() - sent)

        await asyncio.gather(*(one(i, when) for i, when in enumerate(at)))
    return statuses, took


def memory(process: int) -> float:
    """Resident MB of a process (Linux)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket-nano")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--requests", type=int, default=10_000)
    asked = parser.parse_args()
    jobs = [job | {"model": asked.model} for job in requests(256, 16)]
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve_models, args=(asked.model, 64, there), daemon=True)
    process.start()
    assert process.pid is not None
    address = here.recv()
    for kind in ("poisson", "bursts"):
        at = arrivals(kind, asked.rate, asked.seconds)
        statuses, took = asyncio.run(ask(address, jobs, at))
        print(f"{kind}: {len(at)} requests, {dict(statuses)}, to the answer {spread(took)}", flush=True)
    part = max(1, asked.requests // 10)
    for done in range(0, asked.requests, part):
        statuses, _ = asyncio.run(ask(address, jobs, [0.0] * part))
        print(f"{done + part} requests, {dict(statuses)}: {memory(process.pid):.0f} MB", flush=True)
    process.terminate()


if __name__ == "__main__":
    main()
