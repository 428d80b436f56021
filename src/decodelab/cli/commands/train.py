"""`decodelab train`: make the shipped models again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from decodelab.cli.progress import progress
from decodelab.cli.terminal import say
from decodelab.core.errors import RequestError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def group(context: typer.Context) -> None:
    """Train the models that ship, from nothing."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("pocket")
def pocket(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where checkpoints and the finished model go.", show_default=False)
    ],
    size: Annotated[str, typer.Option(metavar="NAME", help="nano (minutes) or small (an hour or two).")] = "nano",
    steps: Annotated[
        int | None, typer.Option(metavar="N", show_default=False, help="Steps instead of the recipe's own.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Decides initial weights and data.")] = 0,
    threads: Annotated[
        int | None, typer.Option(metavar="N", show_default=False, help="CPU threads; the weights depend on it.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ignore checkpoints in the directory.")] = False,
) -> None:
    """Train pocket-nano or pocket-small on the pocket language.

    A run that was killed goes on from its last checkpoint when the command is given again, and ends with the same
    weights.

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
        say(f"interrupted: give the command again to go on from the last checkpoint in {out}")
        raise typer.Exit(130) from None
    say(f"wrote {done}; try: decodelab generate --model {done}")
