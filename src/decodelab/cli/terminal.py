"""The terminal: text that models wrote is made harmless, notes and progress go to stderr, JSON to stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from decodelab.io.json import json_text
from decodelab.io.text import printable

if TYPE_CHECKING:
    pass


def say(line: str) -> None:
    """Print a line on stderr."""
    typer.echo(line, err=True)


def note(message: str) -> None:
    """Print a note on stderr."""
    say(f"note: {printable(message)}")


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    typer.echo(json_text(document))


def on_terminal(stderr: bool = False) -> bool:
    """Whether somebody is looking: stdout (or stderr) is a terminal."""
    return (sys.stderr if stderr else sys.stdout).isatty()
