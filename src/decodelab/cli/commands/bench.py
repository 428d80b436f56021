"""`decodelab bench`: run a sweep or resume one, and show its results."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.commands.report import HtmlFile, MarkdownFile, Outputs
from decodelab.cli.forecast import print_cost
from decodelab.cli.judging import counted, judge_prices, spent_data
from decodelab.cli.progress import progress
from decodelab.cli.stored import JournalFile, journal_of
from decodelab.cli.terminal import MOST_NOTES, note, print_json, say
from decodelab.engine.threads import threads_for
from decodelab.report.sweep.table import print_results, results_data

if TYPE_CHECKING:
    from decodelab.bench.records import Failure
    from decodelab.bench.run.worklist import LoadedTask


def command(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", show_default=False, help="The sweep, as YAML.")],
    journal: JournalFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the plan and print what it would cost.")] = False,
    html: HtmlFile = None,
    no_html: Annotated[bool, typer.Option("--no-html", help="Write no HTML page.")] = False,
    to_markdown: MarkdownFile = None,
    workers: Annotated[
        int, typer.Option("--workers", "-w", min=1, metavar="N", help="Processes, each with a model of its own.")
    ] = 1,
    executor: Annotated[
        str, typer.Option("--executor", metavar="NAME", help="Where workers run: local (this machine) or ray.")
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", metavar="ADDRESS", show_default="this machine", help="Address of a Ray cluster."),
    ] = None,
    shuffle: Annotated[
        int | None,
        typer.Option(
            "--shuffle",
            metavar="SEED",
            show_default=False,
            help="Run the items in a random order drawn with this seed.",
        ),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            "--every",
            min=1,
            metavar="SECONDS",
            show_default=False,
            help="Print the tables so far, every this many seconds.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare strategies on tasks, with error bars.

    Runs every strategy of a plan with every model on every item. Each answer is stored in a journal as soon as it is
    finished: after Ctrl-C, a kill or a failure the same command resumes, and nothing is done twice. Scores have 95 %
    intervals; differences are paired by item, and corrected for how many strategies are compared. A strategy is called
    as good as the others only where it is shown to lose no more than the plan's margin. It ends with the tables, and
    writes one HTML page beside the plan with every answer in it.

    \b
    A plan:
      models: [pocket-nano, pocket-small]
      strategies: {greedy: greedy, sampled: temperature=0.8, beam: beam(width=4)}
      tasks: [pocket-sums, {name: pocket-paths, items: 100}]
      margin: 0.05

    \b
    Examples:
      decodelab bench plan.yaml --dry-run
      decodelab bench plan.yaml --markdown results.md
      decodelab bench plan.yaml --workers 4 --shuffle 0 --every 60
      decodelab bench plan.yaml --executor ray --ray-address 10.0.0.1:6379 --workers 8
      decodelab bench plan.yaml --journal runs.sqlite --json

    Next: decodelab report plan.yaml shows the tables again, during the run or after it.
    """
    from decodelab.bench.plan import Plan
    from decodelab.bench.run.executor import executor_named
    from decodelab.bench.run.sweep import run
    from decodelab.bench.run.worklist import load_tasks
    from decodelab.bench.stats.comparison import compare
    from decodelab.bench.store.journal import Journal

    read = Plan.read(plan)
    place = journal_of(plan, journal)
    tasks = load_tasks(read)
    _note_repeats(tasks)
    if dry_run:
        print_cost(read, place, as_json)
        return
    page = None if no_html else html or plan.with_suffix(".report.html")
    outputs = Outputs(html=page, markdown=to_markdown)
    outputs.check()
    at_work = executor_named(executor, workers, ray_address, threads_for)
    with Journal(place, writing=True) as kept:
        with progress(1, "loading") as advance, at_work:
            shown = time.monotonic()

            def tell(done: int, total: int, doing: str) -> None:
                nonlocal shown
                advance(done / max(total, 1), doing)
                if every is not None and not as_json and time.monotonic() - shown >= every:
                    print_results(compare(read, kept))
                    shown = time.monotonic()

            outcome = run(read, kept, tell, at_work, shuffle, tasks)
        results = compare(read, kept)
        outputs.write(read, kept, results, hidden=as_json)
    for failure in outcome.failures[:MOST_NOTES]:
        note(f"{failure.model}, {failure.task}, {failure.strategy}, item {failure.item}: {failure.error}")
    left_out = _left_out(outcome.left_out)
    for kind in left_out:
        named = ", ".join(kind["items"][:MOST_NOTES])
        more = f" and {len(kind['items']) - MOST_NOTES} more" if len(kind["items"]) > MOST_NOTES else ""
        note(f"{kind['task']}, {kind['model']}: left out as too long, {len(kind['items'])}: item {named}{more}")
    prices = judge_prices(read)
    if as_json:
        judging = {label: spent_data(spent, prices[label]) for label, spent in outcome.judging.items()}
        counts = {"asked": outcome.asked, "reused": outcome.reused, "generated": outcome.generated}
        counts |= {"selected": outcome.selected, "judging": judging}
        files = {"journal": str(place), "html": None if page is None else str(page)}
        print_json({**files, **counts, "failed": len(outcome.failures), "left_out": left_out, **results_data(results)})
    else:
        print_results(results)
        selected = f" {outcome.selected:,} selected among stored samples," if outcome.selected else ""
        say(f"{outcome.generated:,} answers generated,{selected} {outcome.reused:,} reused; stored in {place}")
        for label, spent in outcome.judging.items():
            say(f"{label}: {counted(spent, prices[label])}")
        if page is not None:
            say(f"open {page} to read them side by side")
    if outcome.failures:
        say(f"{len(outcome.failures):,} of {outcome.asked:,} answers failed; the same command tries them again")
        raise typer.Exit(1)


def _left_out(failures: Sequence[Failure]) -> list[dict[str, Any]]:
    """The items that were left out, by task and model."""
    items: dict[tuple[str, str], dict[str, None]] = {}
    for failure in failures:
        items.setdefault((failure.task, failure.model), {})[failure.item] = None
    return [{"task": task, "model": model, "items": list(found)} for (task, model), found in items.items()]


def _note_repeats(tasks: Sequence[LoadedTask]) -> None:
    """Note items that repeat a prompt, of which statistics learn nothing new."""
    for task in tasks:
        count = len(task.examples)
        if task.repeats:
            left = count - task.repeats
            note(
                f"{task.label}: {task.repeats:,} of {count:,} items repeat the prompt of another; each prompt counts "
                f"as one observation, which makes {left:,}"
            )
