"""`decodelab report`: the results of a sweep, on the terminal and in files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.stored import JournalFile, PlanNumber, PlanOrJournal, opened
from decodelab.cli.terminal import print_json
from decodelab.core.errors import RequestError
from decodelab.engine.progress import Advance
from decodelab.io.atomic import check_writable, write_bytes, write_text
from decodelab.report.sweep.table import markdown, print_results, results_data

if TYPE_CHECKING:
    from decodelab.bench.plan import Plan
    from decodelab.bench.records import ItemView
    from decodelab.bench.stats.comparison import Results
    from decodelab.bench.store.journal import Journal
    from decodelab.report.sweep.samples import Packed

HtmlFile = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", show_default=False, help="HTML page with every answer.")
]
LatexFile = Annotated[
    Path | None, typer.Option("--latex", metavar="FILE", show_default=False, help="LaTeX tables (booktabs).")
]
CsvFile = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", show_default=False, help="CSV with every figure of every cell.")
]
MarkdownFile = Annotated[
    Path | None, typer.Option("--markdown", metavar="FILE", show_default=False, help="Tables as Markdown.")
]
PngFile = Annotated[
    Path | None, typer.Option("--png", metavar="FILE", show_default=False, help="Plot of quality against compute.")
]


@dataclass(frozen=True)
class Outputs:
    """The files to write results to; None: not that one."""

    html: Path | None = None
    latex: Path | None = None
    csv: Path | None = None
    markdown: Path | None = None
    png: Path | None = None

    def check(self) -> None:
        """Make sure that all can be written, before any work is done.

        Raises:
            OutputError: if one cannot.
        """
        for file in (self.html, self.latex, self.csv, self.markdown, self.png):
            if file is not None:
                check_writable(file)

    def write(self, plan: Plan, journal: Journal, results: Results, *, hidden: bool) -> None:
        """Write them, each whole or not at all; hidden: without a progress bar."""
        if self.markdown is not None:
            write_text(self.markdown, markdown(results))
        if self.latex is not None:
            from decodelab.report.sweep.latex import latex

            write_text(self.latex, latex(results))
        if self.csv is not None:
            from decodelab.report.sweep.csv import to_csv

            write_text(self.csv, to_csv(results))
        if self.png is not None:
            from decodelab.report.sweep.png import to_png

            write_bytes(self.png, to_png(results))
        if self.html is not None:
            from decodelab.report.sweep.html import to_html

            total = sum(task.items for task in plan.tasks)
            with progress(total, "packing the answers", hidden=hidden) as advance:
                page = to_html(plan, results, _packed(plan, journal, advance))
            write_text(self.html, page)


def _packed(plan: Plan, journal: Journal, advance: Advance) -> Packed:
    """All answers of a sweep, for a page."""
    from decodelab.bench.store.views import columns, side_by_side
    from decodelab.report.sweep.samples import Packed

    packed = Packed(columns(plan))
    done = 0

    def counted(items: Iterator[ItemView], task: str) -> Iterator[ItemView]:
        nonlocal done
        for item in items:
            done += 1
            advance(done, f"packing {task}")
            yield item

    for task in plan.task_names:
        packed.add(task, counted(side_by_side(plan, journal, task), task))
    return packed


def command(
    plan: PlanOrJournal,
    journal: JournalFile = None,
    number: PlanNumber = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            metavar="LOSS",
            show_default="the plan's",
            help="Loss of score that does not matter, above 0 and below 1.",
        ),
    ] = None,
    answered_only: Annotated[
        bool,
        typer.Option(
            "--answered-only", help="Score and compare strategies on the items with an answer; the others are counted."
        ),
    ] = False,
    html: HtmlFile = None,
    latex: LatexFile = None,
    to_csv: CsvFile = None,
    to_markdown: MarkdownFile = None,
    png: PngFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the tables of a sweep, and write them to files.

    Shows what the journal has, complete or not. It does not disturb a run in progress, and needs neither the models nor
    the data. The HTML page is self-contained: verdicts, sortable tables, quality against compute, and every answer side
    by side with those of the other strategies.

    \b
    Examples:
      decodelab report plan.yaml
      decodelab report plan.yaml --html report.html --margin 0.02
      decodelab report runs.sqlite --latex table.tex --csv cells.csv --png front.png
      decodelab report runs.sqlite --answered-only
      decodelab report runs.sqlite --plan 1 --markdown results.md --json

    Next: decodelab journal runs.sqlite --export answers.jsonl writes every answer to a file.
    """
    from decodelab.bench.stats.comparison import compare

    if margin is not None and not 0 < margin < 1:
        raise RequestError(f"--margin must be above 0 and below 1, got {margin:g}; 0.05 is 5 points of 100")
    outputs = Outputs(html, latex, to_csv, to_markdown, png)
    outputs.check()
    with opened(plan, journal, number) as (chosen, kept):
        if margin is not None:
            chosen = chosen.model_copy(update={"margin": margin})
        results = compare(chosen, kept, answered_only=answered_only)
        outputs.write(chosen, kept, results, hidden=as_json)
    if as_json:
        print_json(results_data(results))
    else:
        print_results(results)
