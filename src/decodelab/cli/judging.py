"""`decodelab tasks score` where a model judges: the cost, before and after, and the verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli.progress import progress
from decodelab.cli.terminal import note, print_json, say
from decodelab.core.errors import DecodelabError, RequestError
from decodelab.io.text import printable
from decodelab.report.console import excerpt, print_first

if TYPE_CHECKING:
    from decodelab.backends.chat import ChatModel
    from decodelab.bench.plan import Plan
    from decodelab.bench.run.judging import Spent
    from decodelab.bench.store.journal import Journal
    from decodelab.tasks.response import Response
    from decodelab.tasks.task import Example, ModelGraded, Verdict

Judge = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", show_default=False, help="Model that judges (infobench), or openai:http://HOST:PORT/v1#MODEL."
    ),
]
JudgeTemperature = Annotated[
    float, typer.Option(metavar="T", help="Temperature of the judge; 0: its most probable reply.")
]
JudgeTokens = Annotated[
    int | None,
    typer.Option(metavar="N", show_default="the server's, or 64", help="At most this many tokens per reply."),
]
AtOnce = Annotated[int, typer.Option(metavar="N", help="Conversations with the judge at the same time.")]
Timeout = Annotated[
    float, typer.Option(metavar="S", help="Seconds after which a request to a judge's server is tried again.")
]
JournalFile = Annotated[
    Path | None,
    typer.Option(
        "--journal",
        "-j",
        metavar="FILE",
        show_default="beside the outputs",
        help="Where the judge's replies are stored.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Ask nothing; print how much would be asked and what it would cost.")
]
PriceIn = Annotated[float, typer.Option(metavar="X", help="Price per million tokens that the judge reads.")]
PriceOut = Annotated[float, typer.Option(metavar="X", help="Price per million tokens that the judge writes.")]


def score_judged(
    task: ModelGraded,
    examples: Sequence[Example],
    answers: Sequence[Response],
    *,
    judge: str | None,
    temperature: float,
    max_tokens: int | None,
    at_once: int,
    timeout: float,
    journal: Path,
    dry_run: bool,
    prices: tuple[float, float],
    as_json: bool,
) -> None:
    """Judge answers, one for each example, and print the verdicts.

    Raises:
        RequestError: if there is no judge and no journal to do without.
        ModelError: if the judge cannot be loaded or asked.
    """
    from decodelab.backends.catalogue import chat_model
    from decodelab.bench.run.judging import Judging
    from decodelab.bench.store.journal import opened

    if min(prices) < 0:
        raise RequestError(
            f"--price-in and --price-out must be at least 0, got {min(prices):g}; leave them out for no prices"
        )
    if judge is None and not journal.is_file():
        raise RequestError(
            f"{task.name} is judged by a model, and {str(journal)!r} has no replies; name the model with --judge"
        )
    pairs = list(zip(examples, answers, strict=True))
    asking = None
    if judge is not None:
        asking = chat_model(judge, temperature=temperature, max_tokens=max_tokens, at_once=at_once, timeout=timeout)
    with opened(journal, writing=not dry_run) as kept:
        judging = Judging(asking or _only_judge(kept), kept)
        if dry_run:
            _print_estimate(judging.estimate(task, pairs), prices, as_json)
            return
        found: dict[str, Verdict] = {}
        failed: dict[str, DecodelabError] = {}
        with progress(len(pairs), "judged") as advance:
            for number, verdict in judging.verdicts(task, pairs):
                name = examples[number].id
                if isinstance(verdict, DecodelabError):
                    failed[name] = verdict
                else:
                    found[name] = verdict
                advance(len(found) + len(failed), "judged")
    judged = [(example, found[example.id]) for example in examples if example.id in found]
    for name, error in list(failed.items())[:3]:
        note(f"{name}: {error}")
    _print(task, judged, failed, judging.spent, prices, as_json)
    if failed:
        say(f"{len(failed)} of {len(pairs)} answers could not be judged; the same command tries them again")
        raise typer.Exit(1)


def _only_judge(journal: Journal) -> ChatModel:
    """The one judge whose replies the journal has.

    Raises:
        RequestError: if it has none, or those of several judges.
    """
    from decodelab.bench.run.judging import StoredReplies

    judges = journal.judges()
    if len(judges) != 1:
        whose = f"replies of {len(judges)} judges ({', '.join(map(_called, judges))})" if judges else "no replies"
        raise RequestError(f"journal {journal.path}: has {whose}; name the judge with --judge, and its settings")
    return StoredReplies(judges[0])


def _called(identity: str) -> str:
    kind, *parts = json.loads(identity)
    if kind == "openai":
        url, model, temperature, max_tokens = parts
        settings = f"temperature {temperature:g}" + (f", {max_tokens} tokens" if max_tokens else "")
        return f"openai:{url}#{model}, {settings}"
    return f"a model of digest {parts[0][:12]}, {parts[1]}"


def _print_estimate(spent: Spent, prices: tuple[float, float], as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": True, "estimate": spent_data(spent, prices)})
    else:
        typer.echo(estimated(spent, prices))


def judge_prices(plan: Plan) -> dict[str, tuple[float, float]]:
    """The prices per million tokens that the judges of a plan read and write, by the tables' names of the tasks."""
    named = zip(plan.task_names, plan.tasks, strict=True)
    return {label: (task.judge.price_in, task.judge.price_out) for label, task in named if task.judge is not None}


def estimated(spent: Spent, prices: tuple[float, float]) -> str:
    """What judging would cost, in a line."""
    return (
        f"{spent.asked:,} replies to request, {spent.reused:,} reused; about {spent.prompt_tokens:,} tokens "
        f"to read and {spent.completion_tokens:,} to write (without reasoning tokens){_priced(spent, prices)}"
    )


def counted(spent: Spent, prices: tuple[float, float]) -> str:
    """What judging cost, in a line."""
    without = f" ({spent.uncounted:,} replies had no token count)" if spent.uncounted else ""
    return (
        f"{spent.asked:,} replies requested, {spent.reused:,} reused; {spent.prompt_tokens:,} tokens read "
        f"and {spent.completion_tokens:,} written{without}{_priced(spent, prices)}"
    )


def _print(
    task: ModelGraded,
    judged: Sequence[tuple[Example, Verdict]],
    failed: Mapping[str, DecodelabError],
    spent: Spent,
    prices: tuple[float, float],
    as_json: bool,
) -> None:
    from rich.table import Table

    details = task.details([(example.reference, verdict) for example, verdict in judged])
    if as_json:
        print_json(
            {
                "task": task.name,
                "n": len(judged),
                **details.data,
                "spent": spent_data(spent, prices),
                "items": [
                    {"id": e.id, "score": verdict.score, "answer": verdict.answer, "lacks": verdict.lacks}
                    for e, verdict in judged
                ],
                "failed": [{"id": name, "error": str(error)} for name, error in failed.items()],
            }
        )
        return
    short = [
        (e, verdict, line) for (e, verdict), line in zip(judged, details.answers, strict=True) if verdict.score < 1
    ]
    # What was judged is told before what was not answered.
    short.sort(key=lambda row: not row[1].parsed)
    rows = [(excerpt(e.id), f"{verdict.score:.2f}", excerpt(line)) for e, verdict, line in short]
    print_first(Table("id", "score", "judged"), rows)
    for line in details.lines:
        typer.echo(printable(line))
    typer.echo(counted(spent, prices))


def spent_data(spent: Spent, prices: tuple[float, float]) -> dict[str, Any]:
    """The cost of judging as JSON-ready data, with the price where there are prices."""
    return asdict(spent) | ({"price": spent.price(*prices)} if any(prices) else {})


def _priced(spent: Spent, prices: tuple[float, float]) -> str:
    return f", {spent.price(*prices):,.4f} at these prices" if any(prices) else ""
