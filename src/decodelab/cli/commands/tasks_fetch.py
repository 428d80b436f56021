"""`decodelab tasks fetch`: download a task's items from the Hugging Face hub into a local file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.terminal import print_json
from decodelab.core.errors import DecodelabError, RequestError
from decodelab.io.atomic import check_writable, write_text
from decodelab.io.text import printable


def command(
    task: Annotated[str, typer.Argument(metavar="TASK", show_default=False, help="As decodelab tasks list names it.")],
    source: Annotated[
        str, typer.Argument(metavar="HUB_ID", show_default=False, help="A data set on the hub, or its local folder.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", show_default=False, help="JSONL file to write.")],
    config: Annotated[
        str | None, typer.Option(metavar="NAME", show_default=False, help="Configuration (subset) of the data set.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="Split of the data set.")] = "test",
    parameters: options.TaskParameters = None,
    as_json: options.AsJson = False,
) -> None:
    """Download a task's items from the hub into a file that plans can read.

    Needs the package datasets (pip install 'decodelab[hub]'). The file is written only if the task can read every row.

    \b
    Examples:
      decodelab tasks fetch mmlu cais/mmlu --config college_medicine --out college_medicine_test.jsonl
      decodelab tasks fetch graph vashistht/11763_datasets --config graph_dev --split dev -o g.jsonl

    Next: decodelab tasks show mmlu college_medicine_test.jsonl shows an item.
    """
    from decodelab.tasks.task import task_named

    chosen = task_named(task, options.task_parameters(parameters))
    check_writable(out)
    text = "".join(f"{json.dumps(row, default=str)}\n" for row in _rows(source, config, split))
    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder) / out.with_suffix(".jsonl").name
        tried.write_text(text, encoding="utf-8")
        try:
            examples = chosen.read(tried)
        except DecodelabError as error:
            raise type(error)(f"{source!r}: {str(error).replace(repr(str(tried)), 'its rows')}") from None
    write_text(out, text)
    if as_json:
        print_json({"task": task, "n": len(examples), "file": str(out)})
    else:
        typer.echo(f"{len(examples)} items in {printable(str(out))}")


def _rows(source: str, config: str | None, split: str) -> Iterator[dict[str, Any]]:
    """The rows of a data set."""
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise RequestError(
            "fetch: needs the package datasets, which is not installed; pip install 'decodelab[hub]'"
        ) from None
    try:
        return iter(load_dataset(source, config, split=split))
    except Exception as error:  # datasets, the hub and the network raise many kinds
        reason = " ".join(str(error).split())[:300]
        raise RequestError(f"fetch: {source!r} cannot be read: {reason}") from None
