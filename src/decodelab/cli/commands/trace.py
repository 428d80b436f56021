"""`decodelab trace`: a generation step by step: what each stage did, which token was chosen, its surprise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.lengths import new_tokens
from decodelab.cli.progress import progress
from decodelab.cli.terminal import note, print_json, say, stop_interrupted
from decodelab.core.errors import InvalidParameter, OutputError, UnsupportedStrategy
from decodelab.core.notices import notes
from decodelab.core.stage import brief
from decodelab.engine.progress import Advance, TokensDone
from decodelab.engine.threads import threads_for
from decodelab.io.atomic import check_writable, write_bytes, write_text
from decodelab.io.json import json_line
from decodelab.io.text import expanded, printable
from decodelab.report.console import console

if TYPE_CHECKING:
    from decodelab.analysis.trace import Trace
    from decodelab.core.protocols import LanguageModel
    from decodelab.core.values import Chat
    from decodelab.strategy.strategy import Strategy

FIRST_AND_LAST = 40
"""Most steps of one run that are printed unless it is said how many."""

MOST_STEPS = 20
"""Most steps whose logits can be shown; each is a row of the plots."""


def command(
    prompts: options.PromptOptions = options.PromptOptions(),
    model: options.Models = None,
    strategy: options.Strategies = None,
    ends: options.LimitOptions = options.LimitOptions(max_new_tokens=100),
    total_length: options.TotalLength = None,
    seed: options.Seed = 0,
    show: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            show_default="40 for one prompt on one model, else 0",
            help="Print at most this many steps of each run, the first and the last.",
        ),
    ] = None,
    logits_at: Annotated[
        str | None,
        typer.Option(
            metavar="STEPS", show_default=False, help="Show the distribution of logits at steps, as 1,10,100."
        ),
    ] = None,
    jsonl: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every step as a line of JSON.")] = None,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Plot the steps as an image.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Plot the steps as an interactive page (5 MB).")
    ] = None,
    max_rows: options.MaxRows = 64,
    device: options.DeviceOptions = options.DeviceOptions(),
    as_json: options.AsJson = False,
) -> None:
    """Show what a strategy does, step by step.

    For every token: its rank and its surprise in bits, under the model and under the processed distribution. For every
    stage: the tokens kept, the probability removed and the entropy left; for mirostat also k, the estimated exponent,
    mu and the surprise error. Statistics at the end compare the strategies.

    Several prompts or models give a table of results with a row for each prompt, model and strategy.

    \b
    Examples:
      decodelab trace "Once upon a time," -s "temperature=0.8 | top_p=0.9"
      decodelab trace "Once upon a time," -s mirostat=2 -s mirostat=3 --png mirostat.png
      decodelab trace "What is 27 + 35?" -s temperature=1.5 --logits-at 1,10 --html trace.html
      decodelab trace -f prompts.txt -m pocket-nano -m pocket-small -s mirostat=2 --total-length 99

    Next: decodelab strategies explains each stage; decodelab compare shows complete texts.
    """
    requests = prompts.requests()
    steps = read_steps(logits_at)
    if show is not None and show < 0:
        raise InvalidParameter(f"--show must be at least 0, got {show}; 0 prints no steps")
    files = {"jsonl": jsonl, "png": png, "html": html}
    check_files(files)
    limits = ends.limits(prompts.escapes)

    from decodelab.strategy.strategy import Strategy

    asked = {s: Strategy.of(s) for s in strategy or ["default"]}
    names = list(dict.fromkeys(model or ["pocket-small"]))
    one = len(requests) == len(names) == 1
    traces: list[Trace] = []
    said: list[str] = []
    interrupted = False
    for name in names:
        lm = device.load(name)
        with notes() as about, threads_for(lm):
            lengths = new_tokens(lm, requests, ends.max_new_tokens, total_length)
            plans = {written: plan.resolve(lm) for written, plan in asked.items()}
            for written, plan in plans.items():
                if plan.in_rounds is not None:
                    raise UnsupportedStrategy(
                        f"trace: {written} goes on from texts, not from the rows that drew them; use decodelab tree"
                    )
            with progress(len(lengths) * len(plans), f"tracing {lm.name}") as advance:
                made, interrupted = run(
                    lm, requests, lengths, plans, steps, advance, seed=seed, max_rows=max_rows, limits=limits
                )
        traces += made
        said += [message if len(names) == 1 else f"{lm.name}: {message}" for message in about]
        if interrupted:
            break
    for trace in traces:
        unreached = [s for s in steps if s > len(trace.paths[0].steps)]
        if unreached:
            where = "" if one else f"{trace.generation.model}, prompt {trace.generation.index}, "
            said.append(
                f"{where}{trace.strategy}: the text has only {len(trace.paths[0].steps)} steps; "
                f"--logits-at {', '.join(map(str, unreached))} has no effect"
            )
    for message in said:
        note(message)
    if traces:
        write_files(traces, files)
    if as_json:
        print_json(
            document(traces, one=one)
            | {
                "seed": seed,
                "limits": limits,
                "total_length": total_length,
                "notes": said,
                "interrupted": interrupted,
                "files": {kind: None if file is None else str(file.resolve()) for kind, file in files.items()},
            }
        )
    elif traces:
        from decodelab.report.trace.results import print_results
        from decodelab.report.trace.table import print_traces

        if one or show:
            print_traces(traces, console(), FIRST_AND_LAST if show is None else show)
        if len(traces) > 1 or not one:
            print_results(traces, console())
        for file in files.values():
            if file is not None:
                say(f"wrote {printable(str(file))}")
    if interrupted:
        stop_interrupted("the output covers the steps that were finished")


def document(traces: Sequence[Trace], *, one: bool) -> dict[str, Any]:
    """What was traced, JSON-ready: of one prompt on one model, or of each under `runs`; then all results."""
    from decodelab.analysis.trace_results import Result, by_prompt

    runs = [
        {
            "model": group[0].generation.model,
            "model_digest": group[0].generation.model_digest,
            "prompt": group[0].generation.prompt,
            "prompt_tokens": group[0].generation.prompt_tokens,
            "traces": [trace.to_dict() for trace in group],
        }
        for group in by_prompt(traces)
    ]
    found = {"runs": runs} if not one else runs[0] if runs else {"traces": []}
    return found | {"results": [Result.of(trace).to_dict() for trace in traces]}


def read_steps(text: str | None) -> list[int]:
    """The steps of `--logits-at`, sorted and without duplicates.

    Raises:
        InvalidParameter: if they are not positive numbers separated by commas.

    >>> read_steps("10,1, 100"), read_steps(None)
    ([1, 10, 100], [])
    """
    if text is None:
        return []
    numbers = [part.strip() for part in text.split(",")]
    if not all(n.isascii() and n.isdigit() and len(n) < 10 and int(n) > 0 for n in numbers):
        raise InvalidParameter(f"--logits-at must be steps of at least 1, got {brief(text)}; write 1,10,100")
    steps = sorted({int(n) for n in numbers})
    if len(steps) > MOST_STEPS:
        raise InvalidParameter(f"--logits-at takes at most {MOST_STEPS} steps, got {len(steps)}; choose fewer")
    return steps


def check_files(files: dict[str, Path | None]) -> None:
    """Check, before any work is done, that all files can be written and are different.

    Raises:
        OutputError: for the first that cannot be, or is given twice.
    """
    asked = [file for file in files.values() if file is not None]
    for file in asked:
        check_writable(file)
    if len({expanded(file).resolve() for file in asked}) < len(asked):
        raise OutputError(f"cannot write {str(asked[-1])!r}: it is given twice; give each kind its own file")


def run(
    model: LanguageModel,
    requests: Sequence[str | Chat],
    lengths: Sequence[int],
    plans: dict[str, Strategy],
    logits_at: Sequence[int],
    advance: Advance,
    *,
    seed: int,
    max_rows: int,
    limits: dict[str, Any],
) -> tuple[list[Trace], bool]:
    """Trace each prompt, of so many new tokens, under each strategy, and whether Ctrl-C ended that early."""
    from decodelab.analysis.trace import StepRecorder
    from decodelab.engine.generate import generate, was_interrupted

    traces: list[Trace] = []
    runs = [(i, written) for i in range(len(requests)) for written in plans]
    try:
        for number, (i, written) in enumerate(runs):
            own: dict[str, Any] = limits | {"max_new_tokens": lengths[i]}
            recorder = StepRecorder(plans[written].processors, model.vocab, logits_at)

            def done(tokens: int, number: int = number, i: int = i, written: str = written) -> None:
                advance(number + tokens / lengths[i], f"tracing {written} on {model.name}")

            found = generate(
                model,
                [requests[i]],
                plans[written],
                seed=seed,
                observers=[TokensDone(done), recorder],
                max_rows=max_rows,
                **own,
            )
            traces += [recorder.trace(written, dataclasses.replace(generation, index=i)) for generation in found]
            if was_interrupted(found, 1):
                return traces, True
    except KeyboardInterrupt:
        return traces, True
    return traces, False


def write_files(traces: Sequence[Trace], files: dict[str, Path | None]) -> None:
    """Write the requested files."""
    if (file := files["jsonl"]) is not None:
        lines = [
            json_line(
                {
                    "model": trace.generation.model,
                    "prompt_index": trace.generation.index,
                    "strategy": trace.strategy,
                    "candidate": i,
                }
                | step.to_dict()
            )
            for trace in traces
            for i, path in enumerate(trace.paths)
            for step in path.steps
        ]
        write_text(file, "".join(f"{line}\n" for line in lines))
    if (file := files["png"]) is not None:
        from decodelab.report.trace.png import to_png

        write_bytes(file, to_png(traces))
    if (file := files["html"]) is not None:
        from decodelab.report.trace.html import to_html

        write_text(file, to_html(traces))
