"""`decodelab journal`: what is in a journal, whether it is sound, and getting answers out of it."""

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

if TYPE_CHECKING:
    from decodelab.bench.store.journal import Journal


def command(
    file: Annotated[Path, typer.Argument(metavar="JOURNAL", show_default=False, help="A journal of decodelab bench.")],
    to: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="FILE", show_default=False, help="Write all answers as .jsonl, .csv or .parquet."
        ),
    ] = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Drop what no plan asks for any more, and make the file smaller.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what --compact would drop.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """List a journal, check it, export it, make it smaller.

    Lists the plans that were begun in it and how far each is, and looks for damage. An export has a row for each
    answer, with its score; in CSV no text is a formula, and no control character is hidden.

    \b
    Examples:
      decodelab journal runs.sqlite
      decodelab journal runs.sqlite --export answers.parquet
      decodelab journal runs.sqlite --compact --dry-run

    Next: decodelab report runs.sqlite shows the tables; decodelab measure answers.jsonl tells how the texts read.
    """
    from decodelab.bench.store.export import check_export, export
    from decodelab.bench.store.journal import Journal

    if dry_run and not compact:
        raise RequestError("--dry-run is about --compact; give both")
    if to is not None:
        check_export(to)
    with Journal(file, writing=compact and not dry_run) as kept:
        with progress(1, "checking", hidden=as_json):
            counts = dict(kept.check())
            plans = _plans(kept)
        found: dict[str, Any] = {"journal": str(file), **counts, "bytes": file.stat().st_size, "plans": plans}
        if compact:
            found["dropped"] = dict(kept.unplanned() if dry_run else kept.compact())
        if to is not None:
            with progress(max(1, counts["answers"]), "writing", hidden=as_json) as advance:
                found["exported"] = export(kept, to, lambda done: advance(done, "writing"))
    if as_json:
        print_json(found | {"bytes_after": file.stat().st_size} if compact else found)
        return
    size = f"{found['bytes'] / 1e6:,.1f} MB"
    typer.echo(f"{file}: {counts['answers']:,} answers, {counts['scores']:,} scores, {size}, undamaged")
    for number, plan in enumerate(plans, 1):
        _print_plan(number, plan)
    if compact:
        says, dropped = "would drop" if dry_run else "dropped", found["dropped"]
        after = "" if dry_run else f"; the file has {file.stat().st_size / 1e6:,.1f} MB now"
        typer.echo(f"{says} {dropped['answers']:,} answers and {dropped['scores']:,} scores{after}")
    if to is not None:
        typer.echo(f"{found['exported']:,} rows in {to}")


def _plans(journal: Journal) -> list[dict[str, Any]]:
    """The plans that were begun, the latest last, each with its cells."""
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
    typer.echo(f"{number}. begun {plan['began'][:19]} ({plan['digest'][:8]}): {answers:,} of {asked:,} answers")
    for (model, task), group in groupby(cells, key=lambda cell: (cell["model"], cell["task"])):
        listed = list(group)
        answers, asked, scored = (sum(cell[name] for cell in listed) for name in ("answers", "asked", "scored"))
        behind = [f"{c['strategy']} {c['answers']} of {c['asked']}" for c in listed if c["answers"] < c["asked"]]
        missing = f"; {', '.join(behind[:5])}{', ...' if len(behind) > 5 else ''}" if behind else ""
        typer.echo(printable(f"   {task}, {model}: {answers:,} of {asked:,} answers, {scored:,} scored{missing}"))
