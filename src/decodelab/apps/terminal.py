"""The terminal: text that models wrote is made harmless, notes and progress go to stderr, JSON to stdout."""

from __future__ import annotations

import json
import math
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"


def visible(text: str, keep: str = "") -> str:
    r"""Show control, format and other unseen characters as escapes; `keep` names those to leave.

    Model-written text can hold terminal commands, and marks that reverse the direction of what follows. Zero-width
    joiners stay: emoji and some scripts need them.

    >>> visible("\x1b[31mred\x00"), visible("a\nb\u202ec", keep="\n")
    ('\\x1b[31mred\\x00', 'a\nb\\u202ec')
    """
    if text.isprintable():
        return text
    return "".join(
        ch if ch in keep or ch in _JOINERS or unicodedata.category(ch) not in _HIDDEN else _escape(ch) for ch in text
    )


def _escape(ch: str) -> str:
    return ch.encode("unicode_escape").decode("ascii")


def shown(text: str) -> str:
    r"""Model-written text for the terminal: newlines and tabs stay, all else unseen shows as an escape."""
    return visible(text, keep="\n\t")


def one_line(text: str) -> Text:
    """Model-written text for a cell of a table that gives way to the numbers: cut to one line, nothing unseen in it."""
    from rich.text import Text

    return Text(visible(text), no_wrap=True, overflow="ellipsis")


def say(line: str) -> None:
    """Print a line on stderr."""
    typer.echo(line, err=True)


def note(message: str) -> None:
    """Print a note on stderr."""
    say(f"note: {visible(message)}")


def console(*, stderr: bool = False) -> Console:
    """A rich console that takes every text literally: no markup, no emoji names, no guessing of colours."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    typer.echo(json_text(document))


def json_text(document: Any) -> str:
    """Plain data as indented JSON in ASCII, lists of numbers on one line; numbers that are not finite become null.

    >>> print(json_text({"p": [0.5, float("nan")], "text": "é"}))
    {
      "p": [0.5, null],
      "text": "\\u00e9"
    }
    """
    text = json.dumps(_finite(document), indent=2, allow_nan=False)
    # A line break inside a JSON string is written \n, so `[` before a real one always opens a list.
    return re.sub(r'\[\n[^\[\]{}"]*\]', lambda m: f"[{' '.join(m[0][1:-1].split())}]", text)


def json_line(document: Any) -> str:
    """Plain data as JSON in ASCII on one line, for JSONL; numbers that are not finite become null.

    >>> json_line({"p": [0.5, float("inf")]})
    '{"p": [0.5, null]}'
    """
    return json.dumps(_finite(document), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


@contextmanager
def notes() -> Iterator[list[str]]:
    """Collect the warnings about terms without effect, slower caches and missing candidates, each once, for `note`."""
    import warnings

    from decodelab.core.notices import FewerCandidates, PlainCacheWarning
    from decodelab.engine.generate import NoEffectWarning

    told = (NoEffectWarning, PlainCacheWarning, FewerCandidates)
    said: list[str] = []

    def collect(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, told) and str(message) not in said:
            said.append(str(message))

    with warnings.catch_warnings():
        for category in told:
            warnings.simplefilter("always", category)
        warnings.showwarning = collect
        yield said


def on_terminal(stderr: bool = False) -> bool:
    """Whether somebody is looking: stdout (or stderr) is a terminal."""
    return (sys.stderr if stderr else sys.stdout).isatty()
