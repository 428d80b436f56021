"""A command: `decodelab hello NAME`."""

from typing import Annotated

import typer


def hello(name: Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="Whom to greet.")]) -> None:
    """Greet somebody.

    \b
    Examples:
      decodelab hello Ada
    """
    typer.echo(f"Hello, {name}!")
