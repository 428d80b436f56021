"""`decodelab compare`: strategies side by side, on the terminal and as an HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.prompts import read_prompts
from decodelab.cli.terminal import note, print_json, stop_interrupted
from decodelab.io.atomic import check_writable, write_text
from decodelab.io.text import printable
from decodelab.report.console import console

if TYPE_CHECKING:
    from decodelab.bench.run.comparison import Comparison, Question
    from decodelab.core.values import Limits

MODELS = ("pocket-nano", "pocket-small")
STRATEGIES = (
    "greedy",
    "temperature=0.25",
    "temperature=1.5",
    "top_p=0.9",
    "typical_p=0.9",
    "beam(width=3)",
    "beam(width=25)",
    "default",
)
HTML = Path("decodelab-compare.html")

HtmlFile = Annotated[Path, typer.Option("--html", metavar="FILE", help="Where the HTML report goes.")]
NoHtml = Annotated[bool, typer.Option("--no-html", help="Write no HTML report.")]


def command(
    prompts: options.Prompts = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            show_default=" and ".join(MODELS),
            help="A shipped model, a directory, or a hub id; may be repeated.",
        ),
    ] = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy",
            "-s",
            metavar="STRATEGY",
            show_default=", ".join(STRATEGIES),
            help="A strategy; may be repeated.",
        ),
    ] = None,
    ends: options.LimitOptions = options.LimitOptions(),
    samples: Annotated[
        int | None,
        typer.Option(
            metavar="N", show_default=False, help="Samples from every strategy that samples and does not say how many."
        ),
    ] = None,
    seed: options.Seed = 0,
    file: options.PromptFile = None,
    escapes: options.Escapes = False,
    chat: options.AsChat = False,
    system: options.System = None,
    html: HtmlFile = HTML,
    no_html: NoHtml = False,
    max_rows: options.MaxRows = 64,
    device: options.DeviceOptions = options.DeviceOptions(),
    as_json: options.AsJson = False,
) -> None:
    """Compare strategies and models side by side.

    Prints each text with its log-probability, perplexity, distinct-2, number of tokens and cost, and writes one HTML
    file in which every token is coloured by its probability. All strategies share their random numbers, so that
    differences come from the strategies alone.

    \b
    Examples:
      decodelab compare "Once upon a time,"
      decodelab compare "What is 27 + 35?" -m pocket-small -s greedy -s temperature=1.5 --samples 3
      decodelab compare --file prompts.txt -m ./my-model -s default -s "beam(width=5)" --json

    Next: open the HTML file in a browser; decodelab demo shows a comparison whose answers are marked right or wrong.
    """
    from decodelab.bench.run.comparison import Question
    from decodelab.core.values import Limits
    from decodelab.tasks.task import Example

    requests = options.as_requests(read_prompts(prompts or [], file, escapes=escapes), chat, system)
    found = run(
        model or MODELS,
        strategy or STRATEGIES,
        [Question(Example(f"{i}", request, None)) for i, request in enumerate(requests)],
        limits=Limits(**ends.limits(escapes)),
        samples=samples,
        seed=seed,
        max_rows=max_rows,
        device=device,
        html=None if no_html else html,
    )
    show(found, None if no_html else html, as_json)


def run(
    models: Sequence[str],
    strategies: Sequence[str],
    questions: Sequence[Question],
    *,
    limits: Limits,
    html: Path | None,
    samples: int | None = None,
    seed: int = 0,
    max_rows: int = 64,
    device: options.DeviceOptions = options.DeviceOptions(),
) -> Comparison:
    """Compare under a progress bar and write the report, after checking that it can be written."""
    if html is not None:
        check_writable(html, "choose another file with --html, or --no-html")
    models, strategies = list(dict.fromkeys(models)), list(dict.fromkeys(strategies))

    from decodelab.bench.run.comparison import compare, work

    with progress(work(len(models), len(strategies), len(questions), limits.max_new_tokens), "") as advance:
        found = compare(
            models,
            strategies,
            questions,
            load=device.load,
            seed=seed,
            samples=samples,
            max_rows=max_rows,
            limits=limits,
            advance=advance,
        )
    if html is not None:
        from decodelab.report.compare.html import to_html

        write_text(html, to_html(found))
    return found


def show(found: Comparison, html: Path | None, as_json: bool) -> None:
    """Print a comparison and where its report is; after Ctrl-C, exit with 130."""
    for message in found.notes:
        note(message)
    if as_json:
        print_json(found.to_dict() | {"html": None if html is None else str(html.resolve())})
    else:
        from decodelab.report.compare.summary import print_comparison

        print_comparison(found, console())
        if html is not None:
            typer.echo(
                f"Open {printable(str(html))} in a browser: the same texts, every token coloured by its probability."
            )
    if found.interrupted:
        stop_interrupted("only finished answers are shown in full")
