"""`decodelab train`: train the shipped models from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from decodelab.cli.progress import progress
from decodelab.cli.terminal import say, stop_interrupted
from decodelab.cli.usage import Command
from decodelab.core.errors import RequestError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def group(context: typer.Context) -> None:
    """Train the shipped models from scratch."""
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
