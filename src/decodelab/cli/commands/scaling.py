"""`decodelab scaling`: what more samples would buy, from those that are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.stored import JournalFile, PlanNumber, PlanOrJournal, opened
from decodelab.cli.terminal import print_json
from decodelab.io.atomic import check_writable, write_bytes, write_text

Selections = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        metavar="STAGE",
        show_default="any, vote(answer=task), best_of",
        help="A selection, again for more; any: a perfect one.",
    ),
]


def command(
    plan: PlanOrJournal,
    journal: JournalFile = None,
    number: PlanNumber = None,
    select: Selections = None,
    subsets: Annotated[
        int, typer.Option("--subsets", metavar="N", help="Random subsets, for selections without a formula.")
    ] = 64,
    seed: options.Seed = 0,
    difficulty: Annotated[int, typer.Option("--levels", metavar="N", help="Levels of difficulty.")] = 3,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", show_default=False, help="HTML page with curves and tables."),
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", show_default=False, help="The curves as a picture.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", show_default=False, help="CSV with every point.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what more stored samples would buy.

    Quality against compute for selections such as vote and best_of. Nothing is generated: every selection is read at
    1, 2, 4, ... of the samples that a sweep has of each item, over all ways to choose them. The plan needs samples: N
    and strategies that sample.

    \b
    Examples:
      decodelab scaling plan.yaml --html scaling.html
      decodelab scaling runs.sqlite --select vote --select "weighted_vote(by=probability)"

    Next: decodelab report compares the strategies of the same sweep.
    """
    from decodelab.bench.scaling.study import scaling, steps
    from decodelab.report.scaling.table import print_scaling, scaling_data, to_csv

    for file in (html, png, csv):
        if file is not None:
            check_writable(file)
    with opened(plan, journal, number) as (chosen, kept):
        selections = select or []
        with progress(steps(chosen, kept, selections), "selecting", hidden=as_json) as advance:
            found = list(
                scaling(chosen, kept, selections, subsets=subsets, seed=seed, difficulty=difficulty, advance=advance)
            )
    if png is not None:
        from decodelab.report.scaling.figure import to_png

        write_bytes(png, to_png(found))
    if html is not None:
        from decodelab.report.scaling.html import to_html

        write_text(html, to_html(found))
    if csv is not None:
        write_text(csv, to_csv(found))
    if as_json:
        print_json(scaling_data(found))
    else:
        print_scaling(found)
