"""`decodelab journal`: what is in a journal, whether it is sound, and getting answers out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from decodelab.apps import options
from decodelab.apps.files import check_writable, write_text
from decodelab.apps.terminal import print_json


def command(
    file: Annotated[Path, typer.Argument(metavar="JOURNAL", show_default=False, help="A journal of decodelab bench.")],
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", show_default=False, help="Write all answers as JSONL.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Check a journal, and get its answers out.

    \b
    Examples:
      decodelab journal runs.sqlite
      decodelab journal runs.sqlite --export answers.jsonl

    Next: decodelab measure answers.jsonl tells how the texts read.
    """
    import json
    from dataclasses import asdict

    from decodelab.bench.journal import Journal

    if export is not None:
        check_writable(export)
    with Journal(file, writing=False) as kept:
        counts = dict(kept.check())
        if export is not None:
            write_text(export, "".join(json.dumps(asdict(record)) + "\n" for record in kept.records()))
    if as_json:
        print_json({"journal": str(file), **counts})
    else:
        typer.echo(f"{file}: {counts['generations']} answers, {counts['scores']} scores, undamaged")
