"""`decodelab gap`: how far greedy search and beams end below the most probable sequence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.prompts import read_prompts
from decodelab.cli.terminal import note, print_json, say
from decodelab.core.errors import InvalidParameter
from decodelab.core.notices import notes
from decodelab.engine.threads import threads_for
from decodelab.io.atomic import check_writable, write_bytes
from decodelab.io.text import printable
from decodelab.report.calibration import check_suffix, diagram_bytes
from decodelab.report.console import console, one_line

if TYPE_CHECKING:
    from rich.table import Table

    from decodelab.analysis.gap import Gap

COLUMNS = ("search", "below", "mean gap", "at most", "worst", "shorter", "empty", "forward")


def command(
    prompts: options.Prompts = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="A shipped model, a directory, a table or a hub id.")
    ] = "pocket-nano",
    widths: Annotated[str, typer.Option(metavar="N,N", help="Beam widths; 1 is greedy search.")] = "1,3,10,25",
    processors: Annotated[
        str,
        typer.Option(
            metavar="STAGES", show_default=False, help="What the distribution goes through first: temperature=0.7."
        ),
    ] = "",
    budget: Annotated[
        int, typer.Option(metavar="N", help="Prefixes that may be looked at to find and prove a prompt's optimum.")
    ] = 2000,
    max_new_tokens: options.MaxNewTokens = 16,
    min_new_tokens: options.MinNewTokens = 0,
    stop: options.Stop = None,
    stop_token_id: options.StopTokenId = None,
    file: options.PromptFile = None,
    escapes: options.Escapes = False,
    chat: options.AsChat = False,
    system: options.System = None,
    show: Annotated[int, typer.Option(metavar="N", help="Print at most so many prompts one by one.")] = 10,
    diagram: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Plot the gaps over the widths: .png, .svg, .pdf or one .html page."),
    ] = None,
    max_rows: options.MaxRows = 64,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Measure how far searches end below the optimum.

    For greedy search and beams: how much less probable what they find is than the most probable sequence. That is
    searched for by A* within the budget. Where it is proved, a gap is exact; where not, it is at least the distance to
    the best sequence known and at most that to the bound left. Log-probabilities are sums, not divided by the length,
    so that short sequences have the better of it: how often a shorter one wins, or the empty one, is counted. A
    sequence that the limit cuts counts as finished; give room enough.

    \b
    Examples:
      decodelab gap "What is 27 + 35?" --max-new-tokens 24
      decodelab gap --file prompts.txt -m pocket-small --widths 1,5,25 --budget 5000 --diagram gap.png
      decodelab gap -m lecture.yaml --widths 1,2,3 --max-new-tokens 3 --json

    Next: decodelab generate -s "k_best(n=5)" shows the best sequences themselves.
    """
    from decodelab.analysis.gap import measure_gap, read_widths

    requests = options.as_requests(read_prompts(prompts or [], file, escapes=escapes), chat, system)
    limits = options.limits(max_new_tokens, min_new_tokens, stop, stop_token_id, escapes)
    beams = read_widths(widths)
    if budget < 1:
        raise InvalidParameter(f"--budget must be at least 1, got {budget}; use 2000 for short answers")
    if diagram is not None:
        check_suffix(diagram)
        check_writable(diagram)

    from decodelab.models.loading import load

    lm = load(model, dtype=dtype, device=device)
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
        if "before greedy" not in message:  # the stages shape the distribution of the other searches
            note(message)
    if diagram is not None and gap.cases:
        from decodelab.report.gap import figure_of, title_of

        rows = [COLUMNS, *_rows(gap)]
        write_bytes(diagram, diagram_bytes(figure_of(gap), diagram.suffix, rows, printable(title_of(gap))))
    if as_json:
        print_json(gap.to_dict())
    elif gap.cases:
        out = console()
        if show > 0:
            out.print(_prompts(gap, show))
        out.print(_searches(gap))
        typer.echo(_legend(gap))
        if diagram is not None:
            typer.echo(f"Plotted in {printable(str(diagram))}.")
    if gap.interrupted:
        say(f"interrupted: {len(gap.cases)} of {len(requests)} prompts were finished")
        raise typer.Exit(130)


def _prompts(gap: Gap, most: int) -> Table:
    """The first prompts with their best sequences."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    table.add_column("prompt", min_width=8)
    table.add_column("most probable", min_width=8)
    table.add_column("log p", justify="right", no_wrap=True)
    table.add_column("seen", justify="right", no_wrap=True)
    for width in gap.widths:
        table.add_column("greedy" if width == 1 else f"beam {width}", justify="right", no_wrap=True)
    for case in gap.cases[:most]:
        table.add_row(
            one_line(case.prompt or "(empty)"),
            one_line(case.text or "(empty)"),
            f"{case.logprob:.3f}{' ' if case.proved else '*'}",
            str(case.evaluated),
            *(_nats(o.gap) for o in case.outcomes),
        )
    return table


def _nats(gap: float) -> str:
    """A gap; a negative one is the model's own arithmetic, which differs from batch to batch."""
    return f"{max(gap, 0.0):.3f}"


def _searches(gap: Gap) -> Table:
    """Each search over all prompts."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    table.add_column(COLUMNS[0], no_wrap=True)
    for heading in COLUMNS[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in _rows(gap):
        table.add_row(*row)
    return table


def _rows(gap: Gap) -> list[tuple[str, ...]]:
    """The lines of that table."""
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
    """What the columns say."""
    seen = sum(case.evaluated for case in gap.cases) / len(gap.cases)
    return (
        f"  optimum proved for {gap.proved} of {len(gap.cases)} prompts (* where not), "
        f"{seen:.0f} prefixes looked at in the mean\n"
        "  gaps in nats, to the best sequence known; at most: to the bound left\n"
        "  below: prompts where something more probable is known; shorter, empty: where that is shorter, has no text"
    )
