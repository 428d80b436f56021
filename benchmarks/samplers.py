"""Samplers: the time of a token, from logits to drawn token, of decodelab and its peers, in one run and on one thread.

Of each chain: decodelab (processors, draw and, for mirostat, the controller's update, as the engine runs them),
transformers (its logits processors, softmax and multinomial; it has no mirostat, which is set against its
temperature + top-p and marked ~), llama.cpp (its sampler chain, if llama-cpp-python can be imported: `make peers`; its
candidates are copied from a template, which takes less than its own loop), and plain torch (softmax and
multinomial of the raw logits). Besides, the time of one torch softmax of the same logits.

Logits are made, the same for all, four of each kind, used in turn:
    natural  Zipf's distribution of exponent 1.4 over shuffled ids, with normal noise of 0.5 on the logits: 4 to 5 nats
    peaked   standard normal, and one token 25 above
    flat     normal with a standard deviation of 0.01: 11.9 nats at 151,936 tokens
Rounds go through all contestants one after the other, in turned order. In its turn each draws eight tokens in a row (at
batch 8 and 32 one of each row), so that its code and memory are in the caches for most of them; `--tokens 1` shows each
as it is when others have just filled the caches, which is mostly the time the interpreter takes to get going. Times are
those the one thread was computing, so that a busy machine disturbs little; they are medians, and ratios are those of
the same round, with their quartiles.
The first call, which compiles or loads what an earlier run compiled, is reported apart, by the clock.

    OMP_NUM_THREADS=1 python benchmarks/samplers.py           # 151,936 and 32,000 tokens, batch 1, 8 and 32
    python benchmarks/samplers.py --quick --json
    python benchmarks/samplers.py --quick --tokens 1
    python benchmarks/samplers.py --png samplers.png
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

import decodelab as dl
from decodelab.core.key import Keys
from decodelab.engine.processing import process
from decodelab.kernels.codes import TEMPERATURE
from decodelab.kernels.fused import Fused, apply_fused, draw, log_normaliser
from decodelab.search.sample import inverse_cdf

CHAINS = {
    "temperature+top_p": "temperature=0.8 | top_p=0.9",
    "typical": "temperature=0.8 | typical_p=0.9",
    "mirostat": "temperature=0.8 | mirostat(tau=3.0)",
    "top_k": "temperature=0.8 | top_k=40",
    "all": "top_k=40 | typical_p=0.99 | top_p=0.95 | min_p=0.05 | temperature=0.8",
}
KINDS = ("natural", "peaked", "flat")
NOT_THE_SAME = {"mirostat"}
"""Chains transformers has not; its temperature + top-p stands in."""

Contestant = Callable[[int], object]


@dataclass(frozen=True)
class Timing:
    """One contestant in one case: microseconds a token, and how many times longer it takes than decodelab."""

    name: str
    microseconds: float
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class Case:
    """One chain on one kind of logits of one size."""

    vocab: int
    batch: int
    kind: str
    chain: str
    kept: float
    entropy_nats: float
    softmaxes: float
    timings: list[Timing]


def make_logits(kind: str, rows: int, vocab: int, seed: int) -> Tensor:
    """Logits [rows, vocab] of a kind."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(rows, vocab, generator=generator)
    if kind == "flat":
        return 0.01 * noise
    if kind == "peaked":
        return noise.scatter(1, torch.randint(vocab, (rows, 1), generator=generator), 25.0)
    rank = torch.stack([torch.randperm(vocab, generator=generator) for _ in range(rows)]) + 2.0
    return 0.5 * noise - 1.4 * rank.log()


def ours(chain: str, pool: Sequence[Tensor]) -> Contestant:
    """decodelab: processors, draw, update."""
    strategy = dl.Strategy.of(chain)
    rows = len(pool[0])
    keys = Keys.of(0, [1, 2, 3], range(rows))
    words = dl.TableModel([f"w{i}" for i in range(3)], {}, eos=None).vocab
    states = [p.init([(1, 2, 3)] * rows, words, keys) for p in strategy.processors]

    def step(turn: int) -> Tensor:
        work = process(strategy.processors, states, pool[turn % len(pool)])
        tokens = inverse_cdf(work.logits, keys.uniform(torch.full((rows,), turn)))
        for i, (processor, given) in enumerate(zip(strategy.processors, work.given, strict=True)):
            states[i] = processor.update(states[i], given, tokens)
        return tokens

    return step


def transformers_chain(chain: str, pool: Sequence[Tensor]) -> Contestant:
    """transformers: its processors in the same order, softmax, multinomial."""
    lt = transformers
    makers: dict[str, Callable[[float], Any]] = {
        "temperature": lt.TemperatureLogitsWarper,
        "top_k": lambda k: lt.TopKLogitsWarper(int(k)),
        "top_p": lt.TopPLogitsWarper,
        "min_p": lt.MinPLogitsWarper,
        "typical_p": lt.TypicalLogitsWarper,
    }
    text = CHAINS["temperature+top_p"] if "mirostat" in chain else chain
    listed = [makers[name](float(value)) for name, value in (part.strip().split("=") for part in text.split("|"))]
    ids = torch.zeros(len(pool[0]), 1, dtype=torch.int64)

    def step(turn: int) -> Tensor:
        logits = pool[turn % len(pool)]
        for processor in listed:
            logits = processor(ids, logits)
        return torch.multinomial(torch.softmax(logits, -1), 1)

    return step


def torch_sample(pool: Sequence[Tensor]) -> Contestant:
    """Plain torch: softmax and multinomial."""
    return lambda turn: torch.multinomial(torch.softmax(pool[turn % len(pool)], -1), 1)


def torch_softmax(pool: Sequence[Tensor]) -> Contestant:
    """One softmax of the same logits."""
    return lambda turn: torch.softmax(pool[turn % len(pool)], -1)


def llama_chain(chain: str, pool: Sequence[Tensor]) -> Contestant | None:
    """llama.cpp: its sampler chain on each row; None when llama-cpp-python cannot be imported."""
    try:
        import llama_cpp  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    makers: dict[str, Callable[[float], Any]] = {
        "temperature": llama_cpp.llama_sampler_init_temp,
        "top_k": lambda k: llama_cpp.llama_sampler_init_top_k(int(k)),
        "top_p": lambda p: llama_cpp.llama_sampler_init_top_p(p, 1),
        "min_p": lambda p: llama_cpp.llama_sampler_init_min_p(p, 1),
        "typical_p": lambda p: llama_cpp.llama_sampler_init_typical(p, 1),
    }
    sampler = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    parts = [part.strip() for part in chain.split("|")]
    for part in parts:
        if part.startswith("mirostat"):
            added = llama_cpp.llama_sampler_init_mirostat_v2(0, 3.0, 0.1)
        else:
            name, value = part.split("=")
            added = makers[name](float(value))
        llama_cpp.llama_sampler_chain_add(sampler, added)
    if not parts[-1].startswith("mirostat"):
        llama_cpp.llama_sampler_chain_add(sampler, llama_cpp.llama_sampler_init_dist(0))

    vocab = pool[0].shape[1]
    layout = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
    templates = []
    for logits in pool:
        template = np.zeros(logits.shape, layout)
        template["id"], template["logit"] = np.arange(vocab), logits.numpy()
        templates.append(template)
    memory = np.empty(vocab, layout)
    data = memory.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))

    def step(turn: int) -> list[int]:
        tokens = []
        for row in templates[turn % len(templates)]:
            np.copyto(memory, row)
            candidates = llama_cpp.llama_token_data_array(data, vocab, -1, False)
            llama_cpp.llama_sampler_apply(sampler, ctypes.byref(candidates))
            token = candidates.data[candidates.selected].id
            llama_cpp.llama_sampler_accept(sampler, token)
            tokens.append(token)
        return tokens

    return step


def measure(chain: str, kind: str, vocab: int, batch: int, rounds: int, tokens: int) -> Case:
    """Time all contestants on one case."""
    pool = [make_logits(kind, batch, vocab, seed) for seed in range(4)]
    contestants: dict[str, Contestant | None] = {
        "decodelab": ours(CHAINS[chain], pool),
        "transformers": transformers_chain(CHAINS[chain], pool),
        "llama.cpp": llama_chain(CHAINS[chain], pool),
        "torch sample": torch_sample(pool),
        "torch softmax": torch_softmax(pool),
    }
    steps = max(1, tokens // batch)
    running = {name: step for name, step in contestants.items() if step is not None}
    seconds: dict[str, list[float]] = {name: [] for name in running}
    for turn in range(-1, rounds):
        for name in sorted(running, reverse=turn % 2 == 1):
            began = time.thread_time()
            for i in range(steps):
                running[name](turn * steps + i)
            if turn >= 0:
                seconds[name].append((time.thread_time() - began) / steps)
    timings = []
    for name, taken in seconds.items():
        low, middle, high = statistics.quantiles([b / a for a, b in zip(seconds["decodelab"], taken, strict=True)], n=4)
        timings.append(Timing(name, 1e6 * statistics.median(taken) / batch, middle, low, high))
    strategy = dl.Strategy.of(CHAINS[chain])
    words = dl.TableModel(["w"], {}, eos=None).vocab
    states = [p.init([(1,)] * batch, words, Keys.of(0, [1], range(batch))) for p in strategy.processors]
    kept = process(strategy.processors, states, pool[0]).logits.isfinite().sum(-1).double().mean()
    entropy = torch.special.entr(pool[0].double().softmax(-1)).sum(-1).mean()
    softmax = next(t for t in timings if t.name == "torch softmax")
    return Case(vocab, batch, kind, chain, float(kept), float(entropy), 1 / softmax.ratio, timings)


def first_call() -> float:
    """Seconds until the kernels have run once: numba's import, and compiling them or loading what was compiled."""
    began = time.perf_counter()
    logits = torch.zeros(1, 8192)
    draw(apply_fused(logits, [Fused(TEMPERATURE, 0.5)]), torch.tensor([0.5], dtype=torch.float64))
    log_normaliser(logits)
    return time.perf_counter() - began


def plot(cases: Sequence[Case], path: Path) -> None:
    """Bars of microseconds a token at batch 1 and the largest vocabulary."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    vocab = max(c.vocab for c in cases)
    shown = [c for c in cases if c.vocab == vocab and c.batch == 1]
    figure = Figure(figsize=(10, 0.5 * len(shown) + 2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = [t.name for t in shown[0].timings]
    for n, name in enumerate(names):
        at = [i + 0.8 * (n + 0.5) / len(names) - 0.4 for i in range(len(shown))]
        times = [next(t.microseconds for t in c.timings if t.name == name) for c in shown]
        axes.barh(at, times, height=0.8 / len(names), label=name)
    axes.set_yticks(range(len(shown)), [f"{c.chain}, {c.kind}" for c in shown])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(f"microseconds a token (one row, {vocab:,} tokens, one thread)")
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, nargs="+", default=[151_936, 32_000])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--chain", nargs="+", choices=list(CHAINS), default=list(CHAINS))
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=8, help="tokens in a row a turn")
    parser.add_argument("--quick", action="store_true", help="batch 1 and five rounds")
    parser.add_argument("--png", type=Path, help="also draw the times at batch 1")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    batches, rounds = ([1], 5) if given.quick else (given.batch, given.rounds)
    counts = (("rounds", 2, [rounds]), ("vocab", 2, given.vocab), ("batch", 1, batches), ("tokens", 1, [given.tokens]))
    for name, least, values in counts:
        if min(values) < least:
            parser.error(f"--{name} must be at least {least}, got {min(values)}")
    torch.set_num_threads(1)
    compiled = first_call()
    cases = []
    for vocab in given.vocab:
        for batch in batches:
            for kind in given.kind:
                for chain in given.chain:
                    cases.append(measure(chain, kind, vocab, batch, rounds, given.tokens))
                    sys.stderr.write(f"{vocab} tokens, batch {batch}, {kind}, {chain} done\n")
    if given.png is not None:
        plot(cases, given.png)
    if given.json:
        print(json.dumps({"first_call_seconds": compiled, "rounds": rounds, "cases": [asdict(c) for c in cases]}))
        return
    print(f"one thread, {rounds} rounds; the first call took {compiled:.2f} s (import, compile or load)")
    print("microseconds a token; x is how many times longer than decodelab, with quartiles")
    for c in cases:
        print(
            f"\n{c.vocab:,} tokens, batch {c.batch}, {c.kind} ({c.entropy_nats:.1f} nats): {c.chain}, {c.kept:.0f} kept"
        )
        for t in c.timings:
            stand_in = "~" if t.name == "transformers" and c.chain in NOT_THE_SAME else " "
            versus = "" if t.name == "decodelab" else f"{t.ratio:9.2f}x ({t.ratio_low:.2f} to {t.ratio_high:.2f})"
            print(f"  {t.name:14s}{stand_in}{t.microseconds:10.0f}{versus}")


if __name__ == "__main__":
    main()
