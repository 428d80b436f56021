"""A whole sweep: `decodelab bench` against the same sweep written with `transformers.generate`, in one run.

Both ask every pocket model every item under every strategy of a plan, with texts that end by themselves. decodelab runs
the plan as people do: keys, journal, scores and tables included. transformers decodes one strategy after the
other, prompts sorted by length, in batches of the size that was fastest for that strategy and model on a part of the
prompts; nothing is scored, kept or counted. Beside them the bare engine runs the same jobs, so that what keys, journal,
scores and tables cost is seen.

    python benchmarks/sweep.py                         # examples/sweep.yaml, two threads, some minutes
    python benchmarks/sweep.py --workers 2             # decodelab in two processes
    python benchmarks/sweep.py --items 10 --rounds 3 --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from contest import padded, setting_of, until

import decodelab as dl
from decodelab.bench.plan import Plan
from decodelab.bench.run.executor import LocalExecutor
from decodelab.bench.run.processes import Processes
from decodelab.bench.run.sweep import run
from decodelab.bench.run.worker_pool import PoolExecutor
from decodelab.bench.run.worklist import load_tasks
from decodelab.bench.stats.comparison import compare
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.cli.progress import progress
from decodelab.core.values import Tokens

PLAN = Path(__file__).parents[1] / "examples" / "sweep.yaml"
SAMPLE = 16
"""Prompts on which transformers' batches are tried."""

Texts = dict[tuple[str, str], list[Tokens]]
"""The tokens of all answers, by model and strategy, in the order of the items."""


@dataclass(frozen=True)
class Result:
    """How the three compare.

    Attributes:
        items: of each task.
        answers: of the whole sweep.
        threads: of torch; each of decodelab's workers has its share.
        workers: processes of decodelab's; 1: this one.
        bench: median seconds of the sweep with decodelab.
        engine: the same of the bare engine; None when it ran in other processes.
        theirs: the same of transformers.
        ratio: theirs over bench, for each new token.
        ratio_low, ratio_high: the least and the most of the rounds.
        overhead: share of the engine's time that comes on top in the sweep.
        batches: transformers' batch for each model and strategy.
        same: share of answers with equal tokens, of strategies that do not draw.
    """

    items: int
    answers: int
    threads: int
    workers: int
    bench: float
    engine: float | None
    theirs: float
    ratio: float
    ratio_low: float
    ratio_high: float
    overhead: float | None
    batches: dict[str, dict[str, int]]
    same: float


def prompts_of(plan: Plan, model: dl.TransformersModel) -> list[tuple[Tokens, int]]:
    """Every item's prompt in tokens, with the most tokens its answer may have."""
    return [
        (model.vocab.encode(str(example.prompt)), one.plan.max_new_tokens)
        for one in load_tasks(plan)
        for example in one.examples
    ]


def bench(plan: Plan, workers: int) -> Texts:
    """The sweep as `decodelab bench` runs it."""
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "j.sqlite", writing=True) as journal:
        with LocalExecutor() if workers == 1 else PoolExecutor(Processes(workers)) as executor:
            outcome = run(plan, journal, executor=executor)
        assert not outcome.failures, outcome.failures[0]
        compare(plan, journal)
        answers = {record.key: record.tokens for record in views.all_answers(journal)}
        found: Texts = {}
        for work in views.work_items(journal, plan.digest):
            found.setdefault((work.model, work.strategy), []).append(answers[work.keys[0]])
        return found


def engine(plan: Plan) -> None:
    """The same jobs, and nothing else."""
    for name in plan.models:
        model = dl.load_transformers(name)
        at_work = dl.Engine(model, max_rows=plan.max_rows)
        for prompt, most in prompts_of(plan, model):
            for strategy in plan.strategies.values():
                at_work.submit(prompt, strategy, max_new_tokens=most)
        for _ in at_work.run():
            pass


def theirs(
    model: dl.TransformersModel, prompts: Sequence[tuple[Tokens, int]], strategy: str, batch: int
) -> list[Tokens]:
    """One strategy over all prompts with transformers; the shortest first, so that there is little padding."""
    ends = list(model.vocab.eos_ids)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i][0]))
    found: dict[int, Tokens] = {}
    for at in range(0, len(order), batch):
        part = order[at : at + batch]
        ids, mask = padded([prompts[i][0] for i in part])
        with torch.inference_mode():
            out = model.model.generate(
                ids, attention_mask=mask, max_new_tokens=max(prompts[i][1] for i in part), eos_token_id=ends,
                pad_token_id=ends[0], **setting_of(strategy, 1),
            )  # fmt: skip
        for i, row in zip(part, out[:, ids.shape[1] :].tolist(), strict=True):
            found[i] = until(row, set(ends))
    return [found[i] for i in range(len(prompts))]


def batches_of(plan: Plan, sizes: Sequence[int], advance: Callable[[str], None]) -> dict[str, dict[str, int]]:
    """For each model and strategy the batch at which transformers is fastest on a few prompts of every task."""
    found: dict[str, dict[str, int]] = {}
    for name in plan.models:
        model = dl.load_transformers(name)
        prompts = prompts_of(plan, model)
        few = prompts[:: max(1, len(prompts) // SAMPLE)]
        for label, strategy in plan.strategies.items():
            tried: list[tuple[float, int]] = []
            for size in sorted({min(size, len(few)) for size in sizes}):
                advance(f"transformers' batch: {name}, {label}, {size}")
                began = time.perf_counter()
                theirs(model, few, strategy, size)
                tried.append((time.perf_counter() - began, size))
                if tried[-1][0] > 1.2 * min(tried)[0]:  # wide beams in large batches take minutes
                    break
            found.setdefault(name, {})[label] = min(tried)[1]
    return found


def everything_of_theirs(plan: Plan, batches: dict[str, dict[str, int]]) -> Texts:
    """The whole sweep with transformers."""
    found: Texts = {}
    for name in plan.models:
        model = dl.load_transformers(name)
        prompts = prompts_of(plan, model)
        for label, strategy in plan.strategies.items():
            found[name, label] = theirs(model, prompts, strategy, batches[name][label])
    return found


def measure(
    plan: Plan, rounds: int, sizes: Sequence[int], workers: int, advance: Callable[[float, str], None]
) -> Result:
    """Time all three, in turns; what they made in the first is compared."""
    batches = batches_of(plan, sizes, lambda what: advance(0, what))
    sides: dict[str, Callable[[], Any]] = {
        "bench": lambda: bench(plan, workers),
        "theirs": lambda: everything_of_theirs(plan, batches),
    }
    if workers == 1:
        sides["engine"] = lambda: engine(plan)
    spent: dict[str, list[float]] = {side: [] for side in sides}
    made: dict[str, list[Texts]] = {side: [] for side in sides}
    for turn in range(rounds):
        for side in sides if turn % 2 else reversed(sides):
            advance(turn, f"round {turn + 1}: {side}")
            began = time.perf_counter()
            made[side].append(sides[side]())
            spent[side].append(time.perf_counter() - began)

    def tokens(side: str) -> int:
        return sum(len(answer) for texts in made[side] for answers in texts.values() for answer in answers)

    each = tokens("bench") / tokens("theirs")
    ratios = [b / a * each for a, b in zip(spent["bench"], spent["theirs"], strict=True)]
    settled = [cell for cell in made["bench"][0] if not setting_of(plan.strategies[cell[1]], 1).get("do_sample", True)]
    pairs = [
        (mine, other)
        for cell in settled
        for mine, other in zip(made["bench"][0][cell], made["theirs"][0][cell], strict=True)
    ]
    bare = spent.get("engine")
    over = None if bare is None else statistics.median(b / a - 1 for a, b in zip(bare, spent["bench"], strict=True))
    return Result(
        plan.tasks[0].items, sum(map(len, made["bench"][0].values())), torch.get_num_threads(), workers,
        statistics.median(spent["bench"]), None if bare is None else statistics.median(bare),
        statistics.median(spent["theirs"]), statistics.median(ratios), min(ratios), max(ratios), over, batches,
        statistics.fmean(mine == other for mine, other in pairs),
    )  # fmt: skip


def arguments() -> argparse.Namespace:
    """What was asked for, refused in one line where it makes no sense."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--plan", type=Path, default=PLAN, help="of transformers models and tasks that make their items"
    )
    parser.add_argument("--items", type=int, help="of each task; those of the plan by default")
    parser.add_argument("--batch", type=int, nargs="+", default=[4, 8, 16], help="prompts transformers may take")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="processes of decodelab's, which share the threads")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    for name in ("items", "rounds", "threads", "workers"):
        value = getattr(given, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    if min(given.batch) < 1:
        parser.error(f"--batch must be at least 1, got {min(given.batch)}")
    return given


def main() -> None:
    """Measure and print."""
    given = arguments()
    torch.set_num_threads(given.threads)
    plan = Plan.read(given.plan)
    if given.items is not None:
        plan = plan.model_copy(update={"tasks": tuple(t.model_copy(update={"items": given.items}) for t in plan.tasks)})
    with progress(given.rounds, "sweep") as advance:
        result = measure(plan, given.rounds, given.batch, given.workers, advance)
    if given.json:
        print(json.dumps(asdict(result)))
        return
    workers = f", {given.workers} workers" if given.workers > 1 else ""
    print(f"{result.answers:,} answers, {given.threads} threads{workers}, {given.rounds} rounds, wall seconds")
    print(f"decodelab bench {result.bench:8.1f}s")
    if result.engine is not None and result.overhead is not None:
        print(f"bare engine     {result.engine:8.1f}s   keys, journal, scores and tables add {result.overhead:.1%}")
    spread = f"{result.ratio_low:.2f} to {result.ratio_high:.2f}"
    print(f"transformers    {result.theirs:8.1f}s   {result.ratio:.2f} times as long a token ({spread})")
    print(f"equal tokens of strategies that do not draw: {result.same:.1%}")
    for model, batches in result.batches.items():
        print(f"{model}: transformers' batches {', '.join(f'{label} {size}' for label, size in batches.items())}")


if __name__ == "__main__":
    main()
