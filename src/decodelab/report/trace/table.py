"""Traces in the terminal: a table of steps per strategy, the logits of selected steps, and statistics."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from decodelab.analysis.trace import UNDER, Logits, Path, StageStep, TokenStep, Trace
from decodelab.analysis.trace_statistics import LABELS
from decodelab.io.text import printable, printable_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Column = tuple[str, int, Callable[[TokenStep], str]]
"""A heading, a width, and the cell of a step."""

LEGEND = (
    "Surprise and entropy are in bits. rank: among the model's logits. bits: surprise under the model. "
    "proc.: surprise under the processed distribution, from which the token is chosen. H: entropy of the model's "
    "distribution. kept: tokens that a stage keeps. removed: probability that it removes. H left: entropy after it."
)
_TOKEN = 14
_BAR = 30


def print_traces(traces: Sequence[Trace], console: Console, show: int) -> None:
    """Print the best candidate of each trace, at most `show` steps of it, then statistics side by side."""
    from rich.rule import Rule
    from rich.text import Text

    if show:
        console.print(Text(LEGEND, "dim"))
    for trace in traces:
        console.print()
        console.print(Rule(Text(printable(trace.generation.strategy), "bold"), align="left", style="dim"))
        best = trace.paths[0]
        console.print(Text(textwrap.indent(printable_lines(best.candidate.text).strip() or "(no text)", "  ")))
        console.print(Text(_ending(trace), "dim"))
        if show and best.steps:
            console.print()
            _print_steps(best, console, show)
        for step in best.steps:
            if step.logits is not None:
                console.print()
                _print_logits(step, step.logits, console)
    console.print()
    _print_statistics(traces, console)


def _ending(trace: Trace) -> str:
    best, others = trace.paths[0], len(trace.paths) - 1
    end = best.candidate.finish_reason
    line = f"  {len(best.steps)} steps, {'interrupted' if end == 'interrupted' else f'ended by {end}'}"
    if others:
        line += f"; the best of {others + 1} candidates (--json and --jsonl have all of them)"
    return line


def token_name(text: str) -> str:
    r"""A token on one line, quoted so that its spaces are visible.

    >>> token_name(" cat"), token_name("\x1b[31m\n")
    ("' cat'", "'\\x1b[31m\\n'")
    """
    return f"'{printable(text)}'"


def number(value: float) -> str:
    """A reading in a few characters.

    >>> [number(x) for x in (512.0, 1.23456, float("nan"), 0.00012, 1e9)]
    ['512', '1.235', '-', '0.00012', '1e+09']
    """
    if math.isnan(value):
        return "-"
    if math.isfinite(value) and value == int(value) and abs(value) < 1e7:
        return str(int(value))
    return f"{value:.3f}" if 0.001 <= abs(value) < 1e5 else f"{value:.3g}"


def share(p: float) -> str:
    """A probability in per cent; a tiny one is not shown as 0.

    >>> share(0.0), share(0.0001), share(0.123)
    ('0%', '<0.1%', '12.3%')
    """
    return "0%" if p == 0 else "<0.1%" if p < 0.0005 else f"{p:.1%}"


def _stage_columns(i: int, stage: StageStep, several: bool) -> list[Column]:
    """The columns of stage i, numbered when there are several."""
    mark = f"{i + 1}:" if several else ""

    def of(read: Callable[[StageStep], str]) -> Callable[[TokenStep], str]:
        return lambda step: read(step.stages[i])

    columns: list[Column] = [
        (f"{mark}kept", 8, of(lambda s: str(s.kept))),
        (f"{mark}removed", 10, of(lambda s: share(s.mass_removed))),
        (f"{mark}H left", 9, of(lambda s: f"{s.entropy_bits:.2f}")),
    ]
    for name in stage.readings:
        columns.append((f"{mark}{name}", 9, of(lambda s, name=name: number(s.readings[name]))))
    return [(heading, max(width, len(heading) + 1), cell) for heading, width, cell in columns]


_FIRST: list[Column] = [
    ("rank", 7, lambda s: str(s.rank)),
    ("bits", 7, lambda s: f"{s.surprise_bits:.2f}"),
    ("proc.", 7, lambda s: f"{s.processed_surprise_bits:.2f}"),
    ("H", 7, lambda s: f"{s.entropy_bits:.2f}"),
]


def _print_steps(path: Path, console: Console, show: int) -> None:
    """One line per step, its stages in columns if they fit, else on separate lines."""
    from rich.text import Text

    # An engine limit such as min_new_tokens is a stage of the first steps only.
    longest = max(path.steps, key=lambda s: len(s.stages)).stages
    alike = all(tuple(s.name for s in step.stages) == tuple(s.name for s in longest) for step in path.steps)
    several = len(longest) > 1
    columns = [*_FIRST, *(c for i, s in enumerate(longest) for c in _stage_columns(i, s, several))]
    wide = alike and 5 + 2 + _TOKEN + sum(width for _, width, _ in columns) <= console.width
    if not wide:
        columns = _FIRST
    elif several:
        console.print(Text("  ".join(f"{i}: {printable(s.name)}" for i, s in enumerate(longest, 1)), "dim"))
    heading = f"{'step':>5}  {'token':<{_TOKEN}}" + "".join(f"{name:>{width}}" for name, width, _ in columns)
    console.print(Text(heading, "bold"), no_wrap=True, crop=False)
    for step in _some(path.steps, show):
        if step is None:
            console.print(Text(f"    …  {len(path.steps) - show} steps (--show {len(path.steps)} prints them)", "dim"))
            continue
        line = Text(f"{step.step:>5}  ")
        line.append_text(_cell(token_name(step.token_text)))
        line.append("".join(f"{cell(step):>{width}}" for _, width, cell in columns))
        console.print(line, no_wrap=True, crop=False)
        if not wide:
            for stage in step.stages:
                wrapped = textwrap.wrap(_stage_line(stage), console.width - 11) or [""]
                console.print(Text(textwrap.indent("\n".join(wrapped), " " * 7), "dim"))


def _some(steps: Sequence[TokenStep], show: int) -> list[TokenStep | None]:
    """At most `show` steps, the first and the last, with None for those left out."""
    if len(steps) <= show:
        return list(steps)
    last = show // 2
    return [*steps[: show - last], None, *(steps[-last:] if last else [])]


def _cell(text: str) -> Text:
    """Text padded or cut to the width of the token column, whatever the width of its characters."""
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    fits = cell_len(text) <= _TOKEN
    return Text(set_cell_size(text, _TOKEN) if fits else set_cell_size(text, _TOKEN - 1) + "…")


def _stage_line(stage: StageStep) -> str:
    readings = "".join(f", {name} {number(value)}" for name, value in stage.readings.items())
    return (
        f"{printable(stage.name)}: kept {stage.kept}, removed {share(stage.mass_removed)}, "
        f"H {stage.entropy_bits_before:.2f} to {stage.entropy_bits:.2f}{readings}"
    )


def _print_logits(step: TokenStep, logits: Logits, console: Console) -> None:
    """The most probable tokens of a step with bars, and the cut-off."""
    from rich.text import Text

    console.print(Text(f"logits at step {step.step}", "bold"))
    console.print(Text(f"{'':7}{'token':<{_TOKEN}}{'logit':>9}{'p':>8}{'proc.':>8}", "bold"))
    bar = max(0, min(_BAR, console.width - 7 - _TOKEN - 25 - 2))
    for top in logits.top:
        line = Text("     > " if top.token == step.token else "       ")
        line.append_text(_cell(token_name(top.text)))
        line.append(f"{top.logit:>9.3f}{share(top.p):>8}{share(top.processed_p) if top.processed_p else '-':>8}  ")
        line.append("█" * round(bar * top.p), "dim")
        console.print(line, no_wrap=True, crop=False)
    total = sum(logits.kept) + sum(logits.removed)
    cut = "" if logits.cut_off is None else f": those with a logit of at least {logits.cut_off:.3f}"
    console.print(Text(f"       kept {sum(logits.kept)} of {total} tokens{cut}", "dim"))


_HEAD = 20
"""Characters of the longest strategy that stands over its own column."""


def _print_statistics(traces: Sequence[Trace], console: Console) -> None:
    """Statistics by name, with as many strategies side by side as fit."""
    from rich.text import Text

    first = 4 + max(map(len, LABELS.values()))
    names = [printable(t.strategy) for t in traces]
    if len(traces) > 1 and max(map(len, names)) > _HEAD:
        # A strategy broken into pieces cannot be read; it is named by its number.
        for i, name in enumerate(names, 1):
            lines = textwrap.fill(name, console.width, initial_indent=f"{i}: ", subsequent_indent="   ")
            console.print(Text(lines, "bold"))
        names = [str(i) for i in range(1, len(traces) + 1)]
    elif len(traces) == 1:
        names = [""]  # its own heading has named it
    width = max(13, 2 + max(map(len, names)))
    fit = max(1, (console.width - first) // width)
    for begin in range(0, len(traces), fit):
        some = traces[begin : begin + fit]
        if begin:
            console.print()
        heads = "".join(f"{name:>{width}}" for name in names[begin : begin + fit])
        if heads.strip():
            console.print(Text(" " * first + heads, "bold"), no_wrap=True, crop=False)
        rows = [("tokens", [str(t.under_model.tokens) for t in some])]
        for under, of in UNDER.items():
            rows.append((under, []))
            for labelled in zip(*(of(t).rows() for t in some), strict=True):
                rows.append((f"  {labelled[0][0]}", [value for _, value in labelled]))
        for label, values in rows:
            line = f"{label:<{first}}{''.join(f'{v:>{width}}' for v in values)}"
            console.print(Text(line.rstrip(), "" if values else "dim"), no_wrap=True, crop=False)
