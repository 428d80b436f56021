"""`decodelab gap`: how far greedy and beam search stay below the most probable sequence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.terminal import note, print_json, stop_interrupted
from decodelab.core.errors import InvalidParameter
from decodelab.core.notices import notes
from decodelab.engine.threads import threads_for
from decodelab.io.atomic import check_writable, write_bytes
from decodelab.io.text import printable
from decodelab.report.calibration import check_suffix, diagram_bytes
from decodelab.report.console import excerpt, number_table, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from decodelab.analysis.gap import Gap

COLUMNS = ("search", "below", "mean gap", "bound", "worst", "shorter", "empty", "forward")


def command(
    prompts: options.PromptOptions = options.PromptOptions(),
    model: options.Model = "pocket-nano",
    widths: Annotated[str, typer.Option(metavar="N,N", help="Beam widths; 1 is greedy search.")] = "1,3,10,25",
    processors: Annotated[
        str,
        typer.Option(
            metavar="STAGES", show_default=False, help="Processors applied to the model first, as temperature=0.7."
        ),
    ] = "",
    budget: Annotated[
        int, typer.Option(metavar="N", help="Most prefixes to evaluate to find and prove a prompt's optimum.")
    ] = 2000,
    ends: options.LimitOptions = options.LimitOptions(max_new_tokens=16),
    show: Annotated[int, typer.Option(metavar="N", help="Show at most this many prompts individually.")] = 10,
    diagram: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Plot the gaps against the beam width: .png, .svg, .pdf or .html."),
    ] = None,
    max_rows: options.MaxRows = 64,
    device: options.DeviceOptions = options.DeviceOptions(),
    as_json: options.AsJson = False,
) -> None:
    """Measure the search error of greedy and beam search.

    The gap is the log-probability of the most probable sequence minus that of the sequence a search finds. A* search
    looks for the optimum within the budget. If it proves the optimum, the gap is exact; if not, the gap lies between
    the distances to the best known sequence and to the remaining upper bound. Log-probabilities are sums, not divided
    by length, which favours short sequences; the table counts how often a shorter or an empty sequence wins. A
    sequence cut off by the token limit counts as finished, so set --max-new-tokens high enough.

    \b
    Examples:
      decodelab gap "What is 27 + 35?" --max-new-tokens 24
      decodelab gap --file prompts.txt -m pocket-small --widths 1,5,25 --budget 5000 --diagram gap.png
      decodelab gap -m lecture.yaml --widths 1,2,3 --max-new-tokens 3 --json

    Next: decodelab generate -s "k_best(n=5)" shows the most probable sequences.
    """
    from decodelab.analysis.gap import measure_gap, read_widths

    requests = prompts.requests()
    limits = ends.limits(prompts.escapes)
    beams = read_widths(widths)
    if budget < 1:
        raise InvalidParameter(f"--budget must be at least 1, got {budget}; use 2000 for short answers")
    if diagram is not None:
        check_suffix(diagram)
        check_writable(diagram)

    lm = device.load(model)
    with notes() as said, threads_for(lm), progress(1, "searching") as advance:
        gap = measure_gap(
            lm,
            requests,
            widths=beams,
            processors=processors,
            budget=budget,
            limits=limits,
            max_rows=max_rows,
            report=lambda done: advance(done, "searching"),
        )
    for message in said:
        if "before greedy" not in message:  # the processors do affect the other searches
            note(message)
    if diagram is not None and gap.cases:
        from decodelab.report.gap import figure_of, title_of

        rows = [COLUMNS, *_rows(gap)]
        write_bytes(diagram, diagram_bytes(figure_of(gap), diagram.suffix, rows, printable(title_of(gap))))
    if as_json:
        print_json(gap.to_dict())
    elif gap.cases:
        if show > 0:
            print_table(_prompts(gap, show))
        print_table(_searches(gap))
        typer.echo(_legend(gap))
        if diagram is not None:
            typer.echo(f"Plotted in {printable(str(diagram))}.")
    if gap.interrupted:
        stop_interrupted(f"{len(gap.cases)} of {len(requests)} prompts were finished")


def _prompts(gap: Gap, most: int) -> Table:
    """The first prompts with their best sequences."""
    searches = ("greedy" if width == 1 else f"beam {width}" for width in gap.widths)
    table = number_table(("prompt", "most probable"), ("log p", "prefixes", *searches), min_width=8)
    for case in gap.cases[:most]:
        table.add_row(
            excerpt(case.prompt or "(empty)"),
            excerpt(case.text or "(empty)"),
            f"{case.logprob:.3f}{' ' if case.proved else '*'}",
            str(case.evaluated),
            *(_nats(o.gap) for o in case.outcomes),
        )
    return table


def _nats(gap: float) -> str:
    """A gap; negative ones are rounding errors, which differ between batches."""
    return f"{max(gap, 0.0):.3f}"


def _searches(gap: Gap) -> Table:
    """One row per search, over all prompts."""
    table = number_table(COLUMNS[:1], COLUMNS[1:], no_wrap=True)
    for row in _rows(gap):
        table.add_row(*row)
    return table


def _rows(gap: Gap) -> list[tuple[str, ...]]:
    """The rows of that table."""
    return [
        (
            "greedy" if summary.width == 1 else f"beam {summary.width}",
            f"{summary.below}/{summary.prompts}",
            _nats(summary.mean_gap),
            _nats(summary.mean_gap_bound),
            _nats(summary.worst_gap),
            str(summary.shorter),
            str(summary.empty),
            f"{summary.forward_tokens:.0f}",
        )
        for summary in gap.summaries()
    ]


def _legend(gap: Gap) -> str:
    """The meaning of the columns."""
    seen = sum(case.evaluated for case in gap.cases) / len(gap.cases)
    return (
        f"  optimum proved for {gap.proved} of {len(gap.cases)} prompts (* if not), "
        f"after {seen:.0f} prefixes on average\n"
        "  gap: in nats, to the best known sequence; bound: largest possible mean gap\n"
        "  below: prompts with a more probable known sequence; shorter, empty: prompts where that is shorter, empty"
    )
