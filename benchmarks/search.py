"""Searches: time a step of each against beam search of the same width, ours and that of transformers.

All decode the same prompts on the same loaded weights, the same number of new tokens (EOS cannot end them), with the
same threads. Rounds run every search once, in turning order, so that a busy machine slows all; a ratio is the median of
the ratios within rounds, its spread their quartiles. Times are CPU seconds of the process.

    OMP_NUM_THREADS=1 python benchmarks/search.py                # pocket-nano, width 8
    python benchmarks/search.py --model pocket-small --width 24 --prompt-tokens 160 --only "diverse_beam, hamming"
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

import decodelab as dl
from decodelab.core.values import Tokens

TEXT = "Once upon a time, there lived a small frog in a tiny village near the sea and the old forest"
BEAM = "beam"
TRANSFORMERS = "transformers beam"


def strategies(width: int, groups: int) -> dict[str, str]:
    """The searches, each with `width` rows; add a line for another."""
    shape = f"width={width}, groups={groups}, penalty=0.5"
    return {
        BEAM: f"beam(width={width})",
        "beam, scores=model": f"top_k=50 | beam(width={width}, scores=model)",
        "beam, dedupe=text": f"beam(width={width}, dedupe=text)",
        "beam, sampling": f"beam(width={width}, sampling=true)",
        "diverse_beam, hamming": f"diverse_beam({shape})",
        "diverse_beam, cumulative": f"diverse_beam({shape}, diversity=cumulative)",
        "diverse_beam, ngram": f"diverse_beam({shape}, diversity=ngram)",
        "diverse_beam, embedding": f"diverse_beam({shape}, diversity=embedding)",
        "stochastic_beam": f"stochastic_beam(width={width})",
        "arithmetic": f"arithmetic(n={width})",
        "sample": f"sample(n={width})",
        "value_beam, logprob": f"value_beam(width={width}, scorer=logprob)",
        "smc, logprob": f"smc(particles={width}, scorer=logprob)",
    }


@dataclass(frozen=True)
class Result:
    """One search: CPU milliseconds a step, and how that compares with the plain beam and with transformers' beam."""

    name: str
    strategy: str
    milliseconds: float
    to_beam: float
    to_beam_low: float
    to_beam_high: float
    to_transformers: float | None


def decodelab_run(model: dl.TransformersModel, prompts: Sequence[Tokens], strategy: str, count: int) -> None:
    """Continue the prompts with decodelab."""
    dl.generate(model, prompts, strategy, max_new_tokens=count, min_new_tokens=count, max_rows=10_000)


def transformers_run(model: dl.TransformersModel, prompts: Sequence[Tokens], width: int, count: int) -> None:
    """Continue the prompts with the beam search of transformers."""
    ids = torch.tensor(prompts)
    with torch.inference_mode():
        model.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            num_beams=width,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            max_new_tokens=count,
            min_new_tokens=count,
            eos_token_id=list(model.vocab.eos_ids),
            pad_token_id=model.vocab.eos_ids[0],
        )


def measure(
    model: dl.TransformersModel,
    chosen: dict[str, str],
    width: int,
    prompt_tokens: int,
    prompts: int,
    count: int,
    rounds: int,
) -> list[Result]:
    """Time these searches."""
    tokens = model.vocab.encode(TEXT)
    given = [(tokens * (1 + prompt_tokens // len(tokens)))[:prompt_tokens]] * prompts
    runs: dict[str, Callable[[], None]] = {
        name: lambda s=strategy: decodelab_run(model, given, s, count) for name, strategy in chosen.items()
    }
    runs[TRANSFORMERS] = lambda: transformers_run(model, given, width, count)
    for run in runs.values():  # once to warm up
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.process_time()
            runs[name]()
            seconds[name].append(time.process_time() - began)
        sys.stderr.write(f"round {turn + 1} of {rounds} done\n")
    results = []
    for name in names:
        ratios = [a / b for a, b in zip(seconds[name], seconds[BEAM], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        peer = [a / b for a, b in zip(seconds[name], seconds[TRANSFORMERS], strict=True)]
        results.append(
            Result(
                name,
                chosen.get(name, f"transformers.generate(num_beams={width})"),
                1000 * statistics.median(seconds[name]) / count,
                middle,
                low,
                high,
                None if name == TRANSFORMERS else statistics.median(peer),
            )
        )
    return results


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket-nano", help="a shipped model, a directory or a hub id")
    parser.add_argument("--width", type=int, default=8, help="rows of each search")
    parser.add_argument("--groups", type=int, default=4, help="groups of the diverse beams; they divide the width")
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these searches, besides the beams")
    parser.add_argument("--prompts", type=int, default=1)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.rounds < 2 or given.width % given.groups:
        parser.error("--rounds must be at least 2, and --groups must divide --width")
    chosen = strategies(given.width, given.groups)
    if unknown := set(given.only or ()) - set(chosen):
        parser.error(f"--only: no search {min(unknown)!r}; there are {', '.join(chosen)}")
    chosen = {name: s for name, s in chosen.items() if not given.only or name in (BEAM, *given.only)}
    torch.set_num_threads(given.threads)
    model = dl.load_transformers(given.model)
    results = measure(model, chosen, given.width, given.prompt_tokens, given.prompts, given.new_tokens, given.rounds)
    if given.json:
        print(json.dumps(vars(given) | {"results": [asdict(r) for r in results]}))
        return
    print(
        f"{model.name}, width {given.width}, {given.prompts} prompts of {given.prompt_tokens} tokens, "
        f"{given.new_tokens} new tokens, {given.threads} threads, {given.rounds} rounds"
    )
    print(f"{'search':26}{'CPU ms a step':>14}   {'to beam (quartiles)':24}{'to transformers beam'}")
    for r in results:
        peer = "" if r.to_transformers is None else f"{r.to_transformers:.2f}"
        ratio = f"{r.to_beam:.2f} ({r.to_beam_low:.2f} to {r.to_beam_high:.2f})"
        print(f"{r.name:26}{r.milliseconds:14.2f}   {ratio:24}{peer}")


if __name__ == "__main__":
    main()
