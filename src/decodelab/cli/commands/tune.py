"""`decodelab tune`: the best settings for a model on a task, or settings that reverse the order of two models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.terminal import note, print_json, say
from decodelab.core.errors import RequestError
from decodelab.engine.threads import threads_for
from decodelab.io.atomic import check_writable, write_bytes
from decodelab.io.text import printable
from decodelab.report.calibration import check_suffix, diagram_bytes

if TYPE_CHECKING:
    from decodelab.bench.plan import Plan
    from decodelab.bench.tune.space import Space


def command(
    task: Annotated[
        str, typer.Option("--task", "-t", metavar="NAME", help="A task, or {name: ..., file: ...} as in a plan.")
    ],
    space: Annotated[
        list[str] | None,
        typer.Option("--space", metavar="SPACE", show_default=False, help="Strategies with ranges; may be repeated."),
    ] = None,
    space_file: Annotated[
        Path | None, typer.Option("--space-file", metavar="FILE", show_default=False, help="The same as a YAML list.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="A shipped model, a directory, or a hub id.")
    ] = "pocket-small",
    find_reversal: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="MODEL MODEL",
            show_default=False,
            help="Search for settings under which the larger model scores lower.",
        ),
    ] = None,
    own_settings: Annotated[
        bool, typer.Option("--own-settings", help="With --find-reversal: each model may have a strategy of its own.")
    ] = False,
    objective: Annotated[
        str, typer.Option(metavar="NAME", help="score, or score-per-token (per 1,000 tokens).")
    ] = "score",
    trials: Annotated[int, typer.Option(metavar="N", help="Try at most this many strategies.")] = 40,
    items: Annotated[int, typer.Option(metavar="N", help="Items to tune on.")] = 60,
    check: Annotated[
        int | None, typer.Option(metavar="N", show_default="as many", help="Fresh items to check the best on.")
    ] = None,
    baseline: Annotated[
        str, typer.Option(metavar="STRATEGY", help="Strategy that the best is compared with.")
    ] = "greedy",
    samples: Annotated[int, typer.Option(metavar="N", help="Answers per item, for strategies that sample.")] = 1,
    journal: Annotated[Path, typer.Option("--journal", "-j", metavar="FILE", help="Where answers are stored.")] = Path(
        "tune.journal.sqlite"
    ),
    diagram: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Write a plot: .png, .svg, .pdf or .html."),
    ] = None,
    seed: options.Seed = 0,
    max_rows: options.MaxRows = 64,
    as_json: options.AsJson = False,
) -> None:
    """Find the best settings for a model on a task.

    Strategies from a space answer the same items with the same random draws; those shown to be worse are stopped early.
    The best one is then compared with the baseline on fresh items; only this comparison is free of selection bias.
    Each answer is stored in the journal as soon as it is finished: after Ctrl-C or a kill the same command resumes.

    A space is a strategy with ranges (a..b, a..b log) and choices ({a, b}) as values.

    \b
    Examples:
      decodelab tune -t pocket-paths --space "temperature=0.2..1.5 | top_p=0.5..1"
      decodelab tune -t pocket-sums --space "beam(width=1..8)" --objective score-per-token
      decodelab tune -t "{name: mmlu, file: test.csv}" --space "min_p={0.05, 0.1}" --json
      decodelab tune -t pocket-sums --find-reversal pocket-nano pocket-small --space "top_k=1..9"

    Next: decodelab report tune.journal.sqlite shows the tables of the fresh items again.
    """
    from decodelab.bench.store.journal import Journal
    from decodelab.bench.tune.asking import Asker, draw_items
    from decodelab.bench.tune.reversal import by_size
    from decodelab.bench.tune.reversal import find_reversal as search
    from decodelab.bench.tune.tuning import check_objective, tune
    from decodelab.report.tune.summary import print_view, reversal_view, tuning_view

    read = _space(space, space_file)
    check_objective(objective)
    fresh = items if check is None else check
    for name, count, least in (("--trials", trials, 1), ("--items", items, 2), ("--check", fresh, 2)):
        if count < least:
            raise RequestError(f"{name} must be at least {least}, got {count}; ask for more")
    if find_reversal is None and own_settings:
        raise RequestError("--own-settings works with --find-reversal only; leave it out")
    if find_reversal is not None and objective != "score":
        raise RequestError(f"--find-reversal compares scores, got --objective {objective}; leave it out")
    plan = _plan(task, items, find_reversal or (model,), baseline, samples, seed, max_rows)
    plan.check_data()
    drawn = draw_items(plan.tasks[0], items, fresh, seed)
    if diagram is not None:
        check_suffix(diagram)
        check_writable(diagram)
    base = plan.strategies[plan.baseline_name]
    settings: dict[str, Any] = {"trials": trials, "baseline": base, "seed": seed}
    with Journal(journal, writing=True) as kept:
        asker = Asker(
            kept, plan.tasks[0], drawn.task, seed=seed, samples=samples, max_rows=max_rows, around=threads_for
        )
        with _kept_in(journal), progress(trials, "the baseline") as report:
            if find_reversal is None:
                found = tune(read, asker, model, drawn, objective=objective, report=report, **settings)
                view = tuning_view(found)
                tried = [trial.strategy for trial in found.trials]
            else:
                small, large = by_size(*find_reversal)
                found = search(read, asker, small, large, drawn, own_settings=own_settings, report=report, **settings)
                view = reversal_view(found)
                tried = [name for pair in found.trials for name in (pair.settings.small, pair.settings.large)]
        asker.keep(plan.models, [base, *tried], drawn)
    if diagram is not None:
        table = view.tables[0]
        page = diagram_bytes(view.draw(), diagram.suffix, [table.header, *table.rows], printable(view.title))
        write_bytes(diagram, page)
    for reason, times in found.unused.items():
        note(f"{times} combinations of values were skipped: {reason}")
    if as_json:
        counts = {"journal": str(journal), "generated": asker.generated, "reused": asker.reused}
        print_json({**counts, **asdict(found), "says": list(view.says)})
        return
    print_view(view)
    say(f"{asker.generated:,} answers generated, {asker.reused:,} reused; stored in {printable(str(journal))}")


def _space(written: Sequence[str] | None, file: Path | None) -> Space:
    """The space, from the command line or a file."""
    from decodelab.bench.tune.space import Space

    if (file is None) == (not written):
        raise RequestError("--space and --space-file: give exactly one of them, for example --space 'top_p=0.5..1'")
    return Space.read(file) if file is not None else Space.of(written or [])


def _plan(task: str, items: int, models: Sequence[str], baseline: str, samples: int, seed: int, max_rows: int) -> Plan:
    """The task, the models and the baseline, checked as those of a sweep are."""
    from decodelab.bench.plan import Plan
    from decodelab.io.yaml import parse_yaml
    from decodelab.strategy.strategy import Strategy

    given: Any = {"name": task}
    if task.lstrip().startswith("{"):
        given = parse_yaml(task, "--task")
    if isinstance(given, dict) and "items" in given:
        raise RequestError("--task: the number of items is set by --items and --check; leave items out")
    given = {**given, "items": items} if isinstance(given, dict) else given
    base = str(Strategy.of(baseline))
    data = {"models": list(models), "strategies": [base], "tasks": [given], "samples": samples, "seed": seed}
    return Plan.of({**data, "max_rows": max_rows}, "--task", Path().resolve())


@contextmanager
def _kept_in(journal: Path) -> Iterator[None]:
    """Print on Ctrl-C where the answers are."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"all answers so far are stored in {printable(str(journal))}; the same command resumes")
        raise
