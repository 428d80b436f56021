"""How often the batch a job runs in changes a token of it.

Draws do not depend on the batch, but the logits of a row do, in their last bits: a matrix product over more rows may
add up in another order. Where two tokens are nearly tied that decides. The same jobs (prompts under greedy, three
samples and beam 5) run alone, each in an engine of its own; all in one running batch; the same in other orders; and in
small batches that others join all the time. Counted are the continuations that differ from those of the job alone, and
the tokens up to the first that differs; what follows a different token is another text.

    python benchmarks/ties.py                                    # pocket-small, 48 prompts
    python benchmarks/ties.py --model DIR --prompts 100 --json
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch

import decodelab as dl
from decodelab.cli.progress import progress
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Candidate
from decodelab.pocket import TASKS, task

STRATEGIES = ("greedy", "temperature=0.8 | top_p=0.95 | sample(n=3)", "beam(width=5, n=5)")

Job = tuple[str, str]
"""A prompt and a strategy."""


@dataclass(frozen=True)
class Difference:
    """What a way of running the jobs changed.

    Attributes:
        way: how they ran.
        continuations: how many there are.
        tokens: their tokens, each up to the first that differs.
        flips: continuations that differ, each by one near-tie.
        gaps: for each, by how much the token that would have been chosen alone was more probable, in nats.
        logprob: the largest difference of the log-probability of a token that is the same.
    """

    way: str
    continuations: int
    tokens: int
    flips: int
    gaps: list[float]
    logprob: float


def run(
    model: LanguageModel, jobs: Sequence[Job], order: Sequence[int], rows: int, new: int
) -> Iterator[dl.Generation]:
    """Run jobs in one engine, submitted in that order; each has its place among them as its index."""
    engine = dl.Engine(model, max_rows=rows)
    places = {engine.submit(*jobs[i], max_new_tokens=new): i for i in order}
    for done in engine.run():
        assert isinstance(done, dl.Generation), done
        yield replace(done, index=places[done.index])


def compared(way: str, alone: Sequence[Sequence[Candidate]], other: Sequence[Sequence[Candidate]]) -> Difference:
    """Hold the candidates of all jobs against those of the jobs alone."""
    continuations = tokens = 0
    gaps: list[float] = []
    largest = 0.0
    for mine, theirs in zip(alone, other, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            same = next((i for i, (s, t) in enumerate(zip(a.tokens, b.tokens, strict=False)) if s != t), len(a.tokens))
            continuations += 1
            tokens += min(same + 1, len(a.tokens))
            largest = max(
                [largest, *(abs(a.token_logprobs[i] - b.token_logprobs[i]) for i in range(min(same, len(b.tokens))))]
            )
            if a.tokens != b.tokens:
                gaps.append(a.processed_logprobs[same] - b.processed_logprobs[same] if same < len(b.tokens) else 0.0)
    return Difference(way, continuations, tokens, len(gaps), gaps, largest)


def differences(
    model: LanguageModel, jobs: Sequence[Job], new: int, advance: Callable[[float, str], None]
) -> Iterator[Difference]:
    """Run the jobs alone, then in every other way."""
    alone: list[Sequence[Candidate]] = []
    for i in range(len(jobs)):
        alone += [g.candidates for g in run(model, jobs, [i], 64, new)]
        advance(i / len(jobs), "alone")
    order = list(range(len(jobs)))
    shuffled = random.Random(0).sample(order, len(order))
    ways = {
        "one batch of 256 rows": (order, 256),
        "the last first": (order[::-1], 256),
        "batches of 64 rows, joined as they empty": (order, 64),
        "shuffled, 64 rows": (shuffled, 64),
        "shuffled, 16 rows": (shuffled, 16),
    }
    for done, (way, (sequence, rows)) in enumerate(ways.items(), 1):
        advance(done, way)
        found = sorted(run(model, jobs, sequence, rows, new), key=lambda g: g.index)
        yield compared(way, alone, [g.candidates for g in found])


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket-small", help="a shipped model, a directory or a hub id")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    for name in ("prompts", "new_tokens", "threads"):
        if getattr(given, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(given, name)}")
    torch.set_num_threads(given.threads)
    model = dl.load(given.model)
    names = sorted(TASKS)
    prompts = [task(names[i % len(names)]).generate(i, "test").prompt for i in range(given.prompts)]
    jobs = [(prompt, strategy) for prompt in prompts for strategy in STRATEGIES]
    found: list[Difference] = []
    print(f"{model.name}: {len(jobs)} jobs of up to {given.new_tokens} tokens", file=sys.stderr)
    with progress(6, "alone") as advance:
        for difference in differences(model, jobs, given.new_tokens, advance):
            found.append(difference)
            if not given.json:
                d = difference
                print(
                    f"{d.way:42}{d.flips:5d} of {d.continuations:,} continuations, {d.tokens:,} tokens; "
                    f"largest difference of a log-probability {d.logprob:.1e}",
                    flush=True,
                )
    if given.json:
        print(json.dumps({"model": model.name, "jobs": len(jobs), "differences": [asdict(d) for d in found]}))


if __name__ == "__main__":
    main()
