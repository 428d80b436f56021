"""`decodelab tasks list` and `show`: the tasks, and an item as a model sees it."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.terminal import print_json
from decodelab.core.errors import RequestError
from decodelab.io.text import printable, printable_lines
from decodelab.report.console import print_table

if TYPE_CHECKING:
    from decodelab.tasks.task import Example


def list_command(as_json: options.AsJson = False) -> None:
    """List the tasks: what each asks, its parameters, and an example line of its file.

    \b
    Examples:
      decodelab tasks list
      decodelab tasks list --json

    Next: decodelab tasks show mnli shows an item; docs/tasks.md explains how each is asked and scored.
    """
    from rich import box
    from rich.table import Table

    from decodelab.tasks import TASKS

    found = [_described(name) for name in TASKS.entries()]
    if as_json:
        print_json({"tasks": found})
        return
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for task in found:
        told = [task["what"]]
        if task["parameters"]:
            told.append(f"Parameters: {', '.join(task['parameters'])}.")
        told.append(f"Example line: {task['line']}" if task["line"] else "Generates its own items.")
        if task["line"] and task["makes"]:
            told.append("Without a file it generates items.")
        table.add_row(task["name"], "\n".join(told))
    print_table(table)


def _described(name: str) -> dict[str, Any]:
    """A task as the list shows it."""
    from decodelab.tasks.task import Generated, task_class, task_parameters

    made, _ = task_class(name)
    what = (inspect.getdoc(made) or "").split("\n\n")[0]
    return {
        "name": name,
        "what": " ".join(what.split()),
        "source": made.source,
        "parameters": task_parameters(name),
        "line": None if name.startswith("pocket-") else getattr(sys.modules[made.__module__], "EXAMPLE", None),
        "makes": issubclass(made, Generated),
    }


def show_command(
    task: Annotated[str, typer.Argument(metavar="TASK", show_default=False, help="As decodelab tasks list names it.")],
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", show_default=False, help="Items in the task's own format; without it, one is generated."
        ),
    ] = None,
    item: Annotated[
        str | None,
        typer.Option(
            metavar="ID", show_default=False, help="Item to show, by default the first; for generated items, a seed."
        ),
    ] = None,
    parameters: options.TaskParameters = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME", show_default=False, help="Render it as this model receives it."),
    ] = None,
    chat: options.AsChat = False,
    as_json: options.AsJson = False,
) -> None:
    """Show one item as a model sees it, and the right answer.

    \b
    Examples:
      decodelab tasks show mmlu college_medicine_test.csv --set form=standard --set shots=5
      decodelab tasks show graph --set tools=forced --model pocket-small
      decodelab tasks show jsonl my_task.jsonl --item 2 --json

    Next: decodelab bench plan.yaml runs all items; decodelab tasks list shows the tasks and their parameters.
    """
    from decodelab.core.values import Chat
    from decodelab.tasks.task import task_named

    asked = task_named(task, options.task_parameters(parameters))
    example = _found(asked, file, item)
    prompt = Chat.of(example.prompt) if chat and isinstance(example.prompt, str) else example.prompt
    tokens = None
    if model is not None:
        from decodelab.engine.job import encode_prompt
        from decodelab.models.loading import load

        text, ids = encode_prompt(load(model), prompt)
        tokens = len(ids)
    else:
        text = str(prompt)
    if as_json:
        document = {"task": task, "id": example.id, "prompt": text, "reference": example.reference}
        print_json(document if tokens is None else {**document, "prompt_tokens": tokens})
        return
    counted = "" if tokens is None else f", {tokens} tokens"
    typer.echo(f"{printable(task)}, item {printable(example.id)}{counted}\n\n{printable_lines(text)}\n")
    typer.echo(f"reference: {printable(str(example.reference))}")


def _found(task: Any, file: Path | None, item: str | None) -> Example:
    """An item from a file, or a generated one."""
    from decodelab.tasks.task import Generated

    if file is None:
        if not isinstance(task, Generated):
            raise RequestError(f"task {task.name} needs a file with its items; name it after the task")
        if item is not None and not (item.isascii() and item.isdigit() and len(item) < 19):
            raise RequestError(f"--item must be a seed (a whole number) where items are generated, got {item[:60]!r}")
        return task.generate(int(item or 0))
    examples = task.read(file)
    chosen = examples[0] if item is None else next((e for e in examples if e.id == item), None)
    if chosen is None:
        raise RequestError(f"--item: there is no item {str(item)[:60]!r}; the first is {examples[0].id[:60]!r}")
    return chosen
