"""`decodelab tasks options`: answer multiple choice by likelihood, with a confidence for each answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.terminal import note, print_json
from decodelab.core.errors import RequestError
from decodelab.io.atomic import check_writable, write_text
from decodelab.io.json import json_line
from decodelab.io.text import printable

if TYPE_CHECKING:
    from decodelab.tasks.choices import Choice, Preference


def command(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK", show_default=False, help="A task with options, such as mmlu, mnli or pocket-choice."
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", show_default=False, help="Its items, or a folder of MMLU; without it, items are generated."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="A shipped model, a directory, or a hub id.")
    ] = "pocket-small",
    shots: Annotated[
        int | None,
        typer.Option(metavar="N", show_default=False, help="mmlu: answered examples before each question."),
    ] = None,
    parameters: options.TaskParameters = None,
    count: Annotated[
        int | None,
        typer.Option("-n", metavar="N", show_default="all, or 100 generated ones", help="Ask this many items."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            show_default=False,
            help="JSONL file of confidences and correctness to write.",
        ),
    ] = None,
    device: options.DeviceOptions = options.DeviceOptions(),
    as_json: options.AsJson = False,
) -> None:
    """Answer multiple choice by the likelihood of the options, without generating.

    The most probable option is the answer; its probability among the options is the confidence. MMLU is asked in the
    form of lm-evaluation-harness, with the same results; --set form=course asks as the course does. Questions longer
    than the model's context length lose their beginning, as in lm-evaluation-harness, and are counted.

    \b
    Examples:
      decodelab tasks options mmlu college_medicine_test.csv --model pocket-small
      decodelab tasks options mmlu mmlu_med --shots 5 -m Qwen/Qwen3-1.7B --out confidences.jsonl
      decodelab tasks options mnli dev.jsonl --json

    Next: decodelab calibrate confidences.jsonl shows how well the confidences are calibrated.
    """
    from decodelab.engine.threads import threads_for
    from decodelab.metrics.bounded import bounded_mean
    from decodelab.metrics.proportion import proportion
    from decodelab.tasks.choices import prefer

    if out is not None:
        check_writable(out)
    given = options.task_parameters(parameters)
    if task == "mmlu":
        given = {"form": "standard"} | given
    if shots is not None:
        given["shots"] = shots
    choices = _choices(task, file, given, count)
    lm = device.load(model)
    with threads_for(lm), progress(len(choices), "asking") as advance:
        found = prefer(lm, choices, cut=True, report=lambda done: advance(done, "asking"))
    right = [preference.best == choice.answer for preference, choice in zip(found, choices, strict=True)]
    sure = [preference.confidence for preference in found]
    asked = [str(choice.prompt) for choice in choices]
    accuracy = proportion(right, asked)
    cut = [preference.cut for preference in found if preference.cut]
    if cut:
        note(
            f"{len(cut)} of {len(choices)} questions are longer than the context ({lm.context_length} tokens) and lose "
            "their beginning"
        )
    if out is not None:
        rows = _rows(choices, found)
        write_text(out, "".join(f"{json_line(row)}\n" for row in rows))
    if as_json:
        print_json(
            {
                "task": task,
                "model": lm.name,
                "n": len(choices),
                "accuracy": accuracy.value,
                "interval": [accuracy.low, accuracy.high],
                "mean_confidence": sum(sure) / len(sure),
                "cut": len(cut),
                "items": _rows(choices, found),
            }
        )
        return
    believed = bounded_mean(sure, asked) if len(set(asked)) > 1 else None
    typer.echo(
        f"{printable(lm.name)} on {printable(task)}, {len(choices)} items: accuracy {accuracy.value:.3f} "
        f"(95 %: {accuracy.low:.3f} to {accuracy.high:.3f}), mean confidence {sum(sure) / len(sure):.3f}"
        + (f" (95 %: {believed.low:.3f} to {believed.high:.3f})" if believed is not None else "")
    )
    if out is not None:
        typer.echo(f"{len(choices)} confidences in {printable(str(out))}")


def _choices(task: str, file: Path | None, given: dict[str, Any], count: int | None) -> list[Choice]:
    """The questions of a task, from a file or generated."""
    from decodelab.tasks.choices import HasOptions
    from decodelab.tasks.task import Generated, task_named

    asked = task_named(task, given)
    if not isinstance(asked, HasOptions):
        raise RequestError(f"task {task} has no options to choose from; use mmlu, mnli or pocket-choice")
    if count is not None and count < 1:
        raise RequestError(f"-n must be at least 1, got {count}")
    if file is not None:
        examples = asked.read(file)[:count]
    elif isinstance(asked, Generated):
        examples = [asked.generate(seed) for seed in range(count or 100)]
    else:
        raise RequestError(f"task {task} needs a file with its items; name it after the task")
    return [asked.choice(example) for example in examples]


def _rows(choices: Sequence[Choice], found: Sequence[Preference]) -> list[dict[str, Any]]:
    """A row for each item, as `decodelab calibrate` reads it."""
    return [
        {
            "id": choice.name,
            "confidence": preference.confidence,
            "correct": int(preference.best == choice.answer),
            "chosen": choice.options[preference.best].strip(),
            "reference": choice.options[choice.answer].strip(),
            "option_logprobs": preference.logprobs,
            "cut": preference.cut,
        }
        for choice, preference in zip(choices, found, strict=True)
    ]
