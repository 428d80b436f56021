"""Terminal output: notes go to stderr, JSON to stdout; control characters in model-written text are escaped."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer

from decodelab.io.json import json_text
from decodelab.io.text import printable

INTERRUPTED = 130
MOST_NOTES = 10
"""Notes of a kind, or items that failed, that are printed one by one."""


def say(line: str) -> None:
    """Print a line on stderr."""
    typer.echo(line, err=True)


def note(message: str) -> None:
    """Print a note on stderr."""
    say(f"note: {printable(message)}")


def first_of(messages: Sequence[str], what: str) -> list[str]:
    """The first of many notes of a kind, and how many more there are.

    >>> first_of(["a"], "prompts"), first_of([str(n) for n in range(1, 40)], "prompts")[-2:]
    (['a'], ['10', '... and 29 more prompts'])
    """
    if len(messages) <= MOST_NOTES:
        return list(messages)
    return [*messages[:MOST_NOTES], f"... and {len(messages) - MOST_NOTES:,} more {what}"]


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    typer.echo(json_text(document))


def stop_interrupted(message: str) -> NoReturn:
    """Say what was done before Ctrl-C, and exit with the code for that."""
    say(f"interrupted: {message}")
    raise typer.Exit(INTERRUPTED)


def on_terminal(stderr: bool = False) -> bool:
    """Whether stdout (or stderr) is a terminal."""
    return (sys.stderr if stderr else sys.stdout).isatty()
