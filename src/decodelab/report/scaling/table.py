"""What more samples buy, as tables on the terminal and as data."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from io import StringIO
from typing import TYPE_CHECKING, Any

from decodelab.bench.scaling.curves import ALONE, Curve, Point
from decodelab.bench.scaling.optimal import Choice
from decodelab.bench.scaling.selecting import ANY
from decodelab.bench.scaling.study import Scaling
from decodelab.io.tabular import spreadsheet_text
from decodelab.io.text import printable
from decodelab.report.console import console, number_table, print_table
from decodelab.report.number import fixed

if TYPE_CHECKING:
    from rich.table import Table

PERFECT = "any is right"


def called(selection: str) -> str:
    """What tables call a selection."""
    return {ALONE: "a single answer", ANY: PERFECT}.get(selection, selection)


def cell(point: Point) -> str:
    """A score with its interval."""
    return f"{fixed(point.score.value)} [{fixed(point.score.low, 2)}, {fixed(point.score.high, 2)}]"


def cost(tokens: float) -> str:
    """Forward tokens of an item."""
    return f"{tokens:,.0f}"


def notes(found: Scaling) -> Iterator[str]:
    """What must be known of the numbers."""
    drawn = [curve for curve in found.curves if any(point.monte_carlo > 0 for point in curve.points)]
    if drawn:
        largest = max(point.monte_carlo for curve in drawn for point in curve.points)
        names = ", ".join(dict.fromkeys(called(curve.selection) for curve in drawn))
        yield f"Random subsets of the samples were taken for {names}: a Monte Carlo error of at most {largest:.4f}."
    for strategy, count in found.incomplete.items():
        yield f"{strategy}: {count} items left out, as samples or scores of theirs are missing."


def choice_row(choice: Choice) -> tuple[str, ...]:
    """The best for a budget, as `CHOICES` names its columns."""
    return (
        choice.name, f"{cost(choice.budget)}", f"{choice.k}", cost(choice.cost), fixed(choice.seen), str(choice.fresh),
        f"{choice.agreed} of {choice.parts}",
    )  # fmt: skip


CHOICES = ("the best", "from budget", "samples", "it computes", "score", "on prompts left out", "same choice")


def print_scaling(found: Sequence[Scaling]) -> None:
    """Print a table for each task and model: a row a selection, a column a number of samples."""
    out = console()
    for study in found:
        out.print(f"\n{printable(study.task)}, {printable(study.model)}", style="bold")
        counts = sorted({point.k for curve in study.curves for point in curve.points})
        table = number_table(
            ["strategy", "selection"], [f"{k} sample{'s' if k > 1 else ''}" for k in counts], overflow="fold"
        )
        for curve in study.curves:
            scores = {point.k: cell(point) for point in curve.points}
            table.add_row(
                printable(curve.strategy), printable(called(curve.selection)), *(scores.get(k, "") for k in counts)
            )
        print_table(table, out)
        print_costs(study, counts)
        for table in (_levels(study), _choices(study)):
            if table is not None:
                print_table(table, out)
        for note in notes(study):
            out.print(printable(note))


def _levels(study: Scaling) -> Table | None:
    """By difficulty: what each selection scores with one sample, and with all."""
    if not study.levels:
        return None
    selections = list(dict.fromkeys(curve.selection for curve in study.curves if curve.selection != ALONE))
    heads = ["prompts", "one sample", *(f"{printable(called(s))}" for s in selections)]
    table = number_table(["strategy", "difficulty"], heads, overflow="fold")
    for strategy, levels in study.levels.items():
        for level in levels:
            ends = [level.curves[s] for s in selections]
            table.add_row(
                printable(strategy),
                level.name,
                f"{level.prompts}",
                f"{level.low:.2f} to {level.high:.2f}",
                *(f"{points[0][1]:.3f} to {points[-1][1]:.3f}" for points in ends),
            )
    return table


def _choices(study: Scaling) -> Table | None:
    """The best for each budget of forward tokens."""
    if not study.choices:
        return None
    table = number_table(CHOICES[:1], CHOICES[1:], overflow="fold")
    for choice in study.choices:
        table.add_row(*map(printable, choice_row(choice)))
    return table


def print_costs(study: Scaling, counts: Sequence[int]) -> None:
    """Print what the samples of each strategy cost, an item."""
    out = console()
    for strategy in dict.fromkeys(curve.strategy for curve in study.curves):
        longest = max((c for c in study.curves if c.strategy == strategy), key=lambda c: len(c.points))
        costs = ", ".join(f"{point.k}: {cost(point.forward_tokens)}" for point in longest.points)
        out.print(f"  forward tokens of {printable(strategy)}, by samples: {costs}")


def scaling_data(found: Sequence[Scaling]) -> list[dict[str, Any]]:
    """The same, JSON-ready."""
    return [
        {
            "task": study.task,
            "model": study.model,
            "curves": [
                {
                    "strategy": curve.strategy,
                    "selection": curve.selection,
                    "points": [asdict(point) for point in curve.points],
                }
                for curve in study.curves
            ],
            "levels": {strategy: [asdict(level) for level in its] for strategy, its in study.levels.items()},
            "choices": [asdict(choice) for choice in study.choices],
            "incomplete": study.incomplete,
        }
        for study in found
    ]


def to_csv(found: Sequence[Scaling]) -> str:
    """A row for each point of each curve. A name that a spreadsheet would take for a formula gets an apostrophe."""
    out = StringIO()
    names = ["score", "low", "high", "prompts", "monte_carlo", "tokens", "forward_tokens", "seconds"]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["task", "model", "strategy", "selection", "samples", *names])
    for curve in (curve for study in found for curve in study.curves):
        for point in curve.points:
            texts = map(spreadsheet_text, (curve.task, curve.model, curve.strategy, curve.selection))
            writer.writerow([*texts, point.k, *map(repr, _numbers(point))])
    return out.getvalue()


def _numbers(point: Point) -> list[float]:
    score = point.score
    return [
        score.value, score.low, score.high, score.clusters, point.monte_carlo, point.tokens, point.forward_tokens,
        point.seconds,
    ]  # fmt: skip


def shown(curve: Curve) -> str:
    """What a legend calls a curve."""
    return f"{curve.strategy}: {called(curve.selection)}"
