"""The cost of a sweep, printed before it runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from decodelab.cli.judging import estimated, judge_prices, spent_data
from decodelab.cli.terminal import note, print_json

if TYPE_CHECKING:
    from decodelab.bench.plan import Plan


def print_cost(plan: Plan, place: Path, as_json: bool) -> None:
    """Print what a plan would cost at most."""
    from decodelab.bench.run.forecast import model_cost
    from decodelab.bench.run.judging import estimate_plan
    from decodelab.bench.run.worklist import load_tasks
    from decodelab.bench.store.journal import opened

    tasks = load_tasks(plan)
    with opened(place, writing=False) as kept:
        have = kept.keys(confident=plan.records_confidences)
        found = [model_cost(plan, tasks, name, have) for name in plan.models]
        judging = estimate_plan(tasks, [one for _, work in found for one in work], kept)
    costs = [cost for cost, _ in found]
    prices = judge_prices(plan)
    if as_json:
        rows = [asdict(cost) | {"fits": cost.fits} for cost in costs]
        judges = {label: spent_data(spent, prices[label]) for label, spent in judging.items()}
        print_json({"journal": str(place), "models": rows, "judging": judges})
        return
    for cost in costs:
        if not cost.weight_bytes:
            typer.echo(
                f"{cost.model}: {cost.missing:,} of {cost.answers:,} answers to generate, at most "
                f"{cost.most_forward_tokens:,} new tokens besides prompts and rounds, by its server"
            )
            continue
        flops = "" if cost.most_flops is None else f" ({cost.most_flops / 1e12:,.3g} TFLOP)"
        there = "" if cost.available_bytes is None else f"; {_megabytes(cost.available_bytes)} are free"
        typer.echo(
            f"{cost.model}: {cost.missing:,} of {cost.answers:,} answers to generate, at most "
            f"{cost.most_forward_tokens:,} forward tokens{flops}; memory: {_megabytes(cost.weight_bytes)} for weights "
            f"and at most {_megabytes(cost.batch_cache_bytes)} for the cache{there}"
        )
        if not cost.fits:
            note(f"{cost.model} may not fit in memory with max_rows: {plan.max_rows}; lower it, or free memory")
    for label, spent in judging.items():
        typer.echo(f"judging {label}: {estimated(spent, prices[label])}")


def _megabytes(nbytes: int) -> str:
    return f"{nbytes / 1e6:,.0f} MB" if nbytes >= 1e7 else f"{nbytes / 1e6:,.1f} MB"
