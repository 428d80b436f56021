"""`decodelab train`: train the shipped models from scratch, and verifiers on graded answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.stored import JournalFile, PlanOrJournal, is_journal, journal_of, opened
from decodelab.cli.terminal import print_json, say, stop_interrupted
from decodelab.cli.usage import Command
from decodelab.core.errors import RequestError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def group(context: typer.Context) -> None:
    """Train the shipped models from scratch, and verifiers."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("pocket", cls=Command)
def pocket(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory for checkpoints and the finished model.", show_default=False)
    ],
    size: Annotated[str, typer.Option(metavar="NAME", help="nano (minutes) or small (an hour or two).")] = "nano",
    steps: Annotated[
        int | None, typer.Option(metavar="N", show_default=False, help="Training steps; by default the recipe's.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the initial weights and the data.")] = 0,
    threads: Annotated[
        int | None, typer.Option(metavar="N", show_default=False, help="CPU threads; the weights depend on them.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ignore checkpoints in the directory.")] = False,
) -> None:
    """Train pocket-nano or pocket-small on the pocket language.

    Repeat the command after an interruption: the run resumes from its last checkpoint and ends with the same weights.

    \b
    Examples:
      decodelab train pocket --size nano --out runs/nano --steps 50
      decodelab train pocket --size small --out runs/small

    Next: decodelab generate "Once upon a time," --model runs/nano
    """
    from decodelab.train.pocket import train_pocket
    from decodelab.train.recipe import RECIPES

    total = steps or (RECIPES[size].steps if size in RECIPES else 0)
    try:
        with progress(total, f"pocket-{size}") as advance:
            done = train_pocket(
                size,
                out,
                steps=steps,
                seed=seed,
                resume=not fresh,
                threads=threads,
                observer=lambda step, loss: advance(step, f"pocket-{size}, step {step}, loss {loss:.3f}"),
            )
    except (ValueError, ArithmeticError) as error:
        raise RequestError(f"train: {error}") from None
    except KeyboardInterrupt:
        stop_interrupted(f"repeat the command to resume from the last checkpoint in {out}")
    say(f"wrote {done}; try: decodelab generate --model {done}")


@app.command("verifier", cls=Command)
def verifier(
    plan: PlanOrJournal,
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Directory for checkpoints and the finished verifier.", show_default=False),
    ],
    journal: JournalFile = None,
    base: Annotated[str, typer.Option(metavar="MODEL", help="The language model that it begins as.")] = "pocket-nano",
    layers: Annotated[int, typer.Option(metavar="N", help="Further blocks on top of it (Llama-like models).")] = 0,
    steps: Annotated[int, typer.Option(metavar="N", help="Training steps.")] = 600,
    pairs: Annotated[int, typer.Option(metavar="N", help="Right and wrong answers of a step, in pairs.")] = 24,
    language: Annotated[
        float, typer.Option(metavar="W", help="Weight of the language-model loss on right answers; 0 for none.")
    ] = 1.0,
    rate: Annotated[
        float, typer.Option(metavar="X", help="Learning rate of matrices (Muon); the others take a quarter.")
    ] = 0.006,
    held: Annotated[float, typer.Option(metavar="SHARE", help="Share of prompts held out, in (0, 1).")] = 0.1,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the new weights and the batches.")] = 0,
    threads: Annotated[
        int | None, typer.Option(metavar="N", show_default=False, help="CPU threads; the weights depend on them.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ignore checkpoints in the directory.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Train a verifier on graded answers.

    It learns to tell right answers from wrong ones, and serves as reward(model=DIR) in selections and searches. The
    answers are those of a sweep whose plan has samples: N; what its journal does not have yet is generated first. Right
    means a score of 1. A share of the prompts is held out, chosen by the prompt alone; on these the report shows how
    well answers are told apart, and what the best by verifier scores against a vote and the plan's other strategies.
    Repeat the command after an interruption: the run resumes and ends with the same weights.

    \b
    Examples:
      decodelab train verifier examples/verifier.yaml --out runs/verifier --steps 50
      decodelab train verifier runs.journal.sqlite --base pocket-small --out runs/verifier --json

    Next: decodelab generate "What is 27 + 35?" -s "sample(n=16) | best_of(by=reward(model='runs/verifier'))"
    """
    from decodelab.bench.plan import Plan
    from decodelab.bench.run.sweep import run
    from decodelab.bench.store.journal import Journal
    from decodelab.bench.verifying import choices, graded
    from decodelab.models.loading import load_reward
    from decodelab.report.verifier import choices_data, print_choices, write_card
    from decodelab.scorers.reward import Reward
    from decodelab.train.verifier.training import VerifierRecipe, train_verifier

    if not 0 < held < 1:
        raise RequestError(f"--held must be in (0, 1), got {held}; 0.1 holds out a tenth of the prompts")
    recipe = VerifierRecipe(
        base, layers, steps, pairs, texts=pairs, language=language, muon_rate=rate, adam_rate=rate / 4
    )
    try:
        if not is_journal(plan):
            with (
                Journal(journal_of(plan, journal), writing=True) as kept,
                progress(1, "answers", hidden=as_json) as told,
            ):
                run(Plan.read(plan), kept, lambda done, total, doing: told(done / max(total, 1), doing))
        with opened(plan, journal, None) as (chosen, kept):
            samples = list(graded(chosen, kept, held))
            with progress(steps, "verifier", hidden=as_json) as advance:
                train_verifier(
                    samples,
                    recipe,
                    out,
                    seed=seed,
                    resume=not fresh,
                    threads=threads,
                    observer=lambda step, loss: advance(step, f"verifier, step {step}, loss {loss:.3f}"),
                )
            with progress(1, "choosing", hidden=as_json) as advance:
                found = choices(chosen, kept, held, load_reward(str(out.resolve())), advance)
    except (OSError, ArithmeticError) as error:
        raise RequestError(f"train: {error}") from None
    except KeyboardInterrupt:
        stop_interrupted(f"repeat the command to resume from the last checkpoint in {out}")
    write_card(out, found, str(plan))
    if as_json:
        print_json({"out": str(out), "held": choices_data(found)})
    else:
        print_choices(found)
        say(f"wrote {out}; score with it in a strategy: sample(n=16) | best_of(by={Reward(str(out))})")
