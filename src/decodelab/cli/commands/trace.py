"""`decodelab trace`: a generation step by step: what each stage did, which token was chosen, its surprise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.terminal import note, print_json, say, stop_interrupted
from decodelab.core.errors import InvalidParameter, OutputError
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

MOST_STEPS = 20
"""Most steps whose logits can be shown; each is a row of the plots."""


def command(
    prompt: options.OnePromptOptions = options.OnePromptOptions(),
    model: options.Model = "pocket-small",
    strategy: options.Strategies = None,
    ends: options.LimitOptions = options.LimitOptions(max_new_tokens=100),
    seed: options.Seed = 0,
    show: Annotated[
        int, typer.Option(metavar="N", help="Print at most this many steps per strategy, the first and the last.")
    ] = 40,
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

    \b
    Examples:
      decodelab trace "Once upon a time," -s "temperature=0.8 | top_p=0.9"
      decodelab trace "Once upon a time," -s mirostat=2 -s mirostat=3 --png mirostat.png
      decodelab trace "What is 27 + 35?" -s temperature=1.5 --logits-at 1,10 --html trace.html
      decodelab trace "Once upon a time," -s top_p=0.9 --show 0 --jsonl steps.jsonl

    Next: decodelab strategies explains each stage; decodelab compare shows complete texts.
    """
    request = prompt.request()
    steps = read_steps(logits_at)
    if show < 0:
        raise InvalidParameter(f"--show must be at least 0, got {show}; 0 prints no steps")
    files = {"jsonl": jsonl, "png": png, "html": html}
    check_files(files)
    limits = ends.limits(prompt.escapes)

    from decodelab.strategy.strategy import Strategy

    asked = {s: Strategy.of(s) for s in strategy or ["default"]}
    lm = device.load(model)
    plans = {written: plan.resolve(lm) for written, plan in asked.items()}
    with notes() as said, threads_for(lm), progress(len(plans) * ends.max_new_tokens, "tracing") as advance:
        traces, interrupted = run(lm, request, plans, steps, advance, seed=seed, max_rows=max_rows, limits=limits)
    for trace in traces:
        unreached = [s for s in steps if s > len(trace.paths[0].steps)]
        if unreached:
            said.append(
                f"{trace.strategy}: the text has only {len(trace.paths[0].steps)} steps; "
                f"--logits-at {', '.join(map(str, unreached))} has no effect"
            )
    for message in said:
        note(message)
    if traces:
        write_files(traces, files)
    if as_json:
        print_json(
            {
                "model": lm.name,
                "model_digest": lm.digest,
                "prompt": traces[0].generation.prompt if traces else None,
                "prompt_tokens": traces[0].generation.prompt_tokens if traces else None,
                "seed": seed,
                "limits": limits,
                "notes": said,
                "interrupted": interrupted,
                "files": {kind: None if file is None else str(file.resolve()) for kind, file in files.items()},
                "traces": [trace.to_dict() for trace in traces],
            }
        )
    elif traces:
        from decodelab.report.trace.table import print_traces

        print_traces(traces, console(), show)
        for file in files.values():
            if file is not None:
                say(f"wrote {printable(str(file))}")
    if interrupted:
        stop_interrupted("the output covers the steps that were finished")


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
    request: str | Chat,
    plans: dict[str, Strategy],
    logits_at: Sequence[int],
    advance: Advance,
    *,
    seed: int,
    max_rows: int,
    limits: dict[str, Any],
) -> tuple[list[Trace], bool]:
    """Trace one prompt under each strategy, and whether Ctrl-C ended that early."""
    from decodelab.analysis.trace import StepRecorder
    from decodelab.engine.generate import generate, was_interrupted

    traces: list[Trace] = []
    try:
        for number, (written, plan) in enumerate(plans.items()):
            recorder = StepRecorder(plan.processors, model.vocab, logits_at)
            done = number * limits["max_new_tokens"]
            watch = TokensDone(lambda tokens, done=done, written=written: advance(done + tokens, f"tracing {written}"))
            found = generate(
                model, [request], plan, seed=seed, observers=[watch, recorder], max_rows=max_rows, **limits
            )
            traces += [recorder.trace(written, generation) for generation in found]
            if was_interrupted(found, 1):
                return traces, True
    except KeyboardInterrupt:
        return traces, True
    return traces, False


def write_files(traces: Sequence[Trace], files: dict[str, Path | None]) -> None:
    """Write the requested files."""
    if (file := files["jsonl"]) is not None:
        lines = [
            json_line({"strategy": trace.strategy, "candidate": i} | step.to_dict())
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
