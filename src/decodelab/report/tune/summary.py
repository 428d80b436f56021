"""The result of tuning, or of the search for a reversal: tables, sentences and a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from decodelab.io.text import printable
from decodelab.report.console import console
from decodelab.report.number import p_equals, signed
from decodelab.report.tune.figure import reversal_figure, tuning_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from decodelab.bench.tune.reversal import Faced, Pair, Reversal
    from decodelab.bench.tune.tuning import Contest, Trial, Tuning
    from decodelab.metrics.estimate import Estimate

SHOWN = 10
"""At most this many of the strategies tried are listed, best first."""


@dataclass(frozen=True)
class Table:
    """A table: what is in it, its heading and its rows."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True)
class View:
    """A result as people see it.

    Attributes:
        title: what was done, in a line.
        tables: what was tried, then the scores on fresh items.
        says: what follows from them, in sentences.
        draw: makes a picture of it.
    """

    title: str
    tables: tuple[Table, ...]
    says: tuple[str, ...]
    draw: Callable[[], Figure]


def print_view(view: View) -> None:
    """Print it on the terminal."""
    from rich import box
    from rich.table import Table as Drawn
    from rich.text import Text

    for table in view.tables:
        drawn = Drawn(title=Text(printable(table.title)), title_justify="left", box=box.SIMPLE)
        for place, name in enumerate(table.header):
            drawn.add_column(name, justify="right" if place else "left", no_wrap=place > 0, overflow="fold")
        for row in table.rows:
            drawn.add_row(*(Text(printable(cell)) for cell in row))
        console().print(drawn)
    for sentence in view.says:
        typer.echo(printable(sentence))


def tuning_view(found: Tuning) -> View:
    """The result of tuning."""
    complete = sorted(_complete(found.trials), key=lambda trial: -trial.value)
    per_token = found.objective != "score"
    header = ("strategy", *["by 1,000"] * per_token, "score", "forward tokens")
    rows = [_tried(trial, per_token) for trial in complete[:SHOWN]]
    rows.append(_tried(found.baseline, per_token, " (baseline)"))
    title = f"{found.task}, {found.model}: tuned on {found.items} items"
    tables = [Table(title, header, rows)]
    if found.check is not None:
        tables.append(_fresh(found.check.items, found.check.values, "by 1,000" if per_token else "score"))
    return View(title, tuple(tables), tuple(_tuning_says(found)), lambda: tuning_figure(found))


def reversal_view(found: Reversal) -> View:
    """The result of the search for a reversal."""
    complete = sorted(_complete(found.trials), key=lambda pair: -pair.lead)
    header = ("strategy", found.small, found.large, "ahead")
    rows = [_faced(pair) for pair in complete[:SHOWN]]
    rows.append(_faced(found.baseline, " (baseline)"))
    title = f"{found.task}, {found.small} against {found.large}: searched on {found.items} items"
    tables = [Table(title, header, rows)]
    if found.usual is not None and found.checked is not None:
        values = {}
        for each in (found.usual, found.checked):
            values[f"{each.settings}, {found.small}"] = each.small
            values[f"{each.settings}, {found.large}"] = each.large
        tables.append(_fresh(found.fresh, values, "score"))
    return View(title, tuple(tables), tuple(_reversal_says(found)), lambda: reversal_figure(found))


def verdict(contest: Contest, items: int) -> str:
    """The comparison of two on the same fresh items, in a sentence."""
    by, sure = contest.difference.value, f"{_interval(contest.difference)}, {p_equals(contest.p)}"
    if contest.says == 0:
        need = contest.items_needed
        more = f"; about {need:,} items would be needed to separate them" if need is not None else ""
        found = f"difference {signed(by)}, {sure}"
        return f"{contest.a} is not significantly different from {contest.b} on {items} fresh items ({found}){more}."
    how = "better" if contest.says > 0 else "worse"
    return f"{contest.a} is {how} than {contest.b} by {abs(by):.3f} on {items} fresh items (difference {sure})."


def _complete(trials: Sequence[Trial] | Sequence[Pair]) -> list:
    return [trial for trial in trials if not trial.stopped and trial.refused is None]


def _tried(trial: Trial, per_token: bool, mark: str = "") -> tuple[str, ...]:
    value = [f"{trial.value:.3f}"] if per_token else []
    return (trial.strategy + mark, *value, f"{trial.score:.3f}", f"{trial.forward_tokens:,.1f}")


def _faced(pair: Pair, mark: str = "") -> tuple[str, ...]:
    return (f"{pair.settings}{mark}", f"{pair.small:.3f}", f"{pair.large:.3f}", signed(pair.lead))


def _fresh(items: int, values: Mapping[str, Estimate], what: str) -> Table:
    """The scores on fresh items."""
    rows = [(name, f"{value.value:.3f}", _interval(value)) for name, value in values.items()]
    return Table("", (f"{items} fresh items", what, "95 %"), rows)


def _interval(value: Estimate) -> str:
    return "no interval" if math.isnan(value.low) else f"{value.low:.3f} to {value.high:.3f}"


def _course(trials: Sequence[Trial] | Sequence[Pair], items: int) -> str:
    """How the trials went."""
    complete, stopped = len(_complete(trials)), sum(trial.stopped for trial in trials)
    refused = [trial.refused for trial in trials if trial.refused is not None]
    parts = [f"{len(trials)} tried: {complete} answered all {items} items"]
    if stopped:
        parts.append(f"{stopped} stopped early because others were better")
    if refused:
        parts.append(f"{len(refused)} refused ({refused[0]})")
    return ", ".join(parts) + "."


def _tuning_says(found: Tuning) -> list[str]:
    """What follows from tuning, in sentences."""
    says = [_course(found.trials, found.items)]
    if found.importances:
        shares = sorted(found.importances.items(), key=lambda pair: -pair[1])
        says.append("What mattered: " + ", ".join(f"{name} {share:.0%}" for name, share in shares) + ".")
    base = found.baseline.strategy
    if found.best is None or found.check is None:
        return [*says, f"No strategy of the space answered all items; keep {base}."]
    check = found.check
    says.append(verdict(check.to_baseline, check.items))
    gain = check.to_baseline.difference.value
    bias = f"; the difference, {check.lost:.3f}, is selection bias" if check.lost > 0 else ""
    says.append(
        f"Its lead was {signed(check.tuned_gain)} on the items it was chosen on, "
        f"and {signed(gain)} on fresh ones{bias}."
    )
    if check.to_runner_up is not None:
        says.append(verdict(check.to_runner_up, check.items))
    better = check.to_baseline.says > 0
    return [
        *says,
        f"Use it: -s {found.best.strategy!r}"
        if better
        else f"There is no evidence that it beats {base!r}; keep {base!r}.",
    ]


def _reversal_says(found: Reversal) -> list[str]:
    """What follows from the search, in sentences."""
    says = [_course(found.trials, found.items)]
    if found.usual is None or found.checked is None:
        return [*says, "No reversal was found: no settings answered all items."]
    says += [_both(found.usual, found.fresh), _both(found.checked, found.fresh)]
    if found.confirmed:
        return [*says, f"A reversal: {found.small} scores higher than {found.large} under {found.checked.settings}."]
    if found.usual.contest.difference.value > 0:
        base = found.usual.settings
        return [*says, f"No reversal: {found.small} is already ahead of {found.large} under {base}."]
    return [*says, "No reversal was found: on fresh items the smaller model is not significantly ahead."]


def _both(faced: Faced, items: int) -> str:
    return f"Under {faced.settings}: {verdict(faced.contest, items)}"
