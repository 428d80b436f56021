"""`decodelab tasks`: make items, score stored answers, check published ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import judging as judged
from decodelab.cli import options
from decodelab.cli.commands import tasks_fetch, tasks_list, tasks_options, tasks_pass_at_k
from decodelab.cli.progress import progress
from decodelab.cli.terminal import print_json
from decodelab.cli.usage import Command
from decodelab.core.errors import RequestError
from decodelab.io.atomic import check_writable, write_text
from decodelab.io.text import file_name
from decodelab.report.console import excerpt, print_first
from decodelab.tasks.outputs import read_outputs

if TYPE_CHECKING:
    from decodelab.tasks.response import Response
    from decodelab.tasks.task import Example, Verdict

app = typer.Typer(add_completion=False, rich_markup_mode=None)
Items = Annotated[Path, typer.Argument(metavar="FILE", show_default=False, help="Items in the task's own format.")]


@app.callback(invoke_without_command=True)
def group(context: typer.Context) -> None:
    """List tasks, make items, score answers."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("score", cls=Command)
def score(
    task: Annotated[str, typer.Argument(metavar="TASK", show_default=False, help="As decodelab tasks list names it.")],
    items: Items,
    outputs: Annotated[
        Path, typer.Argument(metavar="OUTPUTS", show_default=False, help='JSONL with "id" and "output".')
    ],
    ties: Annotated[
        str,
        typer.Option(metavar="NAME", help="graph: accept the published paths only, or all equally short ones (all)."),
    ] = "published",
    parameters: options.TaskParameters = None,
    answered_only: Annotated[
        bool,
        typer.Option("--answered-only", help="Take the mean over the items with an answer; the others are counted."),
    ] = False,
    judge: judged.Judge = None,
    judge_temperature: judged.JudgeTemperature = 0.0,
    judge_tokens: judged.JudgeTokens = None,
    at_once: judged.AtOnce = 8,
    timeout: judged.Timeout = 300.0,
    journal: judged.JournalFile = None,
    dry_run: judged.DryRun = False,
    price_in: judged.PriceIn = 0.0,
    price_out: judged.PriceOut = 0.0,
    as_json: options.AsJson = False,
) -> None:
    """Score stored answers, without the model that generated them.

    Answers are read as text and never run, except programs (code), which run in a sandbox or not at all. An item
    without an answer scores 0, and the table says why: its text is empty, an unfinished thought, unreadable or
    ambiguous. For a task that a model judges, each reply is stored in a journal at once: after a failure the same
    command resumes, nothing is asked twice, and --judge is not needed once all replies are there. Outputs may have a
    "finish_reason" ("length": the token limit cut it) and the "prompt" with its template.

    \b
    Examples:
      decodelab tasks score graph items.jsonl outputs.jsonl
      decodelab tasks score graph items.jsonl outputs.jsonl --ties all --json
      decodelab tasks score mmlu college_medicine_test.csv outputs.jsonl
      decodelab tasks score mmlu college_medicine_test.csv outputs.jsonl --set reader=course
      decodelab tasks score code HumanEval.jsonl.gz outputs.jsonl --set seconds=3
      decodelab tasks score jsonl my_task.jsonl outputs.jsonl --set scorer=contains
      decodelab tasks score infobench items.jsonl outputs.jsonl --judge Qwen/Qwen3-4B
      decodelab tasks score infobench items.jsonl outputs.jsonl --judge openai:http://HOST:PORT/v1#m

    Next: decodelab measure outputs.jsonl measures the texts.
    """
    from decodelab.metrics.bounded import bounded_mean
    from decodelab.tasks.response import LACKS
    from decodelab.tasks.task import ModelGraded, prompt_key, rescore, responses_of, task_named

    given = options.task_parameters(parameters)
    if ties != "published":
        task_named(task)
        if task != "graph":
            raise RequestError(f"--ties works with the graph task only, got {task}; leave it out")
        given["ties"] = ties
    chosen = task_named(task, given)
    examples = chosen.read(items)
    if isinstance(chosen, ModelGraded):
        if answered_only:
            raise RequestError(f"--answered-only does not work with {task}, which a model judges; leave it out")
        judged.score_judged(
            chosen,
            examples,
            responses_of(examples, _read_outputs(outputs)),
            judge=judge,
            temperature=judge_temperature,
            max_tokens=judge_tokens,
            at_once=at_once,
            timeout=timeout,
            journal=outputs.with_suffix(".journal.sqlite") if journal is None else journal,
            dry_run=dry_run,
            prices=(price_in, price_out),
            as_json=as_json,
        )
        return
    if judge is not None or journal is not None or dry_run:
        raise RequestError(f"{task} is not judged by a model; leave out --judge, --journal and --dry-run")
    with progress(len(examples), "judging") as advance:
        verdicts = rescore(chosen, examples, _read_outputs(outputs), lambda done: advance(done, "judging"))
    prompts = {example.id: prompt_key(example) for example in examples}
    counted = {name: verdict.score for name, verdict in verdicts.items() if verdict.parsed or not answered_only}
    if not counted:
        raise RequestError(f"none of {len(verdicts)} items has an answer; leave out --answered-only")
    value = sum(counted.values()) / len(counted)
    # A prompt is one observation.
    different = [prompts[name] for name in counted]
    overall = bounded_mean(list(counted.values()), different) if len(set(different)) > 1 else None
    lacks = Counter(verdict.lacks for verdict in verdicts.values() if not verdict.parsed)
    unread = lacks.total()
    if as_json:
        print_json(
            {
                "task": task,
                "n": len(verdicts),
                "mean": value,
                "interval": [overall.low, overall.high] if overall is not None else None,
                "over": "answered" if answered_only else "all",
                "answered": len(verdicts) - unread,
                "unread": unread,
                **{why.replace(" ", "_"): lacks[why] for why in LACKS},
                "items": [
                    {"id": name, "score": verdict.score, "answer": verdict.answer, "lacks": verdict.lacks}
                    for name, verdict in verdicts.items()
                ],
            }
        )
        return
    _print_verdicts(examples, verdicts)
    spread = f" (95 %: {overall.low:.3f} to {overall.high:.3f})" if overall is not None else ""
    over = "over answered items only, " if answered_only else ""
    kinds = ", ".join(f"{why} {count}" for why, count in sorted(lacks.items()))
    typer.echo(
        f"\nscore {value:.3f}{spread}, {over}{len(verdicts)} items, {unread} without an answer"
        + (f" ({kinds}), {len(verdicts) - unread} answered" if unread else "")
    )


app.command("list", cls=Command)(tasks_list.list_command)
app.command("show", cls=Command)(tasks_list.show_command)
app.command("options", cls=Command)(options.flat(tasks_options.command))
app.command("fetch", cls=Command)(tasks_fetch.command)
app.command("pass-at-k", cls=Command)(tasks_pass_at_k.command)


@app.command("audit", cls=Command)
def audit(
    task: Annotated[str, typer.Argument(metavar="TASK", show_default=False, help="graph.")],
    items: Items,
    as_json: options.AsJson = False,
) -> None:
    """Find items whose published answer is wrong, by solving them exactly.

    \b
    Examples:
      decodelab tasks audit graph items.jsonl
      decodelab tasks audit graph items.jsonl --json

    Next: decodelab tasks score graph --ties all accepts correct answers instead of published ones.
    """
    from rich.table import Table

    from decodelab.tasks.graph import Graph

    if task != "graph":
        raise RequestError(f"audit: only the graph task can be audited, got {task[:60]!r}; its answers can be computed")
    examples = Graph().read(items)
    findings = {}
    with progress(len(examples), "items solved") as advance:
        for done, example in enumerate(examples, 1):
            findings |= Graph().audit([example])
            advance(done, "items solved")
    if as_json:
        listed = [
            {"id": name, "problem": f.problem, "published": _as_data(f.published), "right": _as_data(f.right)}
            for name, f in findings.items()
        ]
        print_json({"task": task, "n": len(examples), "wrong": listed})
        return
    table = Table("id", "what is wrong with the published answer")
    print_first(table, [(excerpt(name), finding.problem) for name, finding in findings.items()])
    typer.echo(f"{len(findings)} of {len(examples)} published answers are wrong")


@app.command("make", cls=Command)
def make(
    task: Annotated[str, typer.Argument(metavar="TASK", show_default=False, help="graph.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", show_default=False, help="JSONL file to write.")],
    count: Annotated[int, typer.Option(metavar="N", help="How many items.")] = 100,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed of the first item; the next items use the next seeds.")
    ] = 0,
    as_json: options.AsJson = False,
) -> None:
    """Make items by the rules of the course, with exact answers.

    \b
    Examples:
      decodelab tasks make graph --out items.jsonl
      decodelab tasks make graph --out more.jsonl --count 500 --seed 1000

    Next: decodelab generate --file items.jsonl asks a model; decodelab tasks score scores what it says.
    """
    import json

    from decodelab.tasks.graph import Graph, published_row

    if task != "graph":
        raise RequestError(f"make: only graph items can be made, got {task[:60]!r}; other tasks come with their data")
    if count < 1:
        raise RequestError(f"--count must be at least 1, got {count}; ask for an item or more")
    check_writable(out)
    lines = []
    with progress(count, "items made") as advance:
        for i in range(count):
            lines.append(json.dumps(published_row(Graph().generate(seed + i))))
            advance(i + 1, "items made")
    write_text(out, "\n".join(lines) + "\n")
    if as_json:
        print_json({"task": task, "n": count, "file": str(out)})
    else:
        typer.echo(f"{count} items in {out}")


def _read_outputs(file: Path) -> dict[str, Response]:
    """Stored outputs by id, one for each."""
    found = read_outputs(file)
    for name, listed in found.items():
        if len(listed) > 1:
            raise RequestError(f"{file_name(file)}: id {name[:60]!r} appears twice; remove one, or use pass-at-k")
    return {name: output for name, (output,) in found.items()}


def _print_verdicts(examples: Sequence[Example], verdicts: dict[str, Verdict]) -> None:
    """A line for each item that is not right, for the first of them: those that are wrong, then those not answered."""
    from rich.table import Table

    wrong = [(example, verdicts[example.id]) for example in examples if verdicts[example.id].score < 1]
    wrong.sort(key=lambda row: not row[1].parsed)
    rows = [
        (
            excerpt(example.id),
            f"{verdict.score:.2f}",
            excerpt(str(verdict.answer) if verdict.parsed else f"({verdict.lacks})"),
            excerpt(str(example.reference)),
        )
        for example, verdict in wrong
    ]
    print_first(Table("id", "score", "read", "reference"), rows)


def _as_data(pairs: Any) -> list[dict[str, Any]]:
    return [{"path": list(path), "weight": weight} for path, weight in pairs]
