"""`decodelab journal`: list, check, export and compact a journal."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.terminal import print_json
from decodelab.core.errors import RequestError
from decodelab.io.text import printable
from decodelab.report.console import MOST_ITEMS

if TYPE_CHECKING:
    from decodelab.bench.store.journal import Journal


def command(
    file: Annotated[Path, typer.Argument(metavar="JOURNAL", show_default=False, help="A journal of decodelab bench.")],
    to: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="FILE", show_default=False, help="Write all answers to a .jsonl, .csv or .parquet file."
        ),
    ] = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Delete answers and scores that no plan uses, and shrink the file.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what --compact would delete.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop damaged answers and scores; the next run makes them again.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """List, check, repair, export or compact a journal.

    Lists the plans in it and the progress of each, and checks every byte of it for damage. An export has one row for
    each answer and score; in CSV, text cannot act as a formula, and control characters are written as escapes.

    \b
    Examples:
      decodelab journal runs.sqlite
      decodelab journal runs.sqlite --export answers.parquet
      decodelab journal runs.sqlite --compact --dry-run
      decodelab journal runs.sqlite --repair

    Next: decodelab report runs.sqlite shows the tables; decodelab measure answers.jsonl measures the texts.
    """
    from decodelab.bench.store.export import check_export, export
    from decodelab.bench.store.journal import Journal

    if dry_run and not compact:
        raise RequestError("--dry-run works with --compact only; give both")
    if to is not None:
        check_export(to)
    with Journal(file, writing=repair or (compact and not dry_run), repairing=True) as kept:
        with progress(1, "checking"):
            repaired = dict(kept.repair()) if repair else {}
            counts = dict(kept.verify())
            plans = _plans(kept)
        found: dict[str, Any] = {"journal": str(file), **counts, "bytes": file.stat().st_size, "plans": plans}
        if compact:
            found["dropped"] = dict(kept.unplanned() if dry_run else kept.compact())
        if repair:
            found["repaired"] = repaired
        if to is not None:
            with progress(max(1, counts["answers"]), "writing") as advance:
                found["exported"] = export(kept, to, lambda done: advance(done, "writing"))
    if as_json:
        print_json(found | {"bytes_after": file.stat().st_size} if compact else found)
        return
    size = f"{found['bytes'] / 1e6:,.1f} MB"
    typer.echo(f"{file}: {counts['answers']:,} answers, {counts['scores']:,} scores, {size}, undamaged")
    if repair:
        lost = ", ".join(f"{count:,} {table.replace('_', ' ')}" for table, count in repaired.items())
        typer.echo(f"dropped: {lost}; run the plan again to make them anew" if lost else "nothing was damaged")
    if len(plans) > MOST_ITEMS:
        typer.echo(f"the latest {MOST_ITEMS} of {len(plans):,} plans; --json lists all")
    for number, plan in list(enumerate(plans, 1))[-MOST_ITEMS:]:
        _print_plan(number, plan)
    if compact:
        says, dropped = "would delete" if dry_run else "deleted", found["dropped"]
        after = "" if dry_run else f"; the file is now {file.stat().st_size / 1e6:,.1f} MB"
        typer.echo(f"{says} {dropped['answers']:,} answers and {dropped['scores']:,} scores{after}")
    if to is not None:
        typer.echo(f"{found['exported']:,} rows in {to}")


def _plans(journal: Journal) -> list[dict[str, Any]]:
    """The plans in a journal, the latest last, each with its cells."""
    from decodelab.bench.store import views

    return [
        {
            "digest": digest,
            "began": began,
            "plan": json.loads(text),
            "cells": [asdict(cell) for cell in views.progress(journal, digest)],
        }
        for digest, text, began in views.plans(journal)
    ]


def _print_plan(number: int, plan: dict[str, Any]) -> None:
    cells = plan["cells"]
    answers, asked = (sum(cell[name] for cell in cells) for name in ("answers", "asked"))
    typer.echo(f"{number}. started {plan['began'][:19]} ({plan['digest'][:8]}): {answers:,} of {asked:,} answers")
    for (model, task), group in groupby(cells, key=lambda cell: (cell["model"], cell["task"])):
        listed = list(group)
        answers, asked, scored = (sum(cell[name] for cell in listed) for name in ("answers", "asked", "scored"))
        behind = [f"{c['strategy']} {c['answers']} of {c['asked']}" for c in listed if c["answers"] < c["asked"]]
        missing = f"; {', '.join(behind[:5])}{', ...' if len(behind) > 5 else ''}" if behind else ""
        typer.echo(printable(f"   {task}, {model}: {answers:,} of {asked:,} answers, {scored:,} scored{missing}"))
