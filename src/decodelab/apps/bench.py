"""`decodelab bench`: run a sweep, or go on with one, and see what it says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.apps import options
from decodelab.apps.bench_report import HtmlFile, MarkdownFile, Outputs, journal_of
from decodelab.apps.bench_table import print_results, results_data
from decodelab.apps.files import check_writable, write_text
from decodelab.apps.progress import progress
from decodelab.apps.terminal import note, print_json, say
from decodelab.apps.threads import threads_for
from decodelab.core.errors import RequestError

if TYPE_CHECKING:
    from decodelab.bench.plan import Plan

PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", show_default=False, help="The sweep, as YAML.")]
JournalFile = Annotated[
    Path | None,
    typer.Option("--journal", "-j", metavar="FILE", show_default="beside the plan", help="Where the runs are kept."),
]


def command(
    plan: PlanFile,
    journal: JournalFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the plan and say what it would cost.")] = False,
    html: HtmlFile = None,
    no_html: Annotated[bool, typer.Option("--no-html", help="Write no HTML page.")] = False,
    to_markdown: MarkdownFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare strategies on tasks, with error bars.

    Runs every strategy of a plan with every model on every item. What is finished is kept in a journal at once: after
    Ctrl-C, a kill or a fault the same command goes on, and nothing is done twice. Scores have 95 % intervals;
    differences are paired by item and their p values Holm-corrected. It ends with the tables, and one HTML page beside
    the plan with every answer in it.

    \b
    A plan:
      models: [pocket-nano, pocket-small]
      strategies: {greedy: greedy, sampled: temperature=0.8, beam: beam(width=4)}
      tasks: [pocket-sums, {name: pocket-paths, items: 100}]

    \b
    Examples:
      decodelab bench plan.yaml --dry-run
      decodelab bench plan.yaml --markdown results.md
      decodelab bench plan.yaml --journal runs.sqlite --json

    Next: decodelab report plan.yaml reads the tables again, while it runs or after.
    """
    from decodelab.bench.comparison import compare
    from decodelab.bench.journal import Journal
    from decodelab.bench.plan import Plan
    from decodelab.bench.sweep import run

    read = Plan.read(plan)
    place = journal_of(plan, journal)
    if dry_run:
        _print_cost(read, place, as_json)
        return
    page = None if no_html else html or plan.with_suffix(".report.html")
    outputs = Outputs(html=page, markdown=to_markdown)
    outputs.check()
    with Journal(place, writing=True) as kept:
        with progress(1, "loading", hidden=as_json) as advance:
            outcome = run(read, kept, lambda done, total, doing: advance(done / total, doing), threads_for)
        results = compare(read, kept)
        outputs.write(read, kept, results, hidden=as_json)
    for cell, error in outcome.failures[:3]:
        note(f"{cell.model}, {cell.task}, {cell.strategy}: {error}")
    if as_json:
        counts = {"asked": outcome.asked, "found": outcome.found, "made": outcome.made}
        files = {"journal": str(place), "html": None if page is None else str(page)}
        print_json({**files, **counts, "failed": len(outcome.failures), **results_data(results)})
    else:
        print_results(results)
        say(f"{outcome.made} answers made, {outcome.found} were there already, all kept in {place}")
        if page is not None:
            say(f"to read them side by side, open {page}")
    if outcome.failures:
        say(f"{len(outcome.failures)} of {outcome.asked} failed; the same command tries them again")
        raise typer.Exit(1)


def journal_command(
    file: Annotated[Path, typer.Argument(metavar="JOURNAL", show_default=False, help="A journal of decodelab bench.")],
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", show_default=False, help="Write all answers as JSONL.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Check a journal, and get its answers out.

    \b
    Examples:
      decodelab journal runs.sqlite
      decodelab journal runs.sqlite --export answers.jsonl

    Next: decodelab measure answers.jsonl tells how the texts read.
    """
    import json
    from dataclasses import asdict

    from decodelab.bench.journal import Journal

    if export is not None:
        check_writable(export)
    with Journal(file, writing=False) as kept:
        counts = dict(kept.check())
        if export is not None:
            write_text(export, "".join(json.dumps(asdict(record)) + "\n" for record in kept.records()))
    if as_json:
        print_json({"journal": str(file), **counts})
    else:
        typer.echo(f"{file}: {counts['generations']} answers, {counts['scores']} scores, undamaged")


def _print_cost(plan: Plan, place: Path, as_json: bool) -> None:
    """What a plan would run, at most."""
    from decodelab.bench.journal import Journal
    from decodelab.bench.sweep import questions, requests
    from decodelab.core.errors import DecodelabError
    from decodelab.engine.cost import predict_cost
    from decodelab.engine.scheduler import Engine
    from decodelab.models.loading import load

    have: set[str] = set()
    if place.is_file():
        with Journal(place, writing=False) as kept:
            have = kept.keys()
    rows: list[dict[str, Any]] = []
    asked = questions(plan)
    for name in plan.models:
        model = load(name)
        answers, missing, tokens, peak = 0, 0, 0, 0
        for request in requests(plan, asked, Engine(model, max_rows=plan.max_rows), name):
            answers += len(request.keys)
            new = sum(key not in have for key in request.keys)
            missing += new
            if new:
                try:
                    work = predict_cost(
                        model,
                        request.job.strategy,
                        prompt_tokens=len(request.job.tokens),
                        new_tokens=request.job.max_new_tokens,
                    ).cached
                except DecodelabError as error:
                    raise RequestError(f"{name} under {request.cell.strategy!r}: {error}") from None
                tokens += work.forward_tokens
                peak = max(peak, work.cache_bytes)
        rows.append(
            {
                "model": name,
                "answers": answers,
                "missing": missing,
                "most_forward_tokens": tokens,
                "job_cache_bytes": peak,
            }
        )
    if as_json:
        print_json({"journal": str(place), "models": rows})
        return
    for row in rows:
        typer.echo(
            f"{row['model']}: {row['missing']} of {row['answers']} answers are missing, at most "
            f"{row['most_forward_tokens']:,} forward tokens; the largest job needs "
            f"{row['job_cache_bytes'] / 1e6:,.1f} MB of cache"
        )
