"""Mirostat on real models: does the average surprise become tau, and where can it not?

One controller runs through text after text of a model (from BOS to EOS or the end of the context, then the next)
for a given number of steps, perhaps behind a temperature. The average surprise of its tokens, in bits under the
distribution mirostat is given, is compared with tau, and with what that distribution gives without mirostat: no cut
makes it larger.

    python benchmarks/mirostat.py                              # pocket-small; stories260K too with DECODELAB_DATA set
    python benchmarks/mirostat.py --model DIR --tau 2 3 --temperature 1 --steps 2000 --json
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import decodelab as dl
from decodelab.core.key import Keys
from decodelab.core.protocols import LanguageModel
from decodelab.search.sample import inverse_cdf

NEAR = 0.15
"""How far from tau, in bits, counts as on target."""


@dataclass(frozen=True)
class Result:
    """One run: what was asked for and what came out, in bits; `own` is the average surprise without mirostat."""

    model: str
    temperature: float
    version: int
    tau: float
    seed: int
    steps: int
    surprise: float
    own: float
    kept: float
    mu: float

    @property
    def verdict(self) -> str:
        """Whether tau was held, and if not whether it could have been."""
        if abs(self.surprise - self.tau) <= NEAR and self.tau <= self.own:
            return "held"
        only_the_best_was_left = self.kept < 1.05 and self.surprise > self.tau
        return "out of reach" if self.tau > self.own - NEAR or only_the_best_was_left else "MISSED"


def run(
    model: LanguageModel, temperature: float, stage: dl.Mirostat | None, steps: int, seed: int
) -> tuple[float, float, float]:
    """Average surprise in bits and tokens kept over this many steps, and the final mu."""
    bos = model.vocab.bos_id
    prompt = (bos,) if bos is not None else model.vocab.encode("Once upon a time")
    state = stage.init([prompt], model.vocab, Keys.of(seed, prompt, [0])) if stage else None
    surprise = kept = 0.0
    done = text = 0
    while done < steps:
        keys = Keys.of(seed, prompt, [text])
        logits, cache = model.prefill([prompt])
        for position in range(min(steps - done, (model.context_length or steps) - len(prompt))):
            logits = dl.Temperature(temperature).apply(logits.float(), None)
            after = stage.apply(logits, state) if stage and state else logits
            token = inverse_cdf(after, keys.uniform(torch.tensor([position])))
            surprise -= float(logits.double().log_softmax(-1)[0, token]) / math.log(2)
            kept += int(after.isfinite().sum())
            state = stage.update(state, logits, token) if stage and state else None
            done += 1
            if int(token) in model.vocab.eos_ids:
                break
            logits, cache = model.decode(cache, token[:, None])
            logits = logits[:, 0]
        text += 1
    return surprise / steps, kept / steps, float(state.mu) if state else math.nan


def measure(name: str, temperatures: list[float], taus: list[float], seeds: int, steps: int) -> Iterator[Result]:
    """All runs on one model."""
    model = dl.load(name)
    label = Path(name).name
    with torch.inference_mode():
        for temperature, seed in itertools.product(temperatures, range(seeds)):
            own, _, _ = run(model, temperature, None, steps, seed)
            for version, tau in itertools.product((1, 2), taus):
                stage = dl.Mirostat(tau=tau, version=version)
                surprise, kept, mu = run(model, temperature, stage, steps, seed)
                yield Result(label, temperature, version, tau, seed, steps, surprise, own, kept, mu)
                sys.stderr.write(f"{label} temperature {temperature:g} seed {seed}: {stage} done\n")


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("DECODELAB_DATA")
    models = ["pocket-small", *([str(Path(data) / "models" / "stories260K")] if data else [])]
    parser.add_argument("--model", nargs="+", default=models, help="shipped models, directories or hub ids")
    parser.add_argument("--tau", type=float, nargs="+", default=[2.0, 3.0, 4.5], help="targets, in bits a token")
    parser.add_argument("--temperature", type=float, nargs="+", default=[1.0, 2.0], help="before mirostat")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results = [r for name in given.model for r in measure(name, given.temperature, given.tau, given.seeds, given.steps)]
    if given.json:
        print(json.dumps([asdict(r) | {"verdict": r.verdict} for r in results]))
        return
    print(f"{given.steps} steps; surprise in bits a token; held: within {NEAR} of tau")
    print("model         temperature  version   tau   surprise   without   tokens kept   mu at the end   verdict")
    for r in results:
        print(
            f"{r.model[:14]:14}{r.temperature:11.2f}{r.version:9d}{r.tau:6.2f}{r.surprise:11.3f}{r.own:10.3f}"
            f"{r.kept:14.1f}{r.mu:16.2f}   {r.verdict}"
        )


if __name__ == "__main__":
    main()
