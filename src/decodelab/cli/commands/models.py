"""`decodelab models`: list the shipped models, or describe a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.terminal import print_json
from decodelab.io.text import printable_lines
from decodelab.report.console import console, number_table

if TYPE_CHECKING:
    from rich.table import Table

    from decodelab.models.checkpoint import ModelInfo


def command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", show_default=False, help="A shipped model or a directory to describe."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the shipped models, or describe a model.

    No weights are loaded. Every --model also takes the directory or hub id of any decoder-only transformers model, or
    of an encoder-decoder model such as T5 or BART.

    \b
    Examples:
      decodelab models
      decodelab models pocket-small
      decodelab models ./my-model --json

    Next: decodelab generate "Once upon a time," --model pocket-nano
    """
    from decodelab.models.checkpoint import generation_settings
    from decodelab.models.loading import list_models, list_verifiers, model_info

    if name is None:
        found = [*list_models(), *list_verifiers()]
        if as_json:
            print_json([dataclasses.asdict(info) for info in found])
        else:
            console().print(_table(found))
        return
    info = model_info(name)
    settings = generation_settings(Path(info.path))
    if as_json:
        print_json(dataclasses.asdict(info) | {"generation_config": settings, "card": _card(info)})
        return
    for field, value in _details(info, settings).items():
        typer.echo(f"{field:<16}{printable_lines(value)}")
    if card := _card(info):
        typer.echo(f"\n{printable_lines(card).strip()}")


def _card(info: ModelInfo) -> str:
    card = Path(info.path) / "README.md"
    return card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""


def _details(info: ModelInfo, settings: dict[str, Any]) -> dict[str, str]:
    return {
        "name": info.name,
        "architecture": info.kind,
        "parameters": f"{info.parameters:,}",
        "vocabulary": f"{info.vocab_size:,}",
        "context_length": _context(info),
        "weights": f"{info.nbytes / 1e6:.1f} MB, {info.dtype}",
        "own settings": ", ".join(f"{k}={v}" for k, v in settings.items()) or "none (default means greedy)",
        "directory": info.path,
    }


def _context(info: ModelInfo) -> str:
    return f"{info.context_length:,} tokens" if info.context_length is not None else "unbounded"


def _table(found: list[ModelInfo]) -> Table:
    table = number_table(("name",), ("parameters", "context length", "weights"), no_wrap=True)
    table.add_column("description")
    for info in found:
        table.add_row(
            info.name,
            f"{info.parameters:,}",
            f"{info.context_length:,}" if info.context_length is not None else "unbounded",
            f"{info.nbytes / 1e6:.1f} MB",
            printable_lines(info.description),
        )
    return table
