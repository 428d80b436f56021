"""What a sweep will take, printed before it runs."""

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
    """Print what a plan would run, at most."""
    from decodelab.bench.run.forecast import answers_of, model_cost
    from decodelab.bench.run.judging import estimate_plan
    from decodelab.bench.run.questions import posed
    from decodelab.bench.store.journal import opened

    asked = posed(plan)
    keys: dict[str, list[tuple[str, ...]]] = {}
    with opened(place, writing=False) as kept:
        have = kept.keys()
        costs = [model_cost(plan, asked, name, have, keys) for name in plan.models]
        judging = estimate_plan(asked, answers_of(plan, asked, keys), kept)
    prices = judge_prices(plan)
    if as_json:
        rows = [asdict(cost) | {"fits": cost.fits} for cost in costs]
        judges = {label: spent_data(spent, prices[label]) for label, spent in judging.items()}
        print_json({"journal": str(place), "models": rows, "judging": judges})
        return
    for cost in costs:
        flops = "" if cost.most_flops is None else f" ({cost.most_flops / 1e12:,.3g} TFLOP)"
        there = "" if cost.available_bytes is None else f" of {_megabytes(cost.available_bytes)} that are free"
        typer.echo(
            f"{cost.model}: {cost.missing} of {cost.answers} answers are missing, at most "
            f"{cost.most_forward_tokens:,} forward tokens{flops}; memory: {_megabytes(cost.weight_bytes)} of weights "
            f"and at most {_megabytes(cost.batch_cache_bytes)} of cache{there}"
        )
        if not cost.fits:
            note(f"{cost.model} may not fit the memory with max_rows: {plan.max_rows}; lower it, or free some")
    for label, spent in judging.items():
        typer.echo(f"judging {label}: {estimated(spent, prices[label])}")


def _megabytes(nbytes: int) -> str:
    return f"{nbytes / 1e6:,.0f} MB" if nbytes >= 1e7 else f"{nbytes / 1e6:,.1f} MB"
