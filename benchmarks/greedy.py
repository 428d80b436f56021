"""Greedy decoding: tokens a second of decodelab against `transformers.generate`, in one run.

Both decode the same prompts on the same loaded weights, the same number of new tokens (EOS cannot end
them), with the same threads. Rounds alternate between the two so that a busy machine slows both; the ratio is that
of the medians, its spread the quartiles of the ratios of neighbouring rounds.

    python benchmarks/greedy.py                    # pocket-small at batch 1, 8 and 32
    python benchmarks/greedy.py --model DIR --batch 1 --new-tokens 64 --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from contest import padded

import decodelab as dl
from decodelab.core.values import Tokens

TEXT = "Once upon a time, there lived a small frog in a tiny village near the sea and the old forest"


@dataclass(frozen=True)
class Result:
    """One batch size: median tokens a second of both, and how they compare."""

    batch: int
    ours: float
    theirs: float
    ratio: float
    ratio_low: float
    ratio_high: float
    same_tokens: bool


def prompts_of(model: dl.TransformersModel, batch: int) -> list[Tokens]:
    """Prompts of the same few lengths at every batch size."""
    tokens = model.vocab.encode(TEXT)
    return [tokens[: len(tokens) - i % 4] for i in range(batch)]


def ours(model: dl.TransformersModel, prompts: Sequence[Tokens], count: int) -> list[Tokens]:
    """Continue greedily with decodelab."""
    found = dl.generate(model, prompts, "greedy", max_new_tokens=count, min_new_tokens=count, max_rows=len(prompts))
    return [g.best.tokens for g in found]


def theirs(model: dl.TransformersModel, prompts: Sequence[Tokens], count: int) -> list[Tokens]:
    """Continue greedily with transformers."""
    ids, mask = padded(prompts)
    eos = list(model.vocab.eos_ids)
    with torch.inference_mode():
        out = model.model.generate(
            ids,
            attention_mask=mask,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            max_new_tokens=count,
            min_new_tokens=count,
            eos_token_id=eos,
            pad_token_id=eos[0],
        )
    return [tuple(row) for row in out[:, ids.shape[1] :].tolist()]


def measure(model: dl.TransformersModel, batch: int, count: int, rounds: int) -> Result:
    """Time both on one batch size."""
    prompts = prompts_of(model, batch)
    sides: tuple[Callable[..., list[Tokens]], ...] = (ours, theirs)
    same = ours(model, prompts, count) == theirs(model, prompts, count)  # also warms both up
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for turn in range(rounds):
        for side in sides if turn % 2 else reversed(sides):
            began = time.perf_counter()
            side(model, prompts, count)
            seconds[side.__name__].append(time.perf_counter() - began)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    mine, other = (statistics.median(seconds[name]) for name in ("ours", "theirs"))
    return Result(batch, batch * count / mine, batch * count / other, other / mine, low, high, same)


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket-small", help="a shipped model, a directory or a hub id")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = dl.load_transformers(given.model)
    if given.rounds < 2:
        parser.error(f"--rounds must be at least 2, got {given.rounds}")
    results = []
    for batch in given.batch:
        results.append(measure(model, batch, given.new_tokens, given.rounds))
        sys.stderr.write(f"batch {batch} done\n")
    if given.json:
        print(json.dumps({"model": model.name, "threads": given.threads, "results": [asdict(r) for r in results]}))
        return
    print(f"greedy, {model.name}, {given.new_tokens} new tokens, {given.threads} threads, {given.rounds} rounds")
    print("batch   decodelab   transformers   ratio (quartiles)      same tokens")
    for r in results:
        print(
            f"{r.batch:5d}{r.ours:9.0f}/s{r.theirs:13.0f}/s{r.ratio:8.2f} ({r.ratio_low:.2f} to {r.ratio_high:.2f})"
            f"{'yes' if r.same_tokens else 'NO':>12}"
        )


if __name__ == "__main__":
    main()
