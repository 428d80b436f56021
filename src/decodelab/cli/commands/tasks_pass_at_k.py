"""`decodelab tasks pass-at-k`: the probability that at least one of k answers to an item is right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.terminal import print_json
from decodelab.core.errors import RequestError
from decodelab.report.console import print_table
from decodelab.tasks.outputs import read_outputs


def command(
    task: Annotated[str, typer.Argument(metavar="TASK", show_default=False, help="As decodelab tasks list names it.")],
    items: Annotated[Path, typer.Argument(metavar="FILE", show_default=False, help="Items in the task's own format.")],
    outputs: Annotated[
        Path,
        typer.Argument(metavar="OUTPUTS", show_default=False, help='JSONL with "id" and "output", several per id.'),
    ],
    k: Annotated[list[int] | None, typer.Option("-k", metavar="N", show_default="1", help="May be repeated.")] = None,
    parameters: options.TaskParameters = None,
    as_json: options.AsJson = False,
) -> None:
    """Estimate pass@k from several answers per item.

    An answer passes if it scores 1. The estimate is unbiased (Chen et al. 2021) for any number of answers from k up;
    the 95 % interval is that of the mean over items.

    \b
    Examples:
      decodelab tasks pass-at-k code HumanEval.jsonl.gz samples.jsonl -k 1 -k 10
      decodelab tasks pass-at-k maths test.jsonl samples.jsonl -k 8 --json

    Next: decodelab bench with samples: 10 generates such answers; its mean score is pass@1.
    """
    from rich.table import Table

    from decodelab.metrics.bounded import bounded_mean
    from decodelab.metrics.pass_at_k import pass_at_k
    from decodelab.tasks.task import prompt_key, responses_of, task_named, verdicts_of

    chosen = task_named(task, options.task_parameters(parameters))
    examples = chosen.read(items)
    stored = read_outputs(outputs)
    responses_of(examples, {name: listed[0] for name, listed in stored.items()})  # refuses what belongs to no item
    wanted = sorted(set(k or [1]))
    if wanted[0] < 1:
        raise RequestError(f"-k must be at least 1, got {wanted[0]}; 1, 10 and 100 are usual")
    for example in examples:
        made = len(stored.get(example.id, ()))
        if made < wanted[-1]:
            raise RequestError(f"item {example.id[:60]!r} has {made} outputs, -k {wanted[-1]} needs as many; make more")
    answers = [(example, response) for example in examples for response in stored[example.id]]
    with progress(len(answers), "judging") as advance:
        verdicts = iter(verdicts_of(chosen, answers, lambda done: advance(done, "judging")))
    passed = {e.id: [next(verdicts).score == 1 for _ in stored[e.id]] for e in examples}
    prompts = [prompt_key(example) for example in examples]
    found = {n: bounded_mean([pass_at_k(len(p), sum(p), n) for p in passed.values()], prompts) for n in wanted}
    if as_json:
        estimates = {str(n): {"value": one.value, "interval": [one.low, one.high]} for n, one in found.items()}
        listed = [{"id": name, "n": len(each), "passed": sum(each)} for name, each in passed.items()]
        print_json({"task": task, "n": len(examples), "pass_at_k": estimates, "items": listed})
        return
    table = Table("k", "pass@k", "95 %")
    for n, one in found.items():
        table.add_row(str(n), f"{one.value:.3f}", f"{one.low:.3f} to {one.high:.3f}" if len(set(prompts)) > 1 else "")
    print_table(table)
    typer.echo(f"{len(examples)} items, {len(answers)} answers")
