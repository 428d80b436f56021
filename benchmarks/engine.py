"""Many continuations of few prompts: seconds and cache bytes of decodelab against `transformers.generate`, in one run.

The model is a Llama of 15 million random weights (hidden 288, 6 layers, vocabulary 32,000) or one you name; both sides
decode the same prompts on the same loaded weights and threads. In `greedy`, `beam` and `sample` every continuation has
the same number of new tokens; in `sweep` (seven strategies over many prompts) and `ragged` (samples that end anywhere)
texts end by themselves, on random weights because EOS has a longer vector, or one token in 24 ends a text.
transformers decodes as many prompts at once as is fastest of `--batch`, for each strategy. Rounds alternate between the
two so that a busy machine slows both; the ratio is that of the medians for each new token, its spread the quartiles of
the ratios of neighbouring rounds. Cache bytes are what each side's cache holds at its largest (ours of one job, theirs
of one batch); copies that exist for a moment while rows are reordered are counted for neither. `--cpu` counts CPU
seconds of the process instead of the wall clock, for a machine that others use too.

With `--out` every result is kept in a file as soon as it is there, and a run that was broken off goes on where it was.

    python benchmarks/engine.py                                  # all cases
    python benchmarks/engine.py --case beam --prompt 1024        # beam 25 after 1,024 tokens
    python benchmarks/engine.py --model pocket-small --json
    python benchmarks/engine.py --growth --out growth.json       # benchmarks/growth.png
    python benchmarks/engine.py --memory                         # benchmarks/memory.png
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from contest import CLOCKS, Case, Result, measure, random_llama
from engine_plots import AXES, draw_growth, draw_memory

import decodelab as dl
from decodelab.cli.progress import progress

HERE = Path(__file__).parent
NAMES = ("greedy", "beam", "sample", "sweep", "ragged")
WIDTHS, LENGTHS, PROMPTS = [1, 2, 5, 10, 25, 50], [16, 64, 256, 1024], [1, 2, 4, 8, 16]
"""What grows under `--growth`; where one does, the others stay in the middle, prompts at 1."""


def cases_of(given: argparse.Namespace) -> list[Case]:
    """The cases asked for."""
    width, new = (given.width or [25])[0], given.new_tokens
    found: list[Case] = []
    for name in given.case or NAMES:
        if name == "greedy":
            found.append(Case(name, 1, 16, 1, new))
        elif name == "beam":
            found += [Case(name, width, prompt, 1, new) for prompt in given.prompt or [16, 256, 1024]]
        elif name == "sample":
            found.append(Case(name, width, 256, 1, new))
        elif name == "sweep":
            found.append(Case(name, 1, 64, (given.prompts or [32])[0], new))
        else:
            found.append(Case(name, 4, 64, (given.prompts or [32])[0], 4 * new))
    return found


def growth_of(given: argparse.Namespace) -> dict[str, list[Case]]:
    """Beams as their number, the prompt and the prompts grow, by what grows."""
    widths, lengths, prompts = given.width or WIDTHS, given.prompt or LENGTHS, given.prompts or PROMPTS
    width, length, new = widths[len(widths) // 2], lengths[len(lengths) // 2], given.new_tokens
    return {
        "width": [Case("beam", n, length, 1, new) for n in widths],
        "prompt": [Case("beam", width, n, 1, new) for n in lengths],
        "prompts": [Case("beam", width, length, n, new) for n in prompts],
    }


class Kept:
    """Results of earlier runs with the same settings, in a file; without one, in memory alone.

    Args:
        file: JSON; made when it is not there.
        settings: what must be equal for a result to count.
    """

    def __init__(self, file: Path | None, settings: dict[str, Any]) -> None:
        self.file = file
        self.settings = settings
        self.all: list[dict[str, Any]] = []
        if file is not None and file.exists():
            self.all = json.loads(file.read_text())["results"]

    def find(self, case: Case) -> Result | None:
        """The result of a case, if there is one."""
        for kept in self.all:
            if kept["settings"] == self.settings and Result.of(kept["result"]).case == case:
                return Result.of(kept["result"])
        return None

    def add(self, result: Result) -> None:
        """Keep a result."""
        self.all.append({"settings": self.settings, "result": result.to_dict()})
        if self.file is not None:
            new = self.file.with_suffix(".new")
            new.write_text(json.dumps({"results": self.all}, indent=1))
            new.replace(self.file)


def results_of(
    model: dl.TransformersModel, cases: Sequence[Case], kept: Kept, given: argparse.Namespace
) -> list[Result]:
    """Measure what is not kept; one line for each case as it is done."""
    say = sys.stderr if given.json else sys.stdout
    print("case    width  prompt  prompts   decodelab  transformers  ratio (quartiles)", file=say, end="")
    print("       cache MB ours/theirs  same", file=say)
    found: list[Result] = []
    for case in dict.fromkeys(cases):
        if model.context_length is not None and case.prompt + case.new > model.context_length:
            sys.stderr.write(
                f"{case.name} at {case.prompt} tokens does not fit the context of {model.context_length}\n"
            )
            continue
        result = kept.find(case)
        if result is None:
            with progress(given.rounds + 1, case.name) as advance:
                result = measure(model, case, given.rounds, given.batch, CLOCKS[given.clock], advance)
            kept.add(result)
        found.append(result)
        print(_row(result), file=say, flush=True)
    return found


def _row(r: Result) -> str:
    c = r.case
    same = "" if r.same is None else f"{r.same:.0%}"
    return (
        f"{c.name:8}{c.width:5d}{c.prompt:8d}{c.prompts:9d}{r.ours:11.3f}s{r.theirs:13.3f}s"
        f"{r.ratio:8.2f} ({r.ratio_low:.2f} to {r.ratio_high:.2f}){r.our_bytes / 1e6:13.1f} / {r.their_bytes / 1e6:.1f}"
        f"{same:>10}"
    )


def short_jobs(model: dl.TransformersModel, jobs: int, bound: int) -> Iterator[tuple[int, float]]:
    """Run many jobs of a few tokens under different strategies in one engine: jobs done, and megabytes resident.

    `bound` is in bytes, for the caches of what runs and for the prompts that are remembered.
    """
    draw = random.Random(0)
    engine = dl.Engine(model, memory=bound)
    strategies = ["greedy", "temperature=0.7 | sample(n=2)", "beam(width=3)"]
    for _ in range(jobs):
        prompt = [draw.randrange(model.vocab.size) for _ in range(draw.randint(8, 120))]
        engine.submit(prompt, draw.choice(strategies), max_new_tokens=draw.randint(1, 5))
    yield 0, resident()
    for done, _ in enumerate(engine.run(), 1):
        if done % max(1, jobs // 100) == 0:
            yield done, resident()


def resident() -> float:
    """Megabytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(model: dl.TransformersModel, given: argparse.Namespace) -> None:
    """Run many short jobs and draw the memory they take."""
    points: list[tuple[int, float]] = []
    with progress(given.jobs, "short jobs") as advance:
        for done, megabytes in short_jobs(model, given.jobs, given.bound * 2**20):
            points.append((done, megabytes))
            advance(done, "short jobs")
    file = given.png or HERE / "memory.png"
    title = (
        f"{given.jobs:,} jobs of 1 to 5 tokens behind prompts of 8 to 120, {model.name},\n"
        f"in one engine whose caches may take {given.bound} MiB"
    )
    draw_memory(title, points, file)
    if given.json:
        print(
            json.dumps(
                {
                    "model": model.name,
                    "jobs": given.jobs,
                    "bound_mib": given.bound,
                    "resident_mb": points,
                    "png": str(file),
                }
            )
        )
        return
    for done, megabytes in points[:: max(1, len(points) // 10)]:
        print(f"{done:8,d} jobs{megabytes:8.0f} MB")
    print(f"drawn to {file}")


def arguments() -> argparse.Namespace:
    """What was asked for, refused in one line where it makes no sense."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a shipped model, a directory or a hub id; the random Llama by default")
    parser.add_argument("--case", choices=NAMES, nargs="+")
    parser.add_argument("--prompt", type=int, nargs="+", help="prompt tokens of beam")
    parser.add_argument("--width", type=int, nargs="+", help="beams and samples")
    parser.add_argument("--prompts", type=int, nargs="+", help="prompts of sweep and ragged")
    parser.add_argument("--new-tokens", type=int, default=32, help="tokens of a continuation; ragged: at most 4 times")
    parser.add_argument(
        "--batch", type=int, nargs="+", default=[4, 8, 16, 32], help="prompts transformers may take at once"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", dest="clock", action="store_const", const="CPU", default="wall", help="CPU seconds")
    parser.add_argument("--growth", action="store_true", help="as width, prompt and prompts grow, drawn to growth.png")
    parser.add_argument("--memory", action="store_true", help="memory of many short jobs, drawn to memory.png")
    parser.add_argument("--jobs", type=int, default=10_000, help="of --memory")
    parser.add_argument("--bound", type=int, default=64, help="MiB of cache of --memory")
    parser.add_argument("--png", type=Path, help="where --growth or --memory draws")
    parser.add_argument("--out", type=Path, help="JSON that keeps results; those in it are not measured again")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    numbers = ("prompt", "width", "prompts", "batch", "new_tokens", "threads", "jobs", "bound")
    for name in numbers:
        value = getattr(given, name)
        if value is not None and min(value if isinstance(value, list) else [value]) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if given.rounds < 2:
        parser.error(f"--rounds must be at least 2, got {given.rounds}")
    return given


def main() -> None:
    """Print a table, or JSON."""
    given = arguments()
    torch.set_num_threads(given.threads)
    named = given.model or given.memory
    model = dl.load_transformers(given.model or "pocket-nano") if named else random_llama()
    if given.memory:
        memory(model, given)
        return
    settings = {"model": model.name, "threads": given.threads, "rounds": given.rounds, "seconds": given.clock}
    kept = Kept(given.out, settings)
    title = f"{model.name}, {given.new_tokens} new tokens, {given.threads} threads, {given.rounds} rounds"
    print(f"{title}, {given.clock} seconds", file=sys.stderr if given.json else sys.stdout)
    growth = growth_of(given) if given.growth else {}
    results = results_of(model, [c for g in growth.values() for c in g] or cases_of(given), kept, given)
    if growth:
        file = given.png or HERE / "growth.png"
        by_case = {r.case: r for r in results}
        grown = {name: [by_case[c] for c in growth[name] if c in by_case] for name in AXES}
        draw_growth(f"{title}, {given.clock} seconds", {n: found for n, found in grown.items() if found}, file)
    if given.json:
        print(json.dumps(settings | {"results": [r.to_dict() for r in results]}))


if __name__ == "__main__":
    main()
