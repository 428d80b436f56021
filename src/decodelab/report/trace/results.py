"""The results of traced runs, a row a run, on the terminal and for the page."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from decodelab.analysis.trace_results import Result
from decodelab.io.text import printable
from decodelab.report.console import number_table, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from decodelab.analysis.trace import Trace

_PROMPT, _STRATEGY = 18, 24
"""Characters of a prompt that are shown, and of the longest strategy that stands in its row by name."""

_NUMBERS: list[tuple[str, Callable[[Result], str]]] = [
    ("tokens", lambda r: str(r.tokens)),
    ("perplexity", lambda r: _number(r.perplexity)),
    ("bits", lambda r: _number(r.cross_entropy_bits)),
    ("target", lambda r: _number(r.target_bits)),
    ("surprise", lambda r: _number(r.surprise_bits)),
    ("error", lambda r: _number(r.surprise_error_bits, sign=True)),
    ("seq-rep-4", lambda r: _number(r.repetition)),
    ("seconds", lambda r: f"{r.seconds:.2f}"),
]
_OF_TARGET = {"target", "surprise", "error"}

LEGEND = (
    "perplexity and bits (cross-entropy per token): of the generated tokens, the end included, under the model. "
    "seq-rep-4: share of 4-grams of tokens that occurred before in the text. seconds: tracing included."
)
TARGET_LEGEND = (
    "surprise: mean in bits, as the stage with the target measures it, under its own input; error: surprise - target."
)


def legend(results: Sequence[Result]) -> str:
    """What the columns mean."""
    return f"{LEGEND} {TARGET_LEGEND}" if any(r.target_bits is not None for r in results) else LEGEND


def columns(results: Sequence[Result]) -> list[tuple[str, list[str]]]:
    """The columns of numbers that these results have: a heading, and the cell of each."""
    with_target = any(r.target_bits is not None for r in results)
    return [(name, [cell(r) for r in results]) for name, cell in _NUMBERS if with_target or name not in _OF_TARGET]


def names(results: Sequence[Result], strategies: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The columns that name a run: its model and its prompt where they differ, and its strategy as given."""
    prompts = [r.prompt if len(r.prompt) <= _PROMPT else f"{r.prompt[: _PROMPT - 1]}…" for r in results]
    found = []
    if len({r.model for r in results}) > 1:
        found.append(("model", [r.model for r in results]))
    if len({r.prompt_index for r in results}) > 1:
        found.append(("prompt", [f"{r.prompt_index}: {p}" for r, p in zip(results, prompts, strict=True)]))
    return [*found, ("strategy", list(strategies))]


def print_results(traces: Sequence[Trace], console: Console) -> None:
    """Print a row for each run; a strategy too long for its row is named by its number."""
    from rich.text import Text

    results = [Result.of(trace) for trace in traces]
    different = list(dict.fromkeys(r.strategy for r in results))
    shown = {s: printable(s) for s in different}
    if max(map(len, shown.values())) > _STRATEGY:
        console.print()
        for i, strategy in enumerate(different, 1):
            lines = textwrap.fill(shown[strategy], console.width, initial_indent=f"{i}: ", subsequent_indent="   ")
            console.print(Text(lines))
            shown[strategy] = str(i)
    texts, numbers = names(results, [shown[r.strategy] for r in results]), columns(results)
    table = number_table([name for name, _ in texts], [name for name, _ in numbers], no_wrap=True)
    for row in zip(*(cells for _, cells in (*texts, *numbers)), strict=True):
        table.add_row(*(Text(printable(cell)) for cell in row))
    print_table(table, console)
    console.print(Text(legend(results), "dim"))


def _number(value: float | None, *, sign: bool = False) -> str:
    """A number in a few characters.

    >>> _number(1.25), _number(-0.5, sign=True), _number(123456.0), _number(None)
    ('1.250', '-0.500', '1.23e+05', '-')
    """
    if value is None or math.isnan(value):
        return "-"
    mark = "+" if sign else ""
    return format(value, f"{mark}.3f" if abs(value) < 1e4 else f"{mark}.3g")
